"""``e2lm predict translate``: from the loss on one corpus (or test) to the loss on another."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from e2lm.errors import UserError
from e2lm_scaling.command_input import add_input_arguments, print_json, read_input

if TYPE_CHECKING:
    from e2lm_scaling.loss_to_loss import LossToLoss


def configure(parser: ArgumentParser) -> None:
    """Add the arguments of ``predict translate``."""
    add_input_arguments(parser)
    parser.add_argument(
        "--to",
        required=True,
        metavar="F",
        help="losses of the second corpus or test: a file like --data, read with the same columns unless --to-columns",
    )
    parser.add_argument("--to-columns", metavar="N=...,D=...,C=...,L=...", help="columns of --to")
    parser.add_argument("--to-task", help="task of --to")
    parser.add_argument("--to-metric", help="metric of --to")
    parser.add_argument("--law", default="kaplan-floor", help="law that gives the floors E (default kaplan-floor)")
    parser.add_argument(
        "--floors",
        choices=["fitted", "first", "none"],
        default="fitted",
        help="fitted: both floors from laws; first: the second with the rest (few runs); none: a grid of both",
    )
    parser.add_argument(
        "--at", type=float, action="append", default=[], metavar="LOSS", help="translate this first loss"
    )


def run(arguments: Namespace) -> int:
    """Pair, fit, translate, report."""
    from pathlib import Path

    from e2lm_scaling.fit import fit
    from e2lm_scaling.loss_rows import without_largest_losses
    from e2lm_scaling.loss_source import read_losses
    from e2lm_scaling.loss_to_loss import fit_known_first_floor, fit_known_floors, fit_unknown_floors, paired_losses

    first = read_input(arguments)
    second = read_losses(
        Path(arguments.to), arguments.to_columns or arguments.columns, arguments.to_task or arguments.task,
        arguments.to_metric or arguments.metric,
    )  # fmt: skip
    second_table = without_largest_losses(second.table, arguments.drop_largest_loss)
    from_P, to_P = paired_losses(first.table, second_table)
    report: dict[str, Any] = {
        "from": first.source,
        "to": second.source,
        "warnings": [*first.warnings, *second.warnings],
    }
    if arguments.floors == "none":
        law = fit_unknown_floors(from_P, to_P)
    else:
        first_fit = fit(first.table, arguments.law, source=first.source)
        if not first_fit.law.has_floor:
            raise UserError(f"--law {arguments.law}: it has no floor E; use kaplan-floor, chinchilla or skaling")
        if arguments.floors == "first":
            law = fit_known_first_floor(from_P, to_P, first_fit.params["E"])
        else:
            second_fit = fit(second_table, arguments.law, source=second.source)
            law = fit_known_floors(from_P, to_P, first_fit.params["E"], second_fit.params["E"])
        report["translated_law"] = dict(law.translate_fit(first_fit).params)
    report |= _law_report(law, from_P, to_P, arguments.at)
    if arguments.json:
        print_json(report)
    else:
        _print_text(report)
    return 0


def _law_report(law: LossToLoss, from_P: Any, to_P: Any, wanted: list[float]) -> dict[str, Any]:
    from e2lm_scaling.loss_to_loss import leave_lowest_out_error

    error = leave_lowest_out_error(law, from_P, to_P)
    translated = []
    for loss in wanted:
        value = float(law.translate(loss))
        one: dict[str, Any] = {"from": loss, "loss": value, "beyond_data": bool(loss < from_P.min())}
        if error is None:
            one |= {"low": None, "high": None, "method": None, "reason": "too few pairs to hold some out"}
        else:
            method = "twice the largest error on the lowest losses, held out"
            one |= {"low": value * (1 - 2 * error), "high": value * (1 + 2 * error), "method": method, "reason": None}
        translated.append(one)
    return {
        "kappa": law.exponent, "K": law.factor, "E_from": law.floor_from, "E_to": law.floor_to,
        "r_squared": law.r_squared, "pairs": law.pairs, "backtest_error": error, "translated": translated,
    }  # fmt: skip


def _print_text(report: dict[str, Any]) -> None:
    print(f"{report['from']} -> {report['to']}: {report['pairs']} pairs with equal N and D")
    print(
        f"  L_1 = {report['K']:.4g} (L_0 - {report['E_from']:.4g})^{report['kappa']:.4g} + {report['E_to']:.4g}   "
        f"R2 {report['r_squared']:.4f}"
    )
    if report["backtest_error"] is not None:
        print(f"  error on the lowest losses, held out: {report['backtest_error']:.2%}")
    for one in report["translated"]:
        interval = f" ({one['low']:.4f} to {one['high']:.4f}; {one['method']})" if one["low"] else f" ({one['reason']})"
        print(f"  {one['from']:.4f} -> {one['loss']:.4f}{interval}")
