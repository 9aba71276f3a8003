"""PCB lets the strong and agreed numbers win."""

from __future__ import annotations

from collections.abc import Callable

import torch

MergeOne = Callable[..., torch.Tensor]
Gaussian = Callable[..., torch.Tensor]


def test_pcb_lets_the_strong_and_agreed_numbers_win(merge_one: MergeOne, gaussian: Gaussian) -> None:
    a, b = 0.01 * gaussian(1, 400), 0.01 * gaussian(2, 400)
    a[7], b[7] = 2.0, 1.9
    merged = merge_one("pcb", [a, b], torch.zeros(400), ratio=0.05)
    # Each model keeps 20 of its scores; the outlier is kept, clipped to the second largest magnitude.
    assert int(torch.count_nonzero(merged)) <= 40
    assert 0.02 < float(merged[7]) < 0.04
