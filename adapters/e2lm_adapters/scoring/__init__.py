"""Log-likelihoods by transformers: shared tokens computed once, weights swapped in place."""
