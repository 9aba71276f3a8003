"""Everything that touches other programs: lm-eval, transformers, vLLM, Ray, the Hub.

PYTEST_DONT_REWRITE: the start-up shim imports this package before pytest starts, which would make pytest warn.
"""
