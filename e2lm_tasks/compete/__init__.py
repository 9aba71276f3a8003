"""Entering the 2025 E2LM competition: a folder of tasks becomes one entry, checked and exported."""
