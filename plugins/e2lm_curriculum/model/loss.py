"""Losses: of all objectives of a step, of a causal model without ever holding all logits, of a text under masks.

Shape suffixes: U objectives, P pieces per objective, L tokens per piece, D width, R rows (positions that predict), C
rows of one chunk, V vocabulary; B texts, T tokens of each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from e2lm_curriculum.corpus.tokenizer import MASK_ID
from e2lm_curriculum.model.objective import IGNORED, classes

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


#: Logits held at once. 8 MiB of float32 was fastest on a CPU of 1 MiB L2 per core among 1 to 16 MiB; a GPU wants big
#: launches.
LOGITS_PER_CHUNK_CPU = 1 << 21
LOGITS_PER_CHUNK_GPU = 1 << 26


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Gradients are made in the forward pass, where the probabilities are; the backward pass only scales them.

    At vocabulary 4,096 the logits of a small model are larger than all its other activations together, and passing them
    through memory several times costs more than the model does. Here a few rows at a time are turned into probabilities
    and at once into gradients, while they are still in the processor's cache (the idea of Liger's fused linear
    cross-entropy, Hsu et al. 2024, arXiv 2410.10989).
    """

    @staticmethod
    def forward(ctx: Any, hidden_RD: torch.Tensor, head_VD: torch.Tensor, target_R: torch.Tensor) -> torch.Tensor:
        device = hidden_RD.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden_RD.dtype
        with torch.autocast(device, enabled=False):
            loss, grad_hidden_RD, grad_head_VD = _loss_and_gradients(hidden_RD.to(dtype), head_VD.to(dtype), target_R)
        ctx.save_for_backward(grad_hidden_RD.to(hidden_RD.dtype), grad_head_VD.to(head_VD.dtype))
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        grad_hidden_RD, grad_head_VD = ctx.saved_tensors
        return grad_hidden_RD * grads[0], grad_head_VD * grads[0], None


def _loss_and_gradients(
    hidden_RD: torch.Tensor, head_VD: torch.Tensor, target_R: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """With p = softmax(h W'): loss = mean(-log p[target]); d loss / d logits = (p - onehot(target)) / R."""
    rows, vocabulary = len(target_R), len(head_VD)
    budget = LOGITS_PER_CHUNK_CPU if hidden_RD.device.type == "cpu" else LOGITS_PER_CHUNK_GPU
    chunk = max(1, budget // vocabulary)
    grad_hidden_RD = torch.empty_like(hidden_RD)
    grad_head_VD = torch.zeros_like(head_VD, dtype=torch.float32)
    total = torch.zeros((), dtype=torch.float32, device=hidden_RD.device)
    for start in range(0, rows, chunk):
        hidden_CD = hidden_RD[start : start + chunk]
        target_C1 = target_R[start : start + chunk, None]
        logits_CV = (hidden_CD @ head_VD.t()).float()
        logits_CV.sub_(logits_CV.amax(1, keepdim=True))
        target_logit_C1 = logits_CV.gather(1, target_C1)
        sum_C1 = logits_CV.exp_().sum(1, keepdim=True)
        total += (sum_C1.log() - target_logit_C1).sum()
        grad_CV = logits_CV.div_(sum_C1 * rows)
        grad_CV.scatter_add_(1, target_C1, torch.full_like(target_logit_C1, -1.0 / rows))
        grad_CV = grad_CV.to(hidden_CD.dtype)
        grad_hidden_RD[start : start + chunk] = grad_CV @ head_VD
        grad_head_VD += grad_CV.t() @ hidden_CD
    return total / rows, grad_hidden_RD, grad_head_VD


def chunked_cross_entropy(hidden_RD: torch.Tensor, head_VD: torch.Tensor, target_R: torch.Tensor) -> torch.Tensor:
    """Mean over the R rows of the cross-entropy, in nats, of softmax(hidden head') against ``target_R``.

    Every target counts: there is no index to ignore. Gradients of second order are not available.

    >>> hidden, head = torch.zeros(3, 2), torch.zeros(4, 2)
    >>> round(chunked_cross_entropy(hidden, head, torch.tensor([0, 1, 2])).item(), 4)  # ln 4
    1.3863
    """
    loss: torch.Tensor = _ChunkedCrossEntropy.apply(hidden_RD, head_VD, target_R)  # type: ignore[no-untyped-call]
    return loss


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
