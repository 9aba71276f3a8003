"""Sign election (TIES) and masks by rank (DELLA) in numpy: what the compiled functions equal bit by bit.

Shape suffixes: N numbers of whole rows, flat; E those of them whose rank decides.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from e2lm_merge.numbers.formats import Floats


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


Words = NDArray[np.uint32]
#: Bits of float32 numbers without their sign, which are in order as the numbers are.
MagnitudeBits = NDArray[np.int32]


def rank_mask(
    words_N: Words, magnitudes_N: MagnitudeBits, ordered_N: MagnitudeBits, columns: int, low: int, high: int
) -> NDArray[np.bool_]:
    """Which numbers are kept, N: all whose word is below ``low``, none from ``high`` on, between them by rank.

    The rank that a word asks for goes from 2 to ``columns`` as the word goes from ``low`` to ``high``; a number has it
    where its magnitude reaches the one of that rank in ``ordered_N``, which holds the same rows, each sorted.

    >>> magnitudes = np.array([7, 5, 9], dtype=np.int32)
    >>> for words in ([5, 30, 60], [30, 30, 30], [60, 60, 60], [90, 90, 90]):
    ...     drawn = np.array(words, dtype=np.uint32)
    ...     print(rank_mask(drawn, magnitudes, np.sort(magnitudes), columns=3, low=10, high=90).tolist())
    [True, False, True]
    [True, False, True]
    [False, False, True]
    [False, False, False]
    """
    kept: NDArray[np.bool_] = words_N < np.uint32(low)
    # Unsigned numbers below low wrap around.
    above_low = words_N - np.uint32(low)
    open_E = np.flatnonzero(above_low < np.uint32(high - low))
    factor, shift = rank_factor(columns, low, high)
    place_E = (above_low.take(open_E) * np.uint64(factor) >> np.uint64(shift)).view(np.int64)
    place_E += 1
    # A division costs more than the rest of it: powers of two need none.
    place_E += open_E & -columns if columns & (columns - 1) == 0 else open_E // columns * columns
    kept[open_E] = magnitudes_N.take(open_E) >= ordered_N.take(place_E)
    return kept


def rank_factor(columns: int, low: int, high: int) -> tuple[int, int]:
    """``factor`` and ``shift``: (word − ``low``)·factor / 2**shift, rounded down, is the rank less two.

    ``factor`` has 32 bits, so that the product fits into 64; it is rounded down, so that no rank exceeds ``columns``.

    >>> factor, shift = rank_factor(columns=3, low=10, high=90)
    >>> [(word - 10) * factor >> shift for word in (10, 49, 51, 89)]
    [0, 0, 1, 1]
    """
    span, ranks = high - low, columns - 1
    shift = 31 + span.bit_length() - ranks.bit_length()
    return (ranks << shift) // span, shift
