"""Evaluation with lm-eval: the only room that imports it."""
