"""``e2lm predict translate``: from the loss on one corpus (or test) to the loss, or the accuracy, on another."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from e2lm.answer import Answer, finite
from e2lm.argument import AMOUNT, Number, SeveralPairs
from e2lm.chart import svg
from e2lm.errors import UserError
from e2lm_scaling.cli.input import (
    add_input_arguments,
    add_plot_arguments,
    fitted,
    interval_words,
    named_numbers,
    read_input,
    read_named,
    write_charts,
)
from e2lm_scaling.messages import say

if TYPE_CHECKING:
    from e2lm.chart import Chart
    from e2lm.scaling_predictor import Forecast, Forecaster
    from e2lm_scaling.forecast.link import LossLink
    from e2lm_scaling.forecast.losses import LossSource
    from e2lm_scaling.laws.objective import Array


def configure(parser: ArgumentParser) -> None:
    """Add the arguments of ``predict translate``."""
    add_input_arguments(parser)
    parser.add_argument(
        "--to",
        required=True,
        metavar="F",
        help="losses of the second corpus or test: a file like --data, read with the same columns unless --to-columns",
    )
    parser.add_argument(
        "--to-columns", action=SeveralPairs, nargs=None, default=None, metavar="N=...,D=...,C=...,L=...",
        help="columns of --to",
    )  # fmt: skip
    parser.add_argument("--to-task", help="task of --to")
    parser.add_argument("--to-metric", help="metric of --to")
    parser.add_argument(
        "--law", default="kaplan-floor", help="law (or other predictor with a parameter E) of the floors (default "
        "kaplan-floor)"
    )  # fmt: skip
    parser.add_argument("--model", default="average", help="predictor of --at-model (default average)")
    parser.add_argument(
        "--floors",
        choices=["best", "fitted", "first", "none", "zero"],
        default="best",
        help="fitted: both floors from laws; first: the second with the rest (few runs); none: a grid of both; zero: "
        "no floors; best (default): none or zero, whichever is nearer on the lowest losses, held out",
    )
    parser.add_argument(
        "--at", type=AMOUNT, action="append", default=[], metavar="LOSS", help="translate this first loss"
    )
    parser.add_argument(
        "--at-model",
        action="append",
        default=[],
        metavar="N=...,D=...",
        help="forecast this model's first loss and translate it, error and all",
    )
    parser.add_argument(
        "--link",
        choices=["loss", "accuracy"],
        default="loss",
        help="accuracy: --to holds accuracies (0 to 1) as L, reached by a sigmoid (default loss)",
    )
    parser.add_argument(
        "--chance",
        type=Number(least=0, below=1),
        default=0.0,
        help="accuracy by chance, for --link accuracy (default 0)",
    )
    add_plot_arguments(parser, "FILE.html or FILE.svg")


def run(arguments: Namespace) -> Answer:
    """Pair, fit, translate, report."""
    from dataclasses import replace
    from pathlib import Path

    from e2lm_scaling.forecast.table import without_largest_losses
    from e2lm_scaling.laws.loss_to_loss import paired_losses

    first = read_input(arguments)
    to_accuracy = arguments.link == "accuracy"
    second = read_named(
        arguments, Path(arguments.to), to_accuracy,
        columns=arguments.to_columns, task=arguments.to_task, metric=arguments.to_metric,
    )  # fmt: skip
    dropped = 0 if to_accuracy else arguments.drop_largest_loss
    second = replace(second, table=without_largest_losses(second.table, dropped))
    from_P, to_P = paired_losses(first.table, second.table)
    if to_accuracy:
        found, link = _accuracy(arguments, from_P, to_P)
    else:
        found, link = _law(arguments, first, second, (from_P, to_P))
    report = {"from": first.source, "to": second.source, "warnings": [*first.warnings, *second.warnings]} | found
    at, left_out = _possible(arguments.at, link, bool(arguments.at_model))
    for one in left_out:
        print(f"e2lm: {one['what']} is left out: {one['why']}", file=sys.stderr)
    report |= {
        "left_out": [*map(dict, (*first.left_out, *second.left_out)), *left_out],
        "link": arguments.link,
        "pairs": len(from_P),
        "backtest_error": None if link.error is None else link.error / _error_factor(),
        "translated": [*_translated(at, link, from_P), *_forecast(arguments, link, first, from_P)],
    }
    words = _words(report)
    write_charts(arguments, "translate", lambda: [_chart(report, link, from_P, to_P)], tuple(words))
    return Answer(
        finite(report),
        lambda: "\n".join(words),
        pictures=lambda: [svg(_chart(report, link, from_P, to_P), standalone=True)],
    )


def _error_factor() -> float:
    from e2lm_scaling.forecast.link import ERROR_FACTOR

    return ERROR_FACTOR


def _accuracy(arguments: Namespace, from_P: Array, to_P: Array) -> tuple[dict[str, Any], LossLink]:
    from e2lm_scaling.forecast.link import accuracy_link

    law, link = accuracy_link(from_P, to_P, arguments.chance)
    numbers = {"height": law.height, "midpoint": law.midpoint, "steepness": law.steepness, "top": law.top}
    return {"sigmoid": numbers}, link


def _law(
    arguments: Namespace, first: LossSource, second: LossSource, pairs: tuple[Array, Array]
) -> tuple[dict[str, Any], LossLink]:
    from e2lm_scaling.forecast.link import loss_link
    from e2lm_scaling.forecast.predictors import FittedLaw
    from e2lm_scaling.laws import loss_to_loss
    from e2lm_scaling.laws.loss_to_loss import fit_known_first_floor, fit_known_floors

    found: dict[str, Any] = {}
    alone = {
        "best": loss_to_loss.fit_best_floors, "none": loss_to_loss.fit_unknown_floors,
        "zero": loss_to_loss.fit_without_floors,
    }  # fmt: skip
    if arguments.floors in alone:
        law = alone[arguments.floors](*pairs)
    else:
        first_fit = _with_floor(arguments, first)
        if arguments.floors == "first":
            law = fit_known_first_floor(*pairs, first_fit.parameters["E"])
        else:
            second_fit = _with_floor(arguments, second)
            law = fit_known_floors(*pairs, first_fit.parameters["E"], second_fit.parameters["E"])
        if isinstance(first_fit.own, FittedLaw):
            found["translated_law"] = dict(law.translate_fit(first_fit.own.fit).params)
    numbers = {"kappa": law.exponent, "K": law.factor, "E_from": law.floor_from, "E_to": law.floor_to}
    return found | numbers | {"r_squared": law.r_squared}, loss_link(law, *pairs)


def _with_floor(arguments: Namespace, source: LossSource) -> Forecaster:
    found = fitted(arguments, source, arguments.law, thorough=True)
    if "E" not in found.parameters:
        raise UserError(f"--law {arguments.law}: it has no floor E; use kaplan-floor, chinchilla or skaling")
    return found


def _translated(wanted: list[float], link: LossLink, from_P: Array) -> list[dict[str, Any]]:
    """First losses that were given: they are taken to be exact."""
    from e2lm.scaling_predictor import Forecast
    from e2lm_scaling.forecast.link import HELD_OUT_METHOD, chained

    found = []
    for loss in wanted:
        one = _as_row(loss, chained(Forecast(loss, loss, loss), link), from_P)
        found.append(one | {"method": None if one["low"] is None else HELD_OUT_METHOD})
    return found


def _possible(wanted: list[float], link: LossLink, others: bool) -> tuple[list[float], list[dict[str, Any]]]:
    """Losses above the floor, and a line for each of the others; where nothing is left the first is an error."""
    above = [loss for loss in wanted if loss > link.floor]
    if not above and not others:
        above = wanted  # refused with its reason
    why = say("below_floor", floor=link.floor)
    return above, [{"what": f"--at {loss:g}", "why": why, "file": None} for loss in wanted if loss not in above]


def _forecast(arguments: Namespace, link: LossLink, first: LossSource, from_P: Array) -> list[dict[str, Any]]:
    """First losses that are forecasts themselves: their error goes through the link."""
    from e2lm_scaling.forecast.link import chained

    if not arguments.at_model:
        return []
    forecaster = fitted(arguments, first, arguments.model, "translate")
    found = []
    for text in arguments.at_model:
        at = named_numbers(text, "--at-model", ("N", "D"))
        if len(at) != 2:
            raise UserError(f"--at-model {text!r}: both N and D are needed")
        loss = forecaster.predict(at["N"], at["D"])
        row = _as_row(loss.value, chained(loss, link), from_P)
        found.append(row | {"N": at["N"], "D": at["D"], "from_low": loss.low, "from_high": loss.high})
    return found


def _as_row(loss: float, forecast: Forecast, from_P: Array) -> dict[str, Any]:
    return {
        "from": loss, "loss": forecast.value, "low": forecast.low, "high": forecast.high, "method": forecast.method,
        "reason": forecast.reason, "beyond_data": bool(loss < from_P.min()),
        "lowest_of_data": float(from_P.min()),
    }  # fmt: skip


def _chart(report: dict[str, Any], link: LossLink, from_P: Array, to_P: Array) -> Chart:
    from e2lm_scaling.cli.figures import link_chart

    return link_chart(
        link, from_P, to_P, report["translated"], say("accuracy" if "sigmoid" in report else "second_loss")
    )


def _words(report: dict[str, Any]) -> list[str]:
    lines = [say("pairs", first=report["from"], second=report["to"], pairs=report["pairs"]), f"  {_formula(report)}"]
    if report["backtest_error"] is not None:
        kind = "error_of_accuracy" if "sigmoid" in report else "error_of_loss"
        lines.append(f"  {say(kind, error=report['backtest_error'])}")
    return [*lines, *(f"  {_translation(one)}" for one in report["translated"])]


def _formula(report: dict[str, Any]) -> str:
    if "sigmoid" in report:
        return say("sigmoid", **report["sigmoid"] | {"height": -report["sigmoid"]["height"]})
    names = {"factor": "K", "floor_from": "E_from", "exponent": "kappa", "floor_to": "E_to", "r_squared": "r_squared"}
    return say("power", **{field: report[name] for field, name in names.items()})


def _translation(one: dict[str, Any]) -> str:
    translated = say("translated", first=one["from"], second=one["loss"], interval=interval_words(one))
    if one["beyond_data"]:
        translated = say("below_pairs", translated=translated, lowest=one["lowest_of_data"])
    return say("of_model", params=one["N"], tokens=one["D"], translated=translated) if "N" in one else translated
