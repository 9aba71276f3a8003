"""Arithmetic on tensors in blocks: formats, sums, cuts, the same bits everywhere."""
