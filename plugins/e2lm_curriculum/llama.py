"""A plain Llama that trains with the chunked loss; what it saves is a Llama like any other.

Shape suffixes: B examples, T tokens, D width, R rows (B * (T - 1)).
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.modeling_outputs import CausalLMOutputWithPast

from e2lm_curriculum.chunked_loss import chunked_cross_entropy
from e2lm_curriculum.model_size import ModelSize
from e2lm_curriculum.tokenizer import END_OF_TEXT_ID, PADDING_ID


class TrainedLlama(LlamaForCausalLM):  # type: ignore[misc]
    """Gives the loss alone when given labels, and is ``LlamaForCausalLM`` in all else."""

    #: The loss is the mean over the batch at hand; Trainer need not count tokens over a whole step first.
    accepts_loss_kwargs = False

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Like ``LlamaForCausalLM.forward``; with ``labels_BT`` (no index ignored) no logits are made."""
        labels_BT = kwargs.pop("labels", None)
        if labels_BT is None:
            return super().forward(*args, **kwargs)
        hidden_BTD = self.model(*args, **{**kwargs, "use_cache": False}).last_hidden_state
        hidden_RD = hidden_BTD[:, :-1].flatten(0, 1)
        loss = chunked_cross_entropy(hidden_RD, self.lm_head.weight, labels_BT[:, 1:].flatten())
        return CausalLMOutputWithPast(loss=loss)


def new_llama(size: ModelSize, vocabulary: int, sequence_length: int, seed: int) -> TrainedLlama:
    """A model with random weights that depend on its shape and ``seed`` only; torch's own stream is left as it was."""
    config = LlamaConfig(
        **size.llama_settings(vocabulary, sequence_length),
        bos_token_id=END_OF_TEXT_ID,
        eos_token_id=END_OF_TEXT_ID,
        pad_token_id=PADDING_ID,
        attn_implementation="sdpa",
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TrainedLlama(config)
