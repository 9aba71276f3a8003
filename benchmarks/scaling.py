"""Speed of fits and bootstraps: ours against a plain scipy L-BFGS-B grid, same points, same objective.

Prints, with ``--json``: ``fit_s`` (converged fit from the exponent grid), ``fit_scipy_s`` (the 4,500 starts of Hoffmann
et al., extrapolated from ``fit_scipy_starts``), ``bootstrap_s`` and ``bootstrap_scipy_s`` (1,000 draws, the latter
extrapolated from ``bootstrap_scipy_draws``), the same in processor seconds (``cpu_s``, for a busy machine), and the
objectives that each side reached.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from itertools import product
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from scipy.optimize import minimize

from e2lm_scaling.forecast.table import table_of, without_largest_losses
from e2lm_scaling.laws.fit import bootstrap, fit

POINTS = Path(__file__).parents[1] / ".." / "shared/data/scaling/chinchilla_epoch/svg_extracted_data.csv"
DELTA = 1e-3
#: Hoffmann et al. 2022, section 3.3: 6 x 6 x 5 x 5 x 5 starts.
FACTORS, FLOORS, EXPONENTS = range(0, 26, 5), np.arange(-1, 1.5, 0.5), np.arange(0, 2.5, 0.5)
GRID = list(product(FACTORS, FACTORS, FLOORS, EXPONENTS, EXPONENTS))
DRAWS = 1000


def points():
    if POINTS.exists():
        frame = pd.read_csv(POINTS)
        params, flops = frame["Model Size"].to_numpy(), frame["Training FLOP"].to_numpy()
        return without_largest_losses(
            table_of(params, flops / 6 / params, frame["loss"].to_numpy()), 5
        ), "chinchilla 240"
    rng = np.random.default_rng(0)
    params, flops = 10 ** rng.uniform(7.7, 10.2, 240), 10 ** rng.uniform(18.2, 22.1, 240)
    tokens = flops / 6 / params
    loss = 1.82 + 478 / params**0.347 + 2143 / tokens**0.367
    return table_of(params, tokens, loss * np.exp(rng.laplace(0, 0.004, 240))), "synthetic 240"


def scipy_fit(start, log_n, log_d, log_l, weights):
    """One start of a plain log-sum-exp Huber fit with numeric gradients and default tolerances."""

    def value(theta):
        a, b, e, alpha, beta = theta
        residual = np.abs(np.logaddexp(np.logaddexp(a - alpha * log_n, b - beta * log_d), e) - log_l)
        inner = np.minimum(residual, DELTA)
        return float((weights * inner * (residual - 0.5 * inner)).sum())

    return minimize(value, start, method="L-BFGS-B")


def timed(function, repeats):
    times, processor = [], []
    for _ in range(repeats):
        begin, begin_cpu = time.perf_counter(), time.process_time()
        result = function()
        times.append(time.perf_counter() - begin)
        processor.append(time.process_time() - begin_cpu)
    return result, times, float(np.median(processor))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer scipy starts and repeats; done within 55 s")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    starts, draws, repeats = (150, 20, 5) if arguments.quick else (1500, 100, 9)
    table, data = points()
    columns = np.log(table.params_R), np.log(table.tokens_R), np.log(table.loss_R)
    fit(table)  # first call: imports and caches
    best, fit_times, fit_cpu_s = timed(lambda: fit(table), repeats)
    sample, bootstrap_times, bootstrap_cpu_s = timed(
        lambda: bootstrap(best, DRAWS, np.random.default_rng(0)), max(repeats // 2, 2)
    )

    rng = np.random.default_rng(0)
    chosen = [GRID[index] for index in rng.choice(len(GRID), starts, replace=False)]
    begin, begin_cpu = time.perf_counter(), time.process_time()
    with np.errstate(all="ignore"):
        ends = [scipy_fit(np.array(start, dtype=float), *columns, np.ones(len(table.loss_R))) for start in chosen]
    scipy_s = (time.perf_counter() - begin) / starts * len(GRID)
    scipy_cpu_s = (time.process_time() - begin_cpu) / starts * len(GRID)
    warm = best.theta_T[:5]
    rows = len(table.loss_R)
    begin, begin_cpu = time.perf_counter(), time.process_time()
    with np.errstate(all="ignore"):
        for _ in range(draws):
            weights = rng.multinomial(rows, np.full(rows, 1 / rows)).astype(float)
            scipy_fit(warm, *columns, weights)
    scipy_bootstrap_s = (time.perf_counter() - begin) / draws * DRAWS
    scipy_bootstrap_cpu_s = (time.process_time() - begin_cpu) / draws * DRAWS
    values = np.array([end.fun for end in ends])
    report = {
        "data": data,
        "fit_s": float(np.median(fit_times)),
        "fit_s_spread": [min(fit_times), max(fit_times)],
        "fit_scipy_s": scipy_s,
        "fit_scipy_starts": starts,
        "fit_scipy_grid": len(GRID),
        "fit_ratio": scipy_s / float(np.median(fit_times)),
        "bootstrap_s": float(np.median(bootstrap_times)),
        "bootstrap_s_spread": [min(bootstrap_times), max(bootstrap_times)],
        "bootstrap_scipy_s": scipy_bootstrap_s,
        "bootstrap_scipy_draws": draws,
        "bootstrap_draws": DRAWS,
        "bootstrap_ratio": scipy_bootstrap_s / float(np.median(bootstrap_times)),
        "bootstrap_converged": sample.converged_share,
        "cpu_s": {
            "fit": fit_cpu_s,
            "fit_scipy": scipy_cpu_s,
            "bootstrap": bootstrap_cpu_s,
            "bootstrap_scipy": scipy_bootstrap_cpu_s,
        },
        "objective": best.value,
        "objective_scipy_best": float(values.min()),
        "scipy_starts_at_optimum": float(np.mean(values <= best.value * (1 + 1e-3))),
        "processors": os.cpu_count(),
    }
    if arguments.json:
        print(json.dumps(report, indent=1))
        return
    print(f"{data} points, Huber delta {DELTA:g}")
    timed_grid = f"({starts} of {len(GRID)} starts timed)"
    print(f"fit        {report['fit_s']:.3f} s   scipy {scipy_s:.1f} s {timed_grid}   x{report['fit_ratio']:.0f}")
    timed_draws = f"({draws} of {DRAWS} draws timed)"
    ours, ratio = report["bootstrap_s"], report["bootstrap_ratio"]
    print(f"bootstrap  {ours:.3f} s   scipy {scipy_bootstrap_s:.1f} s {timed_draws}   x{ratio:.0f}")
    near = report["scipy_starts_at_optimum"]
    print(f"objective  {best.value:.10g}   scipy best {values.min():.10g}, {near:.0%} of its starts within 0.1 %")


if __name__ == "__main__":
    main()
