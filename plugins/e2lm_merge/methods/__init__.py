"""The merge strategies, a file a family, named as users say it.

A file declares its strategies at its end: kind, formula, source, parameters. ``deltas`` holds what methods on
differences from a base share; sums, cuts and sign election themselves lie in :mod:`e2lm_merge.numbers`.
"""
