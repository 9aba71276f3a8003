"""Numbers of a sweep's table, against what they are defined as."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import sem

from e2lm_merge.cli.sweep import _row


def test_a_row_has_the_95_percent_intervals_of_its_mean_and_of_its_paired_gain() -> None:
    rng = np.random.default_rng(0)
    hard_I = rng.normal(size=50)
    own_I, best_I = hard_I + 0.3 + 0.1 * rng.normal(size=50), hard_I
    row = _row("ties", {"density": 0.5}, own_I, best_I)
    half, of_gain = 1.959964 * float(sem(own_I)), 1.959964 * float(sem(own_I - best_I))
    assert (row["low"], row["high"]) == pytest.approx((own_I.mean() - half, own_I.mean() + half))
    gain = (own_I - best_I).mean()
    assert (row["gain_low"], row["gain_high"]) == pytest.approx((gain - of_gain, gain + of_gain))
    assert of_gain < half / 3
    assert (row["density"], row["n"]) == (0.5, 50)
