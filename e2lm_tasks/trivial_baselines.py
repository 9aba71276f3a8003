"""What a task gives to somebody who does not read it: scores that need no model, each with an interval."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from e2lm.interval import Interval, mean_stderr, normal_interval, wilson_interval
from e2lm_tasks.building.prose import WordFrequency

#: Of the intervals that stand on the cards of suites.
CONFIDENCE = 0.95

ItemRow = Mapping[str, Any]
#: A number as it stands on a card: value, low and high.
Baseline = dict[str, float]

_DIGITS = 4


def choice_baselines(rows: Sequence[ItemRow], frequency: WordFrequency) -> dict[str, Baseline]:
    """Accuracy, in 0..1, of rules that know the choices but no language; ties share the point.

    ``constant_choice`` is the best of always answering with one position.
    """
    scorers: dict[str, Callable[[str], float]] = {
        "longest_choice": lambda choice: float(len(choice)),
        "shortest_choice": lambda choice: -float(len(choice)),
        "unigram_logprob": frequency.log_probability,
        "unigram_logprob_per_char": lambda choice: frequency.log_probability(choice) / len(choice),
    }
    places = Counter(int(row["gold"]) for row in rows)
    baselines = {"constant_choice": share_baseline(max(places.values()) / len(rows), len(rows))}
    for name, scorer in scorers.items():
        points = [tied_accuracy([scorer(choice) for choice in row["choices"]], int(row["gold"])) for row in rows]
        baselines[name] = share_baseline(sum(points) / len(points), len(points))
    return baselines


def tied_accuracy(scores: Sequence[float], gold: int) -> float:
    """1 where ``gold`` scores best alone, 1/k where it shares the best score with k - 1 others, else 0.

    >>> tied_accuracy([2.0, 2.0, 1.0], gold=0), tied_accuracy([2.0, 1.0], gold=1)
    (0.5, 0.0)
    """
    best = max(scores)
    # Sums of the same logarithms in another order differ in their last digits.
    tied = [math.isclose(score, best, rel_tol=1e-9) for score in scores]
    return 1 / sum(tied) if tied[gold] else 0.0


def share_baseline(share: float, count: int) -> Baseline:
    """``share`` of ``count`` with Wilson's 95 % interval.

    >>> share_baseline(0.25, 400)
    {'value': 0.25, 'low': 0.2101, 'high': 0.2947}
    """
    return _rounded(share, wilson_interval(share, count, CONFIDENCE))


def byte_frequency_bits(texts: Sequence[str], passages: Sequence[str]) -> Baseline:
    """Bits per byte of a model that knows only how often each byte occurs in ``texts``: mean over passages, 95 %."""
    counts_V = np.ones(256)  # V byte values; one each, so that none is impossible
    for text in texts:
        counts_V += np.bincount(np.frombuffer(text.encode("utf-8"), dtype=np.uint8), minlength=256)
    bits_V = -np.log2(counts_V / counts_V.sum())
    values = np.array(
        [float(bits_V[np.frombuffer(passage.encode("utf-8"), dtype=np.uint8)].mean()) for passage in passages]
    )
    mean = float(values.mean())
    return _rounded(mean, normal_interval(mean, mean_stderr(values), CONFIDENCE))


def _rounded(value: float, interval: Interval) -> Baseline:
    return {"value": round(value, _DIGITS), "low": round(interval.low, _DIGITS), "high": round(interval.high, _DIGITS)}
