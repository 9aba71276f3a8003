"""Log-likelihoods by vLLM, in one engine for a whole run."""
