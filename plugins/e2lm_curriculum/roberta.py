"""RoBERTa with norms before each block, as CLIMB trained it; what it saves is a RoBERTa like any other.

Shape suffixes: N examples of all objectives, L tokens, D width, R predicting positions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import RobertaPreLayerNormConfig, RobertaPreLayerNormForMaskedLM
from transformers.modeling_outputs import MaskedLMOutput

from e2lm_curriculum.fresh_model import COMMON_SETTINGS, fresh_model
from e2lm_curriculum.model_size import ModelSize
from e2lm_curriculum.objective_loss import objective_loss


class TrainedRoberta(RobertaPreLayerNormForMaskedLM):  # type: ignore[misc]
    """Gives the loss alone when given labels, and is ``RobertaPreLayerNormForMaskedLM`` in all else."""

    accepts_loss_kwargs = False
    saved_architecture = "RobertaPreLayerNormForMaskedLM"

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Like the original; with ``labels`` only the predicted places reach the output head."""
        labels_NL = kwargs.pop("labels", None)
        objectives = kwargs.pop("objectives", ("mlm",))
        if labels_NL is None:
            return super().forward(*args, **kwargs)
        hidden_NLD = self.roberta_prelayernorm(*args, **kwargs).last_hidden_state
        heads = getattr(self, "objective_heads", None)
        return MaskedLMOutput(loss=objective_loss(hidden_NLD, labels_NL, objectives, heads, self._token_loss))

    def _token_loss(self, hidden_RD: torch.Tensor, labels_R: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(self.lm_head(hidden_RD).float(), labels_R)


def new_roberta(
    size: ModelSize, vocabulary: int, sequence_length: int, seed: int, objectives: tuple[str, ...] = ()
) -> TrainedRoberta:
    """A model with random weights that depend on its shape and ``seed`` only; torch's own stream is left as it was.

    The output layer is the embedding. Heads for ``objectives`` come after all else, so that the model itself is the
    same with any of them.
    """
    config = RobertaPreLayerNormConfig(**size.roberta_settings(vocabulary, sequence_length), **COMMON_SETTINGS)
    return fresh_model(lambda: TrainedRoberta(config), seed, objectives, size.width)
