"""The address by which lm-eval and older packages know :class:`e2lm_adapters.scoring.hf.E2lmHf`."""

from e2lm_adapters.scoring.hf import E2lmHf

__all__ = ["E2lmHf"]
