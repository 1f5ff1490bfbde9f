"""Engines: who runs the steps of a plan, and where."""
