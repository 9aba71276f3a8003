"""How often the p-values of ``e2lm signal`` say .05 where nothing rises, and where something does.

``python benchmarks/signal_evidence.py curve`` for one curve, beside Kendall's test and Mann-Kendall with the variance
correction of Hamed and Rao (Journal of Hydrology 204 (1998), 182); ``benchmark`` for the sign-flip over series. Fixed
seeds; 4,000 draws each. The curves are those of ``tests/e2lm_signal/simulated_curves.py``.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from scipy.special import ndtr
from scipy.stats import rankdata

from e2lm_signal.trend_p_value import gaps_of, null_table
from tests.e2lm_signal.simulated_curves import NULLS, RISES, measured, positions_of


def curve_p_D(rows_DK: np.ndarray, positions_K: np.ndarray | None = None) -> np.ndarray:
    """The p-value of every row; 1 for a constant one."""
    varies_D = np.ptp(rows_DK, axis=1) > 0
    p_D = np.ones(len(rows_DK))
    p_D[varies_D] = null_table(rows_DK.shape[1], gaps_of(positions_K)).p_values_D(rows_DK[varies_D])
    return p_D


def kendall_p_D(rows_DK: np.ndarray, corrected: bool) -> np.ndarray:
    """One-sided Mann-Kendall; ``corrected`` for the autocorrelation of the ranks of the detrended curve."""
    n = rows_DK.shape[1]
    score_D = sum(np.sign(rows_DK[:, k + 1 :] - rows_DK[:, [k]]).sum(axis=1) for k in range(n - 1))
    variance_D = np.full(len(rows_DK), n * (n - 1) * (2 * n + 5) / 18)
    if corrected:
        time_K = np.arange(n) - (n - 1) / 2
        slope_D = rows_DK @ time_K / (time_K @ time_K)
        ranks_DK = rankdata(rows_DK - slope_D[:, None] * time_K, axis=1)
        ranks_DK -= ranks_DK.mean(axis=1, keepdims=True)
        power_D = np.maximum((ranks_DK**2).sum(axis=1), 1e-12)
        factor_D = np.ones(len(rows_DK))
        for lag in range(1, n - 2):
            rho_D = (ranks_DK[:, lag:] * ranks_DK[:, :-lag]).sum(axis=1) / power_D
            rho_D[np.abs(rho_D) < 1.96 / np.sqrt(n)] = 0.0
            factor_D += 2 / (n * (n - 1) * (n - 2)) * (n - lag) * (n - lag - 1) * (n - lag - 2) * rho_D
        variance_D *= np.maximum(factor_D, 0.05)
    return np.asarray(ndtr(-(score_D - np.sign(score_D)) / np.sqrt(variance_D)))


def share(value: float) -> str:
    """``.025`` and ``1``, as the table in docs/signal.md has it."""
    return f"{value:.3f}".removeprefix("0") if value < 0.9995 else "1"


def curves(lengths: list[int], draws: int, seed: int) -> None:
    """Markdown tables of sizes, then of powers: this package (Kendall, corrected Mann-Kendall)."""
    for title, names in (("size", NULLS), ("power", RISES)):
        print(
            f"\n| {title} at .05 | " + " | ".join(f"n = {n}" for n in lengths) + " |\n|" + "---|" * (len(lengths) + 1)
        )
        for name in names:
            cells = []
            for n in lengths:
                rng = np.random.default_rng([seed, n, *name.encode()])
                if title == "size":
                    rows_DK = NULLS[name](rng, n, draws)
                else:
                    truth, items = RISES[name]
                    rows_DK = measured(truth(n), items, rng, draws)
                found = (
                    curve_p_D(rows_DK, positions_of(name, n)),
                    *(kendall_p_D(rows_DK, one) for one in (False, True)),
                )
                ours, *others = (share(np.mean(p_D < 0.05)) for p_D in found)
                cells.append(f"{ours} ({', '.join(others)})")
            print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("curve",))
    parser.add_argument("--lengths", type=int, nargs="+", default=[8, 14, 30, 100])
    parser.add_argument("--draws", type=int, default=4_000)
    parser.add_argument("--seed", type=int, default=2_026)
    arguments = parser.parse_args()
    curves(arguments.lengths, arguments.draws, arguments.seed)


if __name__ == "__main__":
    main()
