"""The sum of the losses of all objectives of a step, over one forward pass of their batches below each other.

Shape suffixes: U objectives, P pieces per objective, L tokens per piece, D width, R predicting positions, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from e2lm_curriculum.objective import IGNORED, classes

TokenLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def new_heads(objectives: Sequence[str], width: int) -> nn.ModuleDict:
    """A linear layer for each part-of-speech objective; the others use the model's own output."""
    return nn.ModuleDict({one: nn.Linear(width, classes(one)) for one in objectives if one.startswith("pos-")})


def attention_of(objectives: Sequence[str], pieces: int, length: int, device: torch.device) -> torch.Tensor | None:
    """(U * P, 1, L, L), true where a token may look: everywhere, but for ``clm`` only back. None if all look back."""
    if all(one == "clm" for one in objectives):
        return None
    everywhere_LL = torch.ones(length, length, dtype=torch.bool, device=device)
    masks = [everywhere_LL.tril() if one == "clm" else everywhere_LL for one in objectives]
    return torch.stack(masks).repeat_interleave(pieces, dim=0)[:, None]


def objective_loss(
    hidden_NLD: torch.Tensor,
    labels_NL: torch.Tensor,
    objectives: Sequence[str],
    heads: Any,
    token_loss: TokenLoss,
) -> torch.Tensor:
    """The unweighted sum over ``objectives`` of the mean cross-entropy in nats; N is U * P.

    ``clm`` predicts the next token, every other objective the label of the same place. An objective that no label
    of the step belongs to adds 0.
    """
    total = hidden_NLD.new_zeros(())
    for objective, hidden_PLD, labels_PL in zip(
        objectives, hidden_NLD.chunk(len(objectives)), labels_NL.chunk(len(objectives)), strict=True
    ):
        if objective == "clm":
            total = total + token_loss(hidden_PLD[:, :-1].flatten(0, 1), labels_PL[:, 1:].flatten())
            continue
        counts_PL = labels_PL != IGNORED
        hidden_RD, labels_R = hidden_PLD[counts_PL], labels_PL[counts_PL]
        if len(labels_R) == 0:
            total = total + 0.0 * hidden_PLD.sum()
        elif objective == "mlm":
            total = total + token_loss(hidden_RD, labels_R)
        else:
            total = total + nn.functional.cross_entropy(heads[objective](hidden_RD).float(), labels_R)
    return total
