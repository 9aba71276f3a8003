"""``e2lm predict curve``: where a run ends, from its first checkpoints; and which of two ends above the other."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2lm.answer import Answer, finite
from e2lm.argument import AMOUNT, SEED, SeveralPairs
from e2lm.chart import svg
from e2lm.errors import UserError, nearest_names, no_such
from e2lm_scaling.cli.input import add_plot_arguments, interval_words, predictor_named, write_charts
from e2lm_scaling.messages import say

if TYPE_CHECKING:
    import pandas as pd

    from e2lm.chart import Chart
    from e2lm.scaling_predictor import UnfinishedRun

#: Who forecasts the end of a run where nobody is named.
WITH_SCHEDULE, WITHOUT_SCHEDULE = "multi-power", "token-power"


def configure(parser: ArgumentParser) -> None:
    """Add the arguments of ``predict curve``."""
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="F",
        help="a Scores table, a folder of lm-eval results, or (with --columns) a table of one run",
    )
    parser.add_argument(
        "--columns", action=SeveralPairs, nargs=None, default=None, metavar="STEP,LOSS",
        help="columns of the table of one run: step or tokens, loss",
    )  # fmt: skip
    parser.add_argument("--series", help="the run to forecast (default: the only one)")
    parser.add_argument("--against", help="the run to compare it with: probability that --series ends above it")
    parser.add_argument("--task", help="task of a Scores table")
    parser.add_argument("--metric", help="metric of a Scores table")
    parser.add_argument("--schedule", help="kind:peak=...,steps=...[,final=...,warmup=...,decay_from=...]")
    parser.add_argument("--to", type=AMOUNT, help="tokens (or steps, with --columns) at the end of the run")
    parser.add_argument(
        "--model",
        metavar="NAME",
        help=f"predictor of the end (default {WITH_SCHEDULE} with --schedule, else {WITHOUT_SCHEDULE})",
    )
    parser.add_argument("--seed", type=SEED, default=0, help="seed of every random draw (default 0)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_plot_arguments(parser, "FILE.html or FILE.svg")


def run(arguments: Namespace) -> Answer:
    """Forecast or compare, report."""
    frame, source = _frame(arguments)
    report = _compared(arguments, frame) if arguments.against else _forecast(arguments, frame)
    report["data"] = source
    words = _words(report)
    write_charts(arguments, "curve", lambda: [_chart(arguments, frame, report)], tuple(words))
    return Answer(
        finite(report),
        lambda: "\n".join(words),
        pictures=lambda: [svg(_chart(arguments, frame, report), standalone=True)],
    )


def _chart(arguments: Namespace, frame: pd.DataFrame, report: dict[str, Any]) -> Chart:
    from e2lm_scaling.cli.figures import comparison_chart, forecast_chart

    x_label = say("step" if arguments.columns or frame["at"].equals(frame["step"].astype(float)) else "tokens")
    rows = _run_of(frame, report["series"], "--series")[1]
    if "against" in report:
        return comparison_chart(rows, _run_of(frame, report["against"], "--against")[1], report, x_label)
    return forecast_chart(rows, report, x_label)


def _frame(arguments: Namespace) -> tuple[pd.DataFrame, str]:
    """Columns series, metric, step, at (tokens or steps), value."""
    import pandas as pd

    from e2lm.results.table_file import number_in, read_frame

    if arguments.columns:
        if not arguments.data.is_file():
            raise UserError(f"{arguments.data}: {no_such(arguments.data, 'file')}")
        table = read_frame(arguments.data)
        names = _two_columns(arguments.columns, [str(name) for name in table.columns], arguments.data)
        at, value = ([number_in(cell, name, arguments.data) for cell in table[name]] for name in names)
        data = {"series": "run", "metric": "loss", "step": at, "at": at, "value": value}
        return pd.DataFrame(data).dropna(), str(arguments.data)
    from e2lm.results import Reading, read_scores

    read = read_scores(arguments.data, Reading(apart=True))
    frame = read.scores.frame
    for column in ("task", "metric"):
        found = sorted(set(frame[column]))
        wanted = getattr(arguments, column)
        if wanted is None and len(found) > 1:
            raise UserError(f"{arguments.data}: choose one with --{column}: {', '.join(found[:12])}")
        if wanted is not None and wanted not in found:
            raise UserError(f"{arguments.data}: no {column} {wanted!r}. {nearest_names(wanted, found)}")
        frame = frame[frame[column] == (wanted or found[0])]
    frame = frame[frame["step"] > 0].rename(columns={"tokens": "at"})
    if frame["at"].isna().any():
        frame = frame.assign(at=frame["step"].astype(float))
    return frame[["series", "metric", "step", "at", "value"]], str(arguments.data)


def _two_columns(text: str, known: list[str], data: Path) -> tuple[str, str]:
    """The two names in ``text``; either may hold commas itself, as names of runs do."""
    parts = text.split(",")
    for cut in range(1, len(parts)):
        both = ",".join(parts[:cut]).strip(), ",".join(parts[cut:]).strip()
        if both[0] in known and both[1] in known:
            return both
    for name in parts:
        if name not in known:
            raise UserError(f"{data}: column {name!r} is missing. {nearest_names(name, known)}")
    raise UserError(f"--columns {text!r}: give two columns, the step (or tokens) and the loss")


def _run_of(frame: pd.DataFrame, name: str | None, option: str) -> tuple[str, pd.DataFrame]:
    found = sorted(set(frame["series"]))
    if name is None and len(found) > 1:
        raise UserError(f"{option}: choose one of the series {', '.join(found[:12])}")
    chosen = name or found[0]
    if chosen not in found:
        raise UserError(f"{option} {chosen!r}: no such series. {nearest_names(chosen, found)}")
    rows = frame[(frame["series"] == chosen) & (frame["at"] > 0)]
    kept = rows.drop_duplicates("at", keep="last")
    if len(kept) < len(rows):
        print(
            f"e2lm: {len(rows) - len(kept)} rows of {chosen} are left out: a later row has the same step or tokens (a "
            "resumed run)", file=sys.stderr,
        )  # fmt: skip
    return chosen, kept.sort_values("at")


def _forecast(arguments: Namespace, frame: pd.DataFrame) -> dict[str, Any]:
    import numpy as np

    name, rows = _run_of(frame, arguments.series, "--series")
    run, end = _unfinished(arguments, name, rows)
    predictor = predictor_named(arguments.model or (WITH_SCHEDULE if arguments.schedule else WITHOUT_SCHEDULE), "curve")
    forecast = predictor.at_end(run, np.random.default_rng(arguments.seed))
    return {
        "series": name, "checkpoints": len(rows), "last": float(rows["at"].iloc[-1]), "end": end,
        "last_value": float(run.curve.values_K[-1]), "value": forecast.value, "low": forecast.low,
        "high": forecast.high, "method": forecast.method, "reason": forecast.reason, "model": predictor.name,
    }  # fmt: skip


def _unfinished(arguments: Namespace, name: str, rows: pd.DataFrame) -> tuple[UnfinishedRun, float]:
    """The run, and its end as it was given: steps of the schedule, or ``--to``."""
    import numpy as np

    from e2lm.scaling_predictor import UnfinishedRun
    from e2lm.signal_score import Curve
    from e2lm_scaling.forecast.curve import check_ahead
    from e2lm_scaling.forecast.losses import is_loss
    from e2lm_scaling.laws.schedule import schedule_of

    steps_K, at_K, values_K = (rows[column].to_numpy(dtype=np.float64) for column in ("step", "at", "value"))
    unknown_K = np.full(len(rows), np.nan)
    n_items_K = np.zeros(len(rows), dtype=np.int64)
    metric = str(rows["metric"].iloc[0])
    curve = Curve(
        name, "", metric, steps_K.astype(np.int64), at_K, values_K, unknown_K, n_items_K,
        higher_is_better=not is_loss(metric),
    )  # fmt: skip
    if arguments.schedule:
        schedule = schedule_of(arguments.schedule)
        end = float(schedule.steps)
        return UnfinishedRun(curve, end * float(at_K[-1] / max(steps_K[-1], 1.0)), schedule.rates_S), end
    if arguments.to:
        check_ahead(float(at_K[-1]), arguments.to)
        return UnfinishedRun(curve, arguments.to), arguments.to
    raise UserError("predict curve needs --schedule (which says where the run ends) or --to")


def _compared(arguments: Namespace, frame: pd.DataFrame) -> dict[str, Any]:
    from e2lm_scaling.forecast.curve import compare_ends

    first_name, first = _run_of(frame, arguments.series, "--series")
    second_name, second = _run_of(frame, arguments.against, "--against")
    both = first.merge(second, on="at", suffixes=("_first", "_second")).sort_values("at")
    if arguments.model:
        raise UserError("--against compares the runs themselves, without a predictor: leave out --model")
    if not arguments.to:
        raise UserError("--against needs --to: the tokens at the end of both runs")
    found = compare_ends(
        both["at"].to_numpy(dtype=float), both["value_first"].to_numpy(dtype=float),
        both["value_second"].to_numpy(dtype=float), arguments.to,
    )  # fmt: skip
    return {
        "series": first_name, "against": second_name, "checkpoints": found.checkpoints, "end": arguments.to,
        "difference": found.difference, "stderr_at_end": found.stderr, "probability_above": found.above_probability,
        "method": say("above_method"),
    }  # fmt: skip


def _words(report: dict[str, Any]) -> list[str]:
    if "against" in report:
        told = {name: report[name] for name in ("series", "against", "difference", "checkpoints", "method")}
        return [say("above", probability=report["probability_above"], stderr=report["stderr_at_end"], **told)]
    told = {name: report[name] for name in ("series", "last_value", "last", "value", "end")}
    if report["low"] is None or report["high"] is None:
        return [say("end", **told), f"  {interval_words(report)}"]
    return [say("end_with_interval", low=report["low"], high=report["high"], **told), f"  {report['method']}"]
