"""Is A better than B? A paired comparison of two submissions over the series that both were scored on.

Shape suffixes: M series.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np

from e2lm.interval import Interval, normal_interval
from e2lm_leaderboard.store.store import Result

#: Below this many series no sign-flip test can reach p = .05.
LEAST_SERIES = 6
#: Above this many series sign flips would be too many to go through; none of ours has so many.
MOST_SERIES = 16


@dataclass(frozen=True, slots=True)
class PairTest:
    """``difference`` = A minus B with a 90 % interval and a two-sided p for the noise of items; ``p_series`` asks
    whether the difference would hold for other series (exact sign flips), None with the reason where it cannot say.
    """

    difference: float
    low: float | None
    high: float | None
    p: float | None
    p_series: float | None
    series: int
    reason: str

    @property
    def verdict(self) -> str:
        """One sentence."""
        if self.low is None or self.high is None:
            return f"not decided: {self.reason}"
        if self.low > 0:
            return "A is better"
        return "B is better" if self.high < 0 else "the data cannot tell them apart"


def pair_test(a: Mapping[str, Result], b: Mapping[str, Result]) -> PairTest | None:
    """The test on the series of both, by name; None where they share no series with a number."""
    common = [
        name for name in sorted(a.keys() & b.keys()) if name and a[name].value is not None and b[name].value is not None
    ]
    if not common:
        return None
    difference_M = np.array([_value(a[name]) - _value(b[name]) for name in common])
    difference = float(difference_M.mean())
    p_series, why = _sign_flip_p(difference_M)
    errors = [_stderr(side[name]) for side in (a, b) for name in common]
    if any(error is None for error in errors):
        return PairTest(difference, None, None, None, p_series, len(common), "a score without an interval")
    # Within a submission the series answer the same items, so their errors are taken as one; between two they are not.
    half = len(common)
    error_a, error_b = (float(np.mean([one or 0.0 for one in part])) for part in (errors[:half], errors[half:]))
    error = math.hypot(error_a, error_b)
    p = math.erfc(abs(difference) / error / math.sqrt(2)) if error > 0 else float(difference == 0)
    return PairTest(difference, *normal_interval(difference, error), p, p_series, half, why)


def _value(result: Result) -> float:
    assert result.value is not None
    return result.value


def _stderr(result: Result) -> float | None:
    if result.low is None or result.high is None:
        return None
    return Interval(result.low, result.high).stderr()


def _sign_flip_p(difference_M: np.ndarray) -> tuple[float | None, str]:
    """Share of sign patterns whose mean is as far from zero (Fisher 1935, The Design of Experiments, section 21)."""
    count = len(difference_M)
    if not LEAST_SERIES <= count <= MOST_SERIES:
        return None, f"{count} series; the test over series needs {LEAST_SERIES} to {MOST_SERIES}"
    signs = np.array(list(product((1.0, -1.0), repeat=count)))
    means = np.abs(signs @ difference_M) / count
    return float(np.mean(means >= abs(difference_M.mean()) - 1e-12)), ""
