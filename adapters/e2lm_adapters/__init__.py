"""Everything that touches other programs: lm-eval, transformers, vLLM, Ray, the Hub."""
