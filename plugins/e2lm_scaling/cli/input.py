"""Arguments that the actions of ``e2lm predict`` share, the predictors that they name, and how a forecast is shown."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2lm.argument import AMOUNT, COUNT_OR_NONE, SEED, SeveralPairs, Whole, file_to_write, number_of
from e2lm.errors import UserError
from e2lm.plugin_manager import plugin_manager
from e2lm_scaling.messages import say

if TYPE_CHECKING:
    from e2lm.chart import Chart
    from e2lm.scaling_predictor import Capability, Forecast, Forecaster, ScalingPredictor
    from e2lm_scaling.forecast.losses import LossSource, Units

HOOK, WHAT = "e2lm_register_scaling_predictors", "scaling predictor"
#: Draws of a bootstrap; more would say nothing more and fill the memory.
DRAWS = Whole(0, 1_000_000)
#: What a predictor is asked for, and what one that cannot do it lacks.
LACKS: Mapping[Capability, str] = {
    "forecast": "it follows single runs (predict curve) and has no fit",
    "curve": "it declares no end_of_run",
    "translate": "it does not declare that its intervals may be sent through a link (translates)",
}


def add_input_arguments(parser: ArgumentParser) -> None:
    """``--data`` and how to read it."""
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="F",
        help="CSV, Parquet or JSON-lines table (with --columns), a Scores table, or a folder of lm-eval results",
    )
    parser.add_argument(
        "--columns",
        action=SeveralPairs,
        nargs=None,
        default=None,
        metavar="N=...,D=...,C=...,L=...",
        help="columns of --data: N parameters, D tokens, C FLOPs (two of the three), L loss; also S series, U unique "
        "tokens, V tokenizer",
    )
    parser.add_argument(
        "--compute-unit", metavar="UNIT", help="what C is counted in: FLOP (default), GFLOP, TFLOP, EFLOP, PF-days, ..."
    )
    parser.add_argument(
        "--sequence-length", type=AMOUNT, metavar="TOKENS", help="D (and U) count sequences of so many tokens"
    )
    parser.add_argument("--task", help="task of a Scores table")
    parser.add_argument("--metric", help="metric of a Scores table that is a loss, such as bits_per_byte")
    parser.add_argument(
        "--drop-largest-loss",
        type=COUNT_OR_NONE,
        default=0,
        metavar="COUNT",
        help="leave out the rows of the COUNT largest losses",
    )
    parser.add_argument("--seed", type=SEED, default=0, help="seed of every random draw (default 0)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_law_arguments(parser: ArgumentParser, default: str) -> None:
    """``--law`` and what its fit minimises."""
    parser.add_argument(
        "--law", "--model", dest="model", default=default, metavar="NAME",
        help=f"the law, or any other predictor (default {default})",
    )  # fmt: skip
    parser.add_argument("--objective", help="what the fit of a law minimises: huber, l1 or mse of ln L (default huber)")
    parser.add_argument("--delta", type=AMOUNT, help="delta of huber (default 1e-3)")
    parser.add_argument("--fix", metavar="E=...", help="parameters of a law that are known: E, alpha, beta, k")


def known_predictors(capability: Capability) -> list[ScalingPredictor]:
    """Every registered predictor that can do this, built-in or not."""
    from e2lm.scaling_predictor import ScalingPredictor

    found: list[ScalingPredictor] = plugin_manager().all(HOOK, ScalingPredictor, WHAT)
    return [one for one in found if capability in one.capabilities]


def predictor_named(name: str, capability: Capability = "forecast") -> ScalingPredictor:
    """The predictor of that name, built-in or not; :class:`UserError` where there is none or it cannot do this."""
    from e2lm.scaling_predictor import ScalingPredictor

    found: ScalingPredictor = plugin_manager().find(HOOK, ScalingPredictor, name, WHAT)
    if capability not in found.capabilities:
        able = ", ".join(sorted(one.name for one in known_predictors(capability)))
        raise UserError(f"scaling predictor {name!r} cannot do this: {LACKS[capability]}; those that can: {able}")
    return found


def fitted(
    arguments: Namespace, source: LossSource, name: str, capability: Capability = "forecast", thorough: bool = False
) -> Forecaster:
    """The predictor of that name on the losses of ``source``; each fit of a command has the generator of its seed.

    ``thorough``: a law is fitted from many starts, minimising what ``--objective`` and ``--delta`` say.
    """
    import numpy as np

    from e2lm_scaling.forecast.predictors import LawPredictor
    from e2lm_scaling.laws.objective import Objective

    predictor = predictor_named(name, capability)
    options = {"kind": getattr(arguments, "objective", None), "delta": getattr(arguments, "delta", None)}
    given = {name: value for name, value in options.items() if value is not None}
    fix = getattr(arguments, "fix", None)
    fixed = named_numbers(fix, "--fix", ("E", "alpha", "beta", "k")) if fix else {}
    if thorough and isinstance(predictor, LawPredictor):
        predictor = predictor.minimising(Objective(**given), fixed)
    elif given or fixed:
        raise UserError(f"--objective, --delta and --fix are about the fit of a law, and {predictor.name!r} is none")
    return predictor.fitted(source.table, np.random.default_rng(arguments.seed), source.source)


def interval_words(forecast: Forecast | Mapping[str, Any]) -> str:
    """``1.90 to 2.10; how it was made``, or why there is no interval.

    >>> interval_words({"low": 1.9, "high": 2.1, "method": "by hand", "reason": None})
    '1.9000 to 2.1000; by hand'
    >>> interval_words({"low": None, "high": None, "method": None, "reason": "too few runs"})
    'no interval: too few runs'
    """
    names = ("low", "high", "method", "reason")
    low, high, method, reason = (forecast[n] if isinstance(forecast, Mapping) else getattr(forecast, n) for n in names)
    if low is None or high is None:
        return say("no_interval", reason=reason)
    if method:
        return say("interval_and_method", low=low, high=high, method=method)
    return say("interval", low=low, high=high)


def add_plot_arguments(parser: ArgumentParser, endings: str = "FILE.html or FILE.png") -> None:
    """``--plot``."""
    parser.add_argument("--plot", type=file_to_write, metavar="FILE", help=f"write a picture to {endings}")
    parser.add_argument("--dry-run", action="store_true", help="say what --plot would write, write nothing")


def write_plots(
    arguments: Namespace, action: str, figures: Callable[[], list[Any]], paragraphs: tuple[str, ...] = ()
) -> None:
    """Write the figures that ``--plot`` asks for, or say so in a dry run."""
    if arguments.plot is None:
        return
    from e2lm_scaling.cli.figures import checked_suffix, write_figures

    checked_suffix(arguments.plot)
    if arguments.dry_run:
        print(f"e2lm: would write {arguments.plot}", file=sys.stderr)
        return
    write_figures(arguments.plot, say("page", action=action), figures(), paragraphs)


def write_charts(
    arguments: Namespace, action: str, charts: Callable[[], list[Chart]], paragraphs: tuple[str, ...] = ()
) -> None:
    """Write the charts (SVG) that ``--plot`` asks for, or say so in a dry run."""
    if arguments.plot is None:
        return
    from e2lm_scaling.cli.figures import checked_suffix
    from e2lm_scaling.cli.figures import write_charts as write

    checked_suffix(arguments.plot, (".html", ".svg"))
    if arguments.dry_run:
        print(f"e2lm: would write {arguments.plot}", file=sys.stderr)
        return
    write(arguments.plot, say("page", action=action), charts(), paragraphs)


def read_input(arguments: Namespace, by_unique: bool = False) -> LossSource:
    """The losses that the arguments name, without the largest ones; warnings go to standard error."""
    from dataclasses import replace

    import numpy as np

    from e2lm_scaling.forecast.table import without_largest_losses

    source = read_named(arguments, arguments.data, by_unique=by_unique)
    table = without_largest_losses(source.table, arguments.drop_largest_loss)
    if source.unique_R is None or len(table.loss_R) == len(source.table.loss_R):
        return replace(source, table=table)
    kept_R = source.table.loss_R < np.sort(source.table.loss_R)[-arguments.drop_largest_loss]
    return replace(source, table=table, unique_R=source.unique_R[kept_R])


def read_named(
    arguments: Namespace, path: Path, is_score: bool = False, by_unique: bool = False, **other: str | None
) -> LossSource:
    """Losses of another file, read as ``--data`` is unless ``other`` columns, task or metric are named.

    Says on standard error what one should know about them and which rows were left out.
    """
    from e2lm_scaling.forecast.losses import read_losses

    how = {name: other.get(name) or getattr(arguments, name) for name in ("columns", "task", "metric")}
    source = read_losses(path, **how, units=_units(arguments), is_score=is_score, by_unique=by_unique)
    for warning in source.warnings:
        print(f"e2lm: warning: {warning}", file=sys.stderr)
    for one in source.left_out:
        print(f"e2lm: {one['what']} of {one['file']} is left out: {one['why']}", file=sys.stderr)
    return source


def _units(arguments: Namespace) -> Units:
    from e2lm.errors import nearest_names
    from e2lm_scaling.forecast.losses import COMPUTE_UNITS, Units

    unit = arguments.compute_unit or "FLOP"
    if unit not in COMPUTE_UNITS:
        raise UserError(f"--compute-unit {unit!r} is unknown. {nearest_names(unit, COMPUTE_UNITS)}")
    return Units(COMPUTE_UNITS[unit], arguments.sequence_length or 1.0)


def source_report(source: LossSource) -> dict[str, Any]:
    """Where the losses are from, what was said about them, and the rows left out, as plain values."""
    return {
        "data": source.source,
        "warnings": list(source.warnings),
        "left_out": [dict(one) for one in source.left_out],
    }


def drawn(figures: list[Any]) -> list[str]:
    """The figures as SVG elements."""
    from e2lm_scaling.cli.figures import inline_svg

    return [inline_svg(figure) for figure in figures]


def named_numbers(text: str, option: str, allowed: tuple[str, ...]) -> dict[str, float]:
    """Numbers written as ``N=1e9,D=2e10``.

    >>> named_numbers("N=1e9,D=2e10", "--at", ("N", "D"))
    {'N': 1000000000.0, 'D': 20000000000.0}
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        try:
            number = number_of(value)
        except ValueError:
            number = float("nan")
        if not equals or name not in allowed or not number > 0:
            wanted = ",".join(f"{one}=<number>" for one in allowed)
            raise UserError(f"{option} {text!r}: {part!r} is not understood; write {wanted} with numbers above 0")
        found[name] = number
    return found
