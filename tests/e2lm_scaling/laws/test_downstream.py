from __future__ import annotations

import numpy as np
import pytest

from e2lm_scaling.laws.downstream import smoothed


@pytest.mark.parametrize("count", [1, 4, 5, 6, 13])
@pytest.mark.parametrize("window", [1, 2, 5])
def test_a_checkpoint_becomes_the_mean_of_the_last_ones_up_to_it(count, window):
    values_K = np.random.default_rng(0).normal(size=count)
    expected = [values_K[max(0, k + 1 - window) : k + 1].mean() for k in range(count)]
    assert smoothed(values_K, window) == pytest.approx(expected)
