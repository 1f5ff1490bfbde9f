"""Resolves a study: its steps and their keys, its data, and the account of every row."""
