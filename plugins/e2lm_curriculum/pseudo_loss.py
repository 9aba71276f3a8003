"""What a text costs a masked model: each token asked for among all others.

Shape suffixes: B texts, T tokens of each, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import cross_entropy

from e2lm_curriculum.tokenizer import MASK_ID

#: CLIMB masks every token of a block by itself: 128 passes for one loss. Here every n-th token is masked in each of n
#: passes, so that the loss costs n passes and still covers every token once; n = 7 masks about CLIMB's 15 %.
MASKED_PASSES = 7


def pseudo_nats_B(model: Any, ids_BT: torch.Tensor) -> torch.Tensor:
    """Nats of each text: the sum over its tokens of -log P(token | the others), up to what shares its mask.

    Pseudo-log-likelihood (Salazar et al., ACL 2020, equation 2) with 1/7 of the tokens masked at once. No bits that a
    text could be stored in: a token is asked for with what follows it in view.
    """
    total_B = torch.zeros(len(ids_BT), device=ids_BT.device)
    passes = passes_of(ids_BT.shape[1])
    for first in range(passes):
        inputs_BT = ids_BT.clone()
        inputs_BT[:, first::passes] = MASK_ID
        logits_BTV = model(input_ids=inputs_BT).logits.float()
        losses_BT = cross_entropy(
            logits_BTV[:, first::passes].transpose(1, 2), ids_BT[:, first::passes], reduction="none"
        )
        total_B += losses_BT.sum(dim=1)
    return total_B


def passes_of(tokens: int) -> int:
    """Forward passes for texts of so many tokens."""
    return min(MASKED_PASSES, tokens)
