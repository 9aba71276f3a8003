"""A plain Llama that trains with the chunked loss; what it saves is a Llama like any other.

Shape suffixes: B examples, T tokens, D width, R rows (B * (T - 1)).
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.modeling_outputs import CausalLMOutputWithPast

from e2lm_curriculum.chunked_loss import chunked_cross_entropy
from e2lm_curriculum.fresh_model import COMMON_SETTINGS, fresh_model
from e2lm_curriculum.model_size import ModelSize
from e2lm_curriculum.objective_loss import attention_of, objective_loss


class TrainedLlama(LlamaForCausalLM):  # type: ignore[misc]
    """Gives the loss alone when given labels, and is ``LlamaForCausalLM`` in all else."""

    #: The loss is the mean over the batch at hand; Trainer need not count tokens over a whole step first.
    accepts_loss_kwargs = False
    saved_architecture = "LlamaForCausalLM"

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Like ``LlamaForCausalLM.forward``; with ``labels`` no logits are made.

        Without ``objectives`` every label counts and is shifted by one; with them see :func:`objective_loss`.
        """
        labels_BT = kwargs.pop("labels", None)
        objectives = kwargs.pop("objectives", None)
        if labels_BT is None:
            return super().forward(*args, **kwargs)
        if objectives is not None:
            return CausalLMOutputWithPast(loss=self._objective_loss(kwargs["input_ids"], labels_BT, objectives))
        hidden_BTD = self.model(*args, **{**kwargs, "use_cache": False}).last_hidden_state
        hidden_RD = hidden_BTD[:, :-1].flatten(0, 1)
        loss = chunked_cross_entropy(hidden_RD, self.lm_head.weight, labels_BT[:, 1:].flatten())
        return CausalLMOutputWithPast(loss=loss)

    def _objective_loss(
        self, input_ids_BT: torch.Tensor, labels_BT: torch.Tensor, objectives: tuple[str, ...]
    ) -> torch.Tensor:
        pieces, length = len(input_ids_BT) // len(objectives), input_ids_BT.shape[1]
        attention = attention_of(objectives, pieces, length, input_ids_BT.device)
        hidden_BTD = self.model(input_ids_BT, attention_mask=attention, use_cache=False).last_hidden_state
        return objective_loss(
            hidden_BTD,
            labels_BT,
            objectives,
            getattr(self, "objective_heads", None),
            lambda hidden_RD, labels_R: chunked_cross_entropy(hidden_RD, self.lm_head.weight, labels_R),
        )


def new_llama(
    size: ModelSize, vocabulary: int, sequence_length: int, seed: int, objectives: tuple[str, ...] = ()
) -> TrainedLlama:
    """A model with random weights that depend on its shape and ``seed`` only; torch's own stream is left as it was.

    Heads for ``objectives`` come after all else, so that the model itself is the same with any of them.
    """
    config = LlamaConfig(**size.llama_settings(vocabulary, sequence_length), **COMMON_SETTINGS)
    return fresh_model(lambda: TrainedLlama(config), seed, objectives, size.width)
