"""Merges that score candidates first."""
