"""The families of models, a Llama and CLIMB's RoBERTa with norms first: random weights that depend on shape and seed.

What they save is a Llama, or a RoBERTa, like any other; only their losses are our own.

Shape suffixes: B examples, T tokens, N examples of all objectives, L tokens of each, D width, R predicting positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, RobertaPreLayerNormConfig, RobertaPreLayerNormForMaskedLM
from transformers.modeling_outputs import CausalLMOutputWithPast, MaskedLMOutput

from e2lm_curriculum.corpus.tokenizer import END_OF_TEXT_ID, PADDING_ID
from e2lm_curriculum.model.loss import attention_of, chunked_cross_entropy, new_heads, objective_loss
from e2lm_curriculum.model.size import ModelSize

Model = TypeVar("Model", bound=torch.nn.Module)

#: What the configurations of all families have in common.
COMMON_SETTINGS: dict[str, Any] = {
    "bos_token_id": END_OF_TEXT_ID,
    "eos_token_id": END_OF_TEXT_ID,
    "pad_token_id": PADDING_ID,
    "attn_implementation": "sdpa",
    "dtype": "float32",
}


def _seeded(make: Callable[[], Model], seed: int, objectives: Sequence[str], width: int) -> Model:
    """What ``make`` gives under ``seed``; torch's own stream is left as it was.

    Heads for ``objectives`` come after all else, so that the model itself is the same with any of them.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make()
        heads = new_heads(objectives, width)
        if len(heads):
            model.objective_heads = heads
        return model


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
    return _seeded(lambda: TrainedLlama(config), seed, objectives, size.width)


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
    return _seeded(lambda: TrainedRoberta(config), seed, objectives, size.width)


TrainedModel: TypeAlias = TrainedLlama | TrainedRoberta

#: What each family learns where the plan does not say otherwise.
OWN_OBJECTIVE = {"llama": "clm", "roberta": "mlm"}

#: What makes a fresh model of each family.
MAKERS: dict[str, Callable[..., TrainedModel]] = {"llama": new_llama, "roberta": new_roberta}
