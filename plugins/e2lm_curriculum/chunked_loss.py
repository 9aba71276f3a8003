"""Mean cross-entropy of an output head without ever holding all logits.

At vocabulary 4,096 the logits of a small model are larger than all its other activations together, and passing them
through memory several times costs more than the model does. Here a few rows at a time are turned into probabilities
and at once into gradients, while they are still in the processor's cache (the idea of Liger's fused linear
cross-entropy, Hsu et al. 2024, arXiv 2410.10989).

Shape suffixes: R rows (positions that predict), D width, V vocabulary, C rows of one chunk.
"""

from __future__ import annotations

from typing import Any

import torch

#: Logits held at once. 8 MiB of float32 was fastest on a CPU of 1 MiB L2 per core among 1 to 16 MiB; a GPU wants big
#: launches.
LOGITS_PER_CHUNK_CPU = 1 << 21
LOGITS_PER_CHUNK_GPU = 1 << 26


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Gradients are made in the forward pass, where the probabilities are; the backward pass only scales them."""

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
