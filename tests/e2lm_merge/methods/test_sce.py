"""SCE selects by variance and weighs by energy."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

MergeOne = Callable[..., torch.Tensor]


def test_sce_selects_by_variance_and_weighs_by_energy(merge_one: MergeOne) -> None:
    a, b = torch.tensor([2.0, 1.0, 0.1]), torch.tensor([0.0, 1.0, 0.1])
    merged = merge_one("sce", [a, b], torch.zeros(3), select_topk=0.5)
    # Only the first varies, int(1·0.5) = 0 of it are kept; at 1.0 all are.
    assert merged.tolist() == [0, 0, 0]
    energy_a, energy_b = 5.01, 1.01
    merged = merge_one("sce", [a, b], torch.zeros(3), select_topk=1.0)
    # Zero has no sign, so b takes no part in the first number.
    expected = torch.tensor([2.0, 1.0, 0.1])
    assert energy_a > energy_b
    torch.testing.assert_close(merged, expected)


@pytest.mark.parametrize(("energy", "by_energy"), [(0.995e-6, False), (1.005e-6, True)])
def test_sce_weighs_models_by_energy_from_a_millionth_on_and_alike_below(
    energy: float, by_energy: bool, merge_one: MergeOne
) -> None:
    small, large = math.sqrt(energy / 5), 2 * math.sqrt(energy / 5)
    merged = merge_one("sce", [torch.full((4,), small), torch.full((4,), large)], torch.zeros(4))
    expected = 0.2 * small + 0.8 * large if by_energy else (small + large) / 2
    torch.testing.assert_close(merged, torch.full((4,), expected), rtol=1e-4, atol=0)
