"""The address by which lm-eval and older packages know :class:`e2lm_adapters.vllm.model.E2lmVllm`."""

from e2lm_adapters.vllm.model import E2lmVllm

__all__ = ["E2lmVllm"]
