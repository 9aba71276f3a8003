"""The work behind ``e2lm signal outliers``."""

from __future__ import annotations

import json
from argparse import Namespace

from e2lm.plugin_manager import plugin_manager
from e2lm_signal.cli.input import print_notes, read_input
from e2lm_signal.outliers import ALARM, LEAST_CHECKPOINTS, LEAST_CURVES, outliers


def run_outliers(arguments: Namespace) -> int:
    """Print the checkpoints that fit worst into their series; returns the exit code."""
    source = read_input(arguments, plugin_manager())
    found = outliers(source.groups())
    alarms = sum(one.is_alarm for one in found)
    notes = [
        *source.notes,
        f"{len(found)} checkpoints of series with at least {LEAST_CURVES} curves of {LEAST_CHECKPOINTS} checkpoints "
        f"were looked at; {alarms} are beyond {ALARM} standard deviations",
    ]
    shown = found[: arguments.top]
    if arguments.json:
        rows = [
            {
                "series": one.series,
                "step": one.step,
                "score": one.score,
                "mean_z": one.mean_z,
                "curves": one.curves,
                "outlier": one.is_alarm,
            }
            for one in shown
        ]
        print(json.dumps({"checkpoints": rows}, indent=1, allow_nan=False))
    else:
        print(f"{'series':<44} {'step':>9} {'score':>8} {'mean z':>8} {'curves':>7}")
        for one in shown:
            verdict = ("  outlier: too good" if one.score > 0 else "  outlier: too bad") if one.is_alarm else ""
            print(f"{one.series:<44} {one.step:>9} {one.score:>8.1f} {one.mean_z:>8.2f} {one.curves:>7}{verdict}")
    print_notes(notes, arguments)
    return 0
