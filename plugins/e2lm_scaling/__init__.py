"""Scaling predictors: forecast the big run from small ones."""
