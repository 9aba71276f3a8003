"""Several curricula on one corpus: runs, measures, statistics, report."""
