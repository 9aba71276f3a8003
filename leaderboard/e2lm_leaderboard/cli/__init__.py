"""``e2lm leaderboard`` and its actions."""
