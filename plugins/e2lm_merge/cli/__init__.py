"""``e2lm merge`` and its actions."""
