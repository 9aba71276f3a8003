"""``e2lm predict backtest``: which law would have predicted the largest runs of this table."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from e2lm_scaling.cli.input import add_input_arguments, add_plot_arguments, print_json, read_input, write_plots

if TYPE_CHECKING:
    from e2lm_scaling.forecast.backtest import Backtest


def configure(parser: ArgumentParser) -> None:
    """Add the arguments of ``predict backtest``."""
    add_input_arguments(parser)
    parser.add_argument("--by", default="flops", help="what makes a run large: flops, N or D (default flops)")
    parser.add_argument(
        "--ratio", type=float, default=10.0, help="hold out runs above 1/RATIO of the largest (default 10)"
    )
    parser.add_argument("--models", metavar="A,B,...", help="models to judge (default all; baselines are always in)")
    add_plot_arguments(parser)


def run(arguments: Namespace) -> int:
    """Backtest, report."""
    from e2lm_scaling.forecast.backtest import backtest
    from e2lm_scaling.forecast.models import known_models, models_named
    from e2lm_scaling.forecast.table import checked

    source = read_input(arguments)
    known = known_models(arguments.seed)
    models = models_named(arguments.models.split(","), known) if arguments.models else list(known.values())
    result = backtest(checked(source.table, source.source), models, arguments.by, arguments.ratio)
    report = backtest_report(result) | {"data": source.source, "warnings": list(source.warnings)}
    write_plots(arguments, "backtest", lambda: _figures(result))
    if arguments.json:
        print_json(report)
    else:
        _print_text(report)
    return 0


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
                "half_width": float(one.half_width_R.mean()),
            }
            for one in result.judged
        ],
    }


def _figures(result: Backtest) -> list[Any]:
    from e2lm_scaling.cli.figures import backtest_figure

    return [backtest_figure(result)]


def _print_text(report: dict[str, Any]) -> None:
    print(
        f"trained on {report['rows_trained_on']} rows with {report['by']} up to {report['threshold']:.3g}, "
        f"{report['rows_held_out']} larger ones held out   ({report['data']})"
    )
    print(f"{'model':<16} {'error inside':>12} {'error':>8} {'worst':>8} {'covered':>8} {'+-':>8}")
    for one in report["models"]:
        mark = " (baseline)" if one["is_baseline"] else ""
        print(
            f"{one['model']:<16} {one['inner_error']:>12.2%} {one['mean_error']:>8.2%} {one['worst_error']:>8.2%} "
            f"{one['coverage_90']:>8.0%} {one['half_width']:>8.2%}{mark}"
        )
    print(f"the training part alone chooses {report['chosen']}; best in hindsight: {report['best_in_hindsight']}")
