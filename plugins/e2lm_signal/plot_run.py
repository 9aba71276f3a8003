"""The work behind ``e2lm signal plot``."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from e2lm import UserError
from e2lm.plugin_manager import plugin_manager
from e2lm_signal.chart_files import write_charts
from e2lm_signal.comparison import contender_in_time
from e2lm_signal.decision_accuracy import EARLY_SHARE
from e2lm_signal.score_input import read_input
from e2lm_signal.signal_charts import curve_chart, decision_chart, ordering_chart

#: More charts than this make no readable page; the user is asked to choose.
MOST_CHARTS = 60
TEXT = (
    "Bands are central 90 % intervals of the items. The grey band is where one checkpoint of a model that learns "
    "nothing would lie: chance, or the first value, and the noise of a checkpoint."
)


def run_plot(arguments: Namespace) -> int:
    """Write the charts; returns the exit code."""
    path = Path(arguments.out)
    if path.suffix not in (".html", ".png"):
        raise UserError(f"--out: {path} ends in {path.suffix or 'nothing'!r}; allowed are .html and .png")
    source = read_input(arguments, plugin_manager())
    count = int(source.scores.frame.groupby(["task", "metric"]).ngroups)
    if count > MOST_CHARTS:
        raise UserError(f"{count} task x metric are more than {MOST_CHARTS} charts; choose with --tasks and --metrics")
    groups = list(source.groups())
    contenders = [contender_in_time(curves, curves, EARLY_SHARE) for curves in groups]
    charts = [
        ordering_chart(groups),
        decision_chart([one for one in contenders if not isinstance(one, str)]),
        *(curve_chart(curves) for curves in groups),
    ]
    for note in source.notes:
        print(f"note: {note}")
    if arguments.dry_run:
        print(f"would write {path} with {len(charts)} charts")
        return 0
    write_charts(path, f"Early signal of {Path(arguments.path).name}", TEXT, charts)
    print(f"wrote {path} with {len(charts)} charts")
    return 0
