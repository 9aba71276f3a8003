"""The merge strategies, a file a family, named as users say it."""
