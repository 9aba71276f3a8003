"""Task suites for lm-evaluation-harness."""
