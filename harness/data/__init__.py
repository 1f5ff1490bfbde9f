"""Rows: where they come from, what is done to them, and the training sets they make."""
