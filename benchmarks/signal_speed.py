"""Speed of the signal scores against plain loops, as ratios with their spread.

Run ``python benchmarks/signal_speed.py [--repeats N]``. CPU seconds of this process, both sides in turn, so that what
else the machine does weighs on both. Two jobs:

* every score of 24 tasks x 6 series x 32 checkpoints, 1,000 redraws for each interval, against the same redraws scored
  one after the other by the published formula alone;
* 1,000 paired item bootstraps of 22 models x 35 checkpoints x 2,376 items, against indexing the items of each draw.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable

import numpy as np

from e2lm import Curve
from e2lm_signal.cli.report import signal_report
from e2lm_signal.curves import curve_of_values
from e2lm_signal.item_noise import DRAWS, item_bootstrap_DK
from e2lm_signal.signal_scores import signal_scores

TASKS, SERIES, CHECKPOINTS = 24, 6, 32
MODELS, ITEM_CHECKPOINTS, ITEMS = 22, 35, 2376
#: Plain loops are timed on a part and scaled up: the whole would take minutes.
LOOPED_CURVES, LOOPED_DRAWS = 2, 20


def families(rng: np.random.Generator) -> list[list[Curve]]:
    """Curves like those of a competition: from flat to steep, with standard errors and chance level."""
    steps_K = np.arange(1, CHECKPOINTS + 1) * 2000
    rise_K = np.log1p(np.arange(CHECKPOINTS))
    return [
        [
            curve_of_values(
                0.25 + 0.003 * task * (1 + series / 20) * rise_K + 0.01 * rng.normal(size=CHECKPOINTS),
                series=f"series{series}",
                task=f"task{task}",
                steps_K=steps_K,
                tokens_K=steps_K * 3.7e6,
                stderr_K=np.full(CHECKPOINTS, 0.012),
                chance=0.25,
            )
            for series in range(SERIES)
        ]
        for task in range(TASKS)
    ]


def looped_official(values_K: np.ndarray, rng: np.random.Generator) -> float:
    """The published notebook, on redraws of one curve."""
    total = 0.0
    for _ in range(DRAWS):
        y = values_K + 0.012 * rng.normal(size=len(values_K))
        n = len(y)
        d = np.arange(n) - np.argsort(np.argsort(y))
        mono = max(0, 1 - 6 * np.sum(d**2) / (n * (n**2 - 1)))
        ac = np.mean([abs(np.corrcoef(y[k:], y[: n - k])[0, 1]) for k in range(1, n // 4)])
        total += (mono + ac) / 2
    return total / DRAWS


def looped_bootstrap(items_RI: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Means of some draws, by indexing."""
    count = items_RI.shape[1]
    return np.stack([items_RI[:, rng.integers(count, size=count)].mean(axis=1) for _ in range(LOOPED_DRAWS)])


def cpu_s(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def report(name: str, ours: list[float], theirs: list[float], limit_s: float) -> None:
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    print(
        f"{name}: {statistics.median(ours):.2f} CPU s ({min(ours):.2f} to {max(ours):.2f}, wanted < {limit_s:g}); "
        f"plain loops {statistics.median(theirs):.1f}; ratio {statistics.median(ratios):.1f} "
        f"({min(ratios):.1f} to {max(ratios):.1f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    rng = np.random.default_rng(0)
    groups, scores = families(rng), signal_scores()
    ours, theirs = [], []
    for _ in range(repeats):
        ours.append(cpu_s(lambda: signal_report(groups, scores)))
        part = cpu_s(lambda: [looped_official(curve.values_K, rng) for curve in groups[0][:LOOPED_CURVES]])
        theirs.append(part * TASKS * SERIES / LOOPED_CURVES)
    report(f"all {len(scores)} scores, {TASKS} x {SERIES} x {CHECKPOINTS}", ours, theirs, 5.0)

    items_RI = rng.normal(size=(MODELS * ITEM_CHECKPOINTS, ITEMS)).astype(np.float32)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ours = [cpu_s(lambda: item_bootstrap_DK(items_RI, rng)) for _ in range(repeats)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    theirs = [cpu_s(lambda: looped_bootstrap(items_RI, rng)) * DRAWS / LOOPED_DRAWS for _ in range(repeats)]
    report(f"paired item bootstrap, {MODELS} x {ITEM_CHECKPOINTS} x {ITEMS}", ours, theirs, 20.0)
    print(f"peak memory of the process {peak / 1024:.0f} MB, of it {(peak - before) / 1024:.0f} MB for the bootstrap")


if __name__ == "__main__":
    main()
