"""Beside a live run: checkpoints are scored as they come, rules are judged, people are told."""
