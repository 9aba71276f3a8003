"""Accuracy and coverage of ``e2lm predict`` on every public leave-largest-out split, baselines beside it.

Prints the mean relative error of each model per split, and for the average of laws the coverage and half-width of its
90 % interval: on the corpora that the method was chosen on, on the others, and on all.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from scaling_splits import CHOSEN_ON, splits

from e2lm.errors import UserError
from e2lm.progress import progress_bar
from e2lm_scaling.forecast.backtest import judge
from e2lm_scaling.forecast.predictors import scaling_predictors

PREDICTORS = {one.name: one for one in scaling_predictors() if one.fit is not None and not one.is_narrow}


def judged_or_none(name, split):
    """How the predictor did; None where it refuses the small runs."""
    try:
        return judge(PREDICTORS[name], split.train, split.held)
    except UserError:
        return None


def summary(judged, names, keep):
    found = {}
    for name in names:
        ones = [judged[split.name][name] for split in keep if name in judged[split.name]]
        half = [100 * float(np.mean(one.half_width_R)) for one in ones]
        found[name] = {
            "splits": len(ones),
            "median_error_percent": 100 * float(np.median([one.mean_error for one in ones])),
            "mean_error_percent": 100 * float(np.mean([one.mean_error for one in ones])),
            "coverage": float(np.mean([one.covered for one in ones])),
            "coverage_points": float(np.mean(np.concatenate([np.abs(np.log1p(one.signed_R)) <= one.half_width_R
                                                             for one in ones]))),
            "median_half_width_percent": float(np.median(half)),
        }  # fmt: skip
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default=",".join(PREDICTORS), help="models to judge, comma-separated")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    names = arguments.models.split(",")
    every = splits()
    judged = {}
    with progress_bar(len(every), "split", "backtest") as bar:
        for split in every:
            ones = {name: judged_or_none(name, split) for name in names}
            judged[split.name] = {name: one for name, one in ones.items() if one is not None}
            bar.update()
    groups = {
        "chosen on": [split for split in every if split.corpus in CHOSEN_ON],
        "others": [split for split in every if split.corpus not in CHOSEN_ON],
        "all": every,
    }
    report = {
        "splits": {
            split.name: {
                name: {"error_percent": 100 * one.mean_error, "coverage": one.covered,
                       "half_width_percent": 100 * float(np.mean(one.half_width_R))}
                for name, one in judged[split.name].items()
            }
            for split in every
        },
        "summary": {group: summary(judged, names, keep) for group, keep in groups.items()},
    }  # fmt: skip
    if arguments.json:
        print(json.dumps(report, indent=1))
        return
    for name, row in report["splits"].items():
        print(f"{name:30}" + "  ".join(f"{model} {one['error_percent']:.2f}" for model, one in row.items()))
    for group, row in report["summary"].items():
        print(group)
        for model, one in row.items():
            print(
                f"  {model:16} error {one['median_error_percent']:5.2f} / {one['mean_error_percent']:5.2f} %   "
                f"coverage {one['coverage']:.2f} (points {one['coverage_points']:.2f})   "
                f"half-width {one['median_half_width_percent']:.2f} %   {one['splits']} splits"
            )


if __name__ == "__main__":
    main()
