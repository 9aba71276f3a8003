"""Curves whose truth is known: nulls that go nowhere, and rises, as evaluations show them. Rows are draws.

``benchmarks/signal_evidence.py`` measures sizes and powers on them in full, the tests on fewer draws.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Draw = Callable[[np.random.Generator, int, int], np.ndarray]


def autoregressive(phi: float) -> Draw:
    def draw(rng, n, draws):
        rows_DK = rng.normal(size=(draws, n))
        rows_DK[:, 0] /= np.sqrt(1.0 - phi**2)
        for k in range(1, n):
            rows_DK[:, k] += phi * rows_DK[:, k - 1]
        return rows_DK

    return draw


def walk(rng, n, draws):
    return rng.normal(size=(draws, n)).cumsum(axis=1)


def walk_on_items(items: int, spread: float) -> Draw:
    """A skill that drifts by ``spread`` over the run, measured on ``items`` items."""

    def draw(rng, n, draws):
        return rng.binomial(items, np.clip(0.3 + spread * walk(rng, n, draws) / np.sqrt(n), 0.01, 0.99)) / items

    return draw


def level_shift(rng, n, draws):
    """Three standard deviations up or down, at any time."""
    after_DK = np.arange(n) >= rng.integers(1, n, size=(draws, 1))
    return rng.normal(size=(draws, n)) + 3.0 * rng.choice([-1, 1], size=(draws, 1)) * after_DK


def log_spaced(n: int) -> np.ndarray:
    return np.geomspace(1.0, 1000.0, n)


def walk_in_tokens(rng, n, draws):
    gaps_K = np.diff(log_spaced(n), prepend=0.0)
    return (rng.normal(size=(draws, n)) * np.sqrt(gaps_K)).cumsum(axis=1)


def items_that_change(first: int, last: int) -> Draw:
    def draw(rng, n, draws):
        items_K = np.geomspace(first, last, n).astype(int)
        return rng.binomial(items_K, 0.25, size=(draws, n)) / items_K

    return draw


#: Of the issue: size between .03 and .07 where noise is white or AR(1), up to .07 elsewhere.
NULLS: dict[str, Draw] = {
    "white": lambda rng, n, draws: rng.normal(size=(draws, n)),
    "AR(.5)": autoregressive(0.5),
    "AR(.9)": autoregressive(0.9),
    "AR(-.5)": autoregressive(-0.5),
    "walk": walk,
    "walk .01 on 14,000 items": walk_on_items(14_000, 0.01),
    "walk .03 on 1,000 items": walk_on_items(1_000, 0.03),
    "walk .06 on 1,000 items": walk_on_items(1_000, 0.06),
    "walk .06 on 300 items": walk_on_items(300, 0.06),
    "level shift of 3 sd": level_shift,
    "walk in tokens, log-spaced": walk_in_tokens,
    "walk by step, log-spaced": walk,
    "white, log-spaced": lambda rng, n, draws: rng.normal(size=(draws, n)),
    "50 to 2,000 items": items_that_change(50, 2_000),
    "2,000 to 50 items": items_that_change(2_000, 50),
    "200 items": lambda rng, n, draws: rng.binomial(200, 0.25, size=(draws, n)) / 200,
    "Student's t, 2 df": lambda rng, n, draws: rng.standard_t(2, size=(draws, n)),
    "noise that shrinks 5 times": lambda rng, n, draws: rng.normal(size=(draws, n)) * np.linspace(5, 1, n),
    "noise that grows 5 times": lambda rng, n, draws: rng.normal(size=(draws, n)) * np.linspace(1, 5, n),
    "walk with jumps (t, 2 df)": lambda rng, n, draws: rng.standard_t(2, size=(draws, n)).cumsum(axis=1),
}


def positions_of(name: str, n: int) -> np.ndarray | None:
    return log_spaced(n) if "log-spaced" in name else None


def _share(n):
    return np.linspace(0.0, 1.0, n)


def logistic(n, middle, width, gain):
    return 0.25 + gain / (1.0 + np.exp(-(_share(n) - middle) / width))


#: Name -> true accuracy of n checkpoints, number of items.
RISES: dict[str, tuple[Callable[[int], np.ndarray], int]] = {
    "linear +.05, 1,000 items": (lambda n: 0.25 + 0.05 * _share(n), 1_000),
    "linear +.05, 300 items": (lambda n: 0.25 + 0.05 * _share(n), 300),
    "linear +.10, 1,000 items": (lambda n: 0.25 + 0.10 * _share(n), 1_000),
    "linear +.02, 14,000 items": (lambda n: 0.25 + 0.02 * _share(n), 14_000),
    "late (80 %) +.10, 14,000 items": (lambda n: logistic(n, 0.8, 0.05, 0.10), 14_000),
    "late (90 %) +.10, 14,000 items": (lambda n: logistic(n, 0.9, 0.03, 0.10), 14_000),
    "late (80 %) +.10, 1,000 items": (lambda n: logistic(n, 0.8, 0.05, 0.10), 1_000),
    "log +.10, 1,000 items": (lambda n: 0.25 + 0.10 * np.log1p(50 * _share(n)) / np.log(51), 1_000),
    "saturated at 20 %, +.10, 1,000 items": (lambda n: 0.25 + 0.10 * np.minimum(_share(n) / 0.2, 1), 1_000),
}


def measured(truth_K: np.ndarray, items: int, rng: np.random.Generator, draws: int) -> np.ndarray:
    return rng.binomial(items, truth_K, size=(draws, len(truth_K))) / items
