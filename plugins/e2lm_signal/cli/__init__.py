"""``e2lm signal`` and its actions."""
