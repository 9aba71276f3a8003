"""Merge strategies: average, combine and evaluate checkpoints."""
