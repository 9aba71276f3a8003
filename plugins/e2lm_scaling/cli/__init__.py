"""``e2lm predict`` and its actions."""
