"""The address by which lm-eval and older packages know :class:`e2lm_adapters.scoring.masked.E2lmMlm`."""

from e2lm_adapters.scoring.masked import E2lmMlm

__all__ = ["E2lmMlm"]
