"""The work behind ``e2lm signal outliers``."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

from e2lm.answer import Answer
from e2lm.plugin_manager import plugin_manager
from e2lm_signal.cli.first_line import fits_worst, way_off
from e2lm_signal.cli.input import read_input
from e2lm_signal.cli.text_table import text_table, wrapped
from e2lm_signal.outliers import ALARM, LEAST_CHECKPOINTS, LEAST_CURVES, Outlier, outliers


def run_outliers(arguments: Namespace) -> Answer:
    """The checkpoints that fit worst into their series."""
    source = read_input(arguments, plugin_manager())
    found = outliers(source.groups())
    alarms = sum(one.is_alarm for one in found)
    notes = [
        *source.notes,
        f"{len(found)} checkpoints of series with at least {LEAST_CURVES} curves of {LEAST_CHECKPOINTS} checkpoints "
        f"were looked at; {alarms} are beyond {ALARM} standard deviations",
    ]
    shown = found[: arguments.top]
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
    return Answer({"checkpoints": rows}, lambda: _as_text(found, arguments.top), tuple(notes), rows="checkpoints")


def _as_text(found: Sequence[Outlier], top: int) -> str:
    head = ["series", "step", "score", "mean z", "curves", "outlier"]
    cells = [
        [one.series, str(one.step), f"{one.score:.1f}", f"{one.mean_z:.2f}", str(one.curves), _verdict(one)]
        for one in found[:top]
    ]
    return "\n".join([*wrapped([fits_worst(found)]), "", *text_table(head, cells, 1)])


def _verdict(one: Outlier) -> str:
    return f"outlier: {way_off(one)}" if one.is_alarm else ""
