"""A study, resolved: its steps and their keys, the data they are made of, and what became of every row."""
