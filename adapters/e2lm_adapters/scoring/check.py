"""How far two ways of scoring the same requests are apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from e2lm_adapters.scoring.prefix_tree import TokenRequest

#: Log-likelihood in nats and greedy flag, as lm-eval wants them.
Loglikelihood = tuple[float, bool]
#: The answer for what cannot be scored: never chosen. Whoever takes it has been told.
NOT_SCORED: Loglikelihood = (-np.inf, False)

#: How many requests a start-up check takes for their lengths, and as many again for their neighbours.
CHECKED_REQUESTS = 8
#: Largest difference in nats that is rounding: float32 rounding grows with the sum, half precision with the batch size.
TOLERANCE_FLOAT32 = 1e-3
TOLERANCE_HALF = 0.5
RELATIVE_TOLERANCE_FLOAT32 = 1e-5
RELATIVE_TOLERANCE_HALF = 2e-2


@dataclass(frozen=True, slots=True)
class ScoringDifference:
    """How far scoring with shared contexts and plain scoring were apart on ``requests`` requests, in nats."""

    requests: int
    largest_difference: float
    greedy_differences: int
    tolerance: float

    @property
    def agrees(self) -> bool:
        """Whether the differences are rounding."""
        return self.largest_difference <= self.tolerance

    def __str__(self) -> str:
        """For people.

        >>> print(ScoringDifference(7, 0.01, 0, 1e-4))
        largest difference 0.01 nats on 7 requests (allowed 0.0001), 0 greedy flags differ
        """
        return (
            f"largest difference {self.largest_difference:.3g} nats on {self.requests} requests (allowed "
            f"{self.tolerance:.3g}), {self.greedy_differences} greedy flags differ"
        )


def checked_sample(requests: Sequence[TokenRequest]) -> list[TokenRequest]:
    """The requests that a start-up check scores both ways: some of every length, then the first of the list."""
    by_length = sorted(requests, key=lambda request: len(request.context) + len(request.continuation))
    step = max(len(by_length) // CHECKED_REQUESTS, 1)
    # Neighbours in the list are choices of one item: with them the sample shares contexts, as the real list does.
    return by_length[::-step][:CHECKED_REQUESTS] + list(requests[:CHECKED_REQUESTS])


def compared(answers: Sequence[Loglikelihood], plain: Sequence[Loglikelihood], half: bool) -> ScoringDifference:
    """``answers`` beside those of plain scoring; ``half`` says whether the model computes in half precision.

    >>> compared([(-10.0, True)], [(-10.0001, True)], half=False).agrees
    True
    >>> compared([(-10.0, True)], [(-11.0, True)], half=False).agrees
    False
    """
    # NaN compares as no difference; make it one.
    differences = np.nan_to_num(
        [abs(ours - theirs) for (ours, _), (theirs, _) in zip(answers, plain, strict=True)], nan=np.inf
    )
    size = max((abs(loglik) for loglik, _ in plain), default=0.0)
    absolute, relative = (
        (TOLERANCE_HALF, RELATIVE_TOLERANCE_HALF) if half else (TOLERANCE_FLOAT32, RELATIVE_TOLERANCE_FLOAT32)
    )
    return ScoringDifference(
        requests=len(plain),
        largest_difference=float(differences.max(initial=0.0)),
        greedy_differences=sum(ours[1] != theirs[1] for ours, theirs in zip(answers, plain, strict=True)),
        tolerance=max(absolute, relative * size),
    )
