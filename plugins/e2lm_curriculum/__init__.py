"""Curriculum trainers: train the same model under several orders and compare honestly."""
