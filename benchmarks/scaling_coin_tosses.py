"""Coin tosses: recipes that differ by the noise of their runs alone, compared by ``e2lm predict decide``.

    python benchmarks/scaling_coin_tosses.py

For 3 to 7 matched sizes, 500 pairs of tables with fixed seeds, asked at 1.5 times the largest compute: the distance of
the stated probabilities from uniform (Kolmogorov-Smirnov; .073 is its 99 % quantile for 500), the share stated at 95 %
or more for either side (.10 is right), and the largest |P(A) + P(B) - 1|. Exit code 1 where a distance is too large.
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy.stats import kstest

from e2lm.scaling_predictor import LossTable
from e2lm_scaling.forecast.comparison import compare_recipes
from e2lm_scaling.forecast.table import flops_of, table_of

TOSSES, NOISE, BEYOND, UNIFORM_WITHIN = 500, 0.004, 1.5, 0.073
SIZES = (3, 4, 5, 6, 7)


def noisy_runs(sizes: int, rng: np.random.Generator) -> LossTable:
    params = np.geomspace(1e7, 1.6e8, sizes)
    loss = 1.7 + 480 / params**0.348 + 2080 / (20 * params) ** 0.366
    return table_of(params, 20 * params, loss * np.exp(rng.normal(0, NOISE, sizes)))


def tosses(sizes: int) -> tuple[np.ndarray, float]:
    """The stated probabilities of the first, and how far those of both are from 1 together."""
    stated, off = [], 0.0
    for seed in range(TOSSES):
        rng = np.random.default_rng(seed)
        first, second = noisy_runs(sizes, rng), noisy_runs(sizes, rng)
        target = BEYOND * float(flops_of(first).max())
        ahead, behind = (compare_recipes(*pair, target) for pair in ((first, second), (second, first)))
        stated.append(ahead.first_is_better)
        off = max(off, abs(ahead.first_is_better + behind.first_is_better - 1))
    return np.array(stated), off


def main() -> int:
    worst = 0.0
    for sizes in SIZES:
        stated, off = tosses(sizes)
        distance = float(kstest(stated, "uniform").statistic)
        sure = float(np.mean(np.maximum(stated, 1 - stated) >= 0.95))
        worst = max(worst, distance)
        print(
            f"{sizes} sizes: distance from uniform {distance:.3f}, stated at 95 % or more {sure:.3f}, off 1 {off:.1g}"
        )
    return int(worst >= UNIFORM_WITHIN)


if __name__ == "__main__":
    sys.exit(main())
