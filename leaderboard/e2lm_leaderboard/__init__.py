"""Competitions: submissions, validation, ranking."""
