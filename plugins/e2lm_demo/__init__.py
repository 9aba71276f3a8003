"""The demo: train, evaluate, score, predict, report, in one command."""
