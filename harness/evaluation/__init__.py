"""Evaluation with lm-eval: the only package that imports it."""
