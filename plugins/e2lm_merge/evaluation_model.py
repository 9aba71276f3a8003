"""The address by which lm-eval and older packages know :class:`e2lm_merge.output.lm_eval_model.E2lmMerge`."""

from e2lm_merge.output.lm_eval_model import E2lmMerge

__all__ = ["E2lmMerge"]
