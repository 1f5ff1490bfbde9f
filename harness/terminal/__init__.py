"""Output for a terminal: tables, progress, work in progress; and signals that stop a study in good order."""
