"""Where a merge goes: a folder, a model in memory, lm-eval."""
