"""Pure functions on scores: paired effects with two-level noise, and power. No I/O."""
