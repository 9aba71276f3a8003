"""Exponents of N* from the isoFLOP points of Porian et al. 2024, by ``predict plan --approaches``, beside theirs.

    python benchmarks/scaling_isoflop.py

One line per setting (two corpora, five steps of tuning): the published exponent with its interval, ours with the 80 %
interval, and N* at 3e19 FLOPs; then how many of the published ones lie inside.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from e2lm_scaling.forecast.approaches import approaches
from e2lm_scaling.forecast.table import table_of

DATA = Path(__file__).parents[1] / ".." / "shared/data/scaling/porian"
SETTING = ["source", "dataset", "hparams", "warmup", "decay", "param_count", "val"]
FLOPS = 3e19


def main() -> None:
    """Print the comparison."""
    points, references = (pd.read_csv(DATA / name) for name in ("isoflop_points.csv", "reference_fits.csv"))
    points[SETTING], references[SETTING] = points[SETTING].astype(str), references[SETTING].astype(str)
    inside, sizes_inside, ratios = 0, 0, []
    for _, theirs in references.iterrows():
        rows = points[(points[SETTING] == theirs[SETTING]).all(axis=1)]
        table = table_of(rows["N"], rows["flops"] / 6 / rows["N"], rows["loss"])
        ours = approaches(table, FLOPS, 0, np.random.default_rng(0), 0.8)[1]
        low, high = ours.exponent_interval
        params = theirs["coef"] * FLOPS ** theirs["a"]
        inside += low <= theirs["a"] <= high
        sizes_inside += ours.params_interval.low <= params <= ours.params_interval.high
        ratios.append((high - low) / (theirs["a_hi"] - theirs["a_lo"]))
        print(
            f"{' '.join(theirs[SETTING]):<75} {theirs['a']:.3f} ({theirs['a_lo']:.3f} to {theirs['a_hi']:.3f})  "
            f"{ours.exponent:.3f} ({low:.3f} to {high:.3f})  N* {params:.3g}: {ours.params:.3g}"
        )
    print(
        f"exponents inside: {inside} of {len(references)}, N* inside: {sizes_inside}; width of ours over theirs: "
        f"median {np.median(ratios):.2f}, most {max(ratios):.2f}"
    )


if __name__ == "__main__":
    main()
