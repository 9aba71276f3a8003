"""``e2lm train`` and its actions."""
