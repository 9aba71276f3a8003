"""A competition from its rules to the scores of its submissions."""
