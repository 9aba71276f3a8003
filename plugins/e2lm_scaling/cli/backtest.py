"""``e2lm predict backtest``: which predictor would have forecast the largest runs of this table."""

from __future__ import annotations

import math
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from e2lm.answer import Answer, finite, printed_by
from e2lm.argument import Number, Several
from e2lm_scaling.cli.input import (
    add_input_arguments,
    add_plot_arguments,
    drawn,
    known_predictors,
    predictor_named,
    read_input,
    source_report,
    write_plots,
)

if TYPE_CHECKING:
    from e2lm.scaling_predictor import ScalingPredictor
    from e2lm_scaling.forecast.backtest import Backtest
    from e2lm_scaling.laws.objective import Array


def configure(parser: ArgumentParser) -> None:
    """Add the arguments of ``predict backtest``."""
    add_input_arguments(parser)
    parser.add_argument("--by", default="flops", help="what makes a run large: flops, N or D (default flops)")
    parser.add_argument(
        "--ratio", type=Number(above=1), default=10.0, help="hold out runs above 1/RATIO of the largest (default 10)"
    )
    parser.add_argument(
        "--models",
        action=Several,
        default=None,
        metavar="NAME",
        help="predictors to judge (default all but laws of one quantity; baselines are always in)",
    )
    add_plot_arguments(parser)


def run(arguments: Namespace) -> Answer:
    """Backtest, report."""
    from e2lm_scaling.forecast.backtest import backtest
    from e2lm_scaling.forecast.table import checked

    source = read_input(arguments)
    table = checked(source.table, source.source)
    result = backtest(table, _wanted(arguments.models), arguments.by, arguments.ratio, arguments.seed)
    report = backtest_report(result)
    for one in report["left_out"]:
        print(f"e2lm: {one['what']} is left out: {one['why']}", file=sys.stderr)
    said = source_report(source)
    report |= said | {"left_out": [*report["left_out"], *said["left_out"]]}
    write_plots(arguments, "backtest", lambda: _figures(result))
    return Answer(finite(report), printed_by(_print_text, report), pictures=lambda: drawn(_figures(result)))


def _wanted(names: Sequence[str] | None) -> list[ScalingPredictor]:
    known = known_predictors("forecast")
    if names is None:
        return [one for one in known if not one.is_narrow]
    chosen = {predictor_named(name).name for name in names}
    return [one for one in known if one.name in chosen or one.is_baseline]


def backtest_report(result: Backtest) -> dict[str, Any]:
    """The backtest as plain values, models in the order of their error inside the training part."""
    return {
        "by": result.by,
        "threshold": result.threshold,
        "rows_trained_on": len(result.train.loss_R),
        "rows_held_out": len(result.held.loss_R),
        "chosen": result.chosen.model,
        "best_in_hindsight": result.best.model,
        "models": [
            {
                "model": one.model,
                "is_baseline": one.is_baseline,
                "inner_error": one.inner_error,
                "mean_error": one.mean_error,
                "worst_error": one.worst_error,
                "coverage_90": one.covered,
                "half_width": _mean(one.half_width_R),
            }
            for one in result.judged
        ],
        "left_out": [{"what": name, "why": why, "file": None} for name, why in result.left_out.items()],
    }


def _mean(half_width_R: Array) -> float:
    known = [float(half) for half in half_width_R if not math.isnan(half)]
    return sum(known) / len(known) if known else math.nan


def _figures(result: Backtest) -> list[Any]:
    from e2lm_scaling.cli.figures import backtest_figure

    return [backtest_figure(result)]


def _share(value: float | None, digits: int) -> str:
    return f"{'-':>8}" if value is None or not math.isfinite(value) else f"{value:>8.{digits}%}"


def _print_text(report: dict[str, Any]) -> None:
    print(
        f"trained on {report['rows_trained_on']} rows with {report['by']} up to {report['threshold']:.3g}, "
        f"{report['rows_held_out']} larger ones held out   ({report['data']})"
    )
    print(f"{'model':<16} {'error inside':>12} {'error':>8} {'worst':>8} {'covered':>8} {'+-':>8}")
    for one in report["models"]:
        mark = " (baseline)" if one["is_baseline"] else ""
        inside = _share(one["inner_error"], 2)
        print(
            f"{one['model']:<16} {inside:>12} {one['mean_error']:>8.2%} {one['worst_error']:>8.2%} "
            f"{_share(one['coverage_90'], 0)} {_share(one['half_width'], 2)}{mark}"
        )
    measured = math.isfinite(report["models"][0]["inner_error"])
    chosen = report["chosen"] if measured else "none, for it has too few runs to hold some out"
    print(f"the training part alone chooses {chosen}; best in hindsight: {report['best_in_hindsight']}")
