"""The weighted sum of the differences that agree with the elected sign (TIES)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from e2lm_merge.number_format import Floats


@np.errstate(over="ignore", invalid="ignore")  # what is too large is infinite, and whoever called looks for that
def elected_total_(deltas: Sequence[Floats], weights: Sequence[float], normalize: bool) -> Floats:
    """Σ wᵢδᵢ over the models whose wᵢδᵢ has the elected sign, with ``normalize`` divided by their Σ wᵢ.

    The elected sign is that of Σ wᵢδᵢ, + where the sum is zero (Yadav et al. 2023, eq. of section 3.2; the choice at
    zero is mergekit's). Written over the deltas.

    >>> deltas = [np.array([1, -2, 0], np.float32), np.array([3, 1, 0], np.float32)]
    >>> elected_total_(deltas, [0.5, 0.5], normalize=True).tolist()
    [2.0, -2.0, 0.0]
    """
    for delta_N, weight in zip(deltas, weights, strict=True):
        np.multiply(delta_N, np.float32(weight), out=delta_N)
    sign_N = deltas[0].copy()
    for delta_N in deltas[1:]:
        sign_N += delta_N
    # 1 where the sum is at least zero, else -1; multiplying by it is exact.
    np.multiply(sign_N >= 0, np.float32(2), out=sign_N)
    sign_N -= np.float32(1)
    total_N = np.zeros_like(sign_N)
    divisor_N = np.zeros_like(sign_N)
    for delta_N, weight in zip(deltas, weights, strict=True):
        delta_N *= sign_N
        total_N += np.maximum(delta_N, np.float32(0), out=delta_N)
        if normalize:
            divisor_N += np.multiply(delta_N > 0, np.float32(weight), out=delta_N)
    if normalize:
        divisor_N += divisor_N == 0
        total_N /= divisor_N
    total_N *= sign_N
    return total_N
