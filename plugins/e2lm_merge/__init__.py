"""Merge strategies: average, combine and evaluate checkpoints.

From a config to bytes: ``cli`` reads it, ``search`` scores candidates where a strategy does so, ``plan`` decides what
goes into every tensor, ``output`` opens a place for them, and ``numbers`` fills it, block by block, through the
strategy that ``methods`` (or a plugin) gave. Imports go one way: cli, search, output, methods, plan, numbers.
"""
