"""Train-and-check data ablations: which fine-tuning data to grow, hold or cut, with honest intervals."""

__version__ = "0.1.0"
