"""What people see in a terminal: tables, progress, what is under way, and how a study is stopped in good order."""
