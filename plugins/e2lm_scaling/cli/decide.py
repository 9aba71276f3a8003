"""``e2lm predict decide``: continue, stop, or move the budget, in plain words."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2lm.answer import Answer, finite
from e2lm.argument import AMOUNT, COUNT, PORTION, Number, file_to_write
from e2lm.errors import UserError
from e2lm_scaling.amounts import money, powers_of_ten
from e2lm_scaling.cli.input import (
    add_input_arguments,
    add_plot_arguments,
    drawn,
    fitted,
    named_numbers,
    predictor_named,
    read_input,
    read_named,
    source_report,
    write_plots,
)
from e2lm_scaling.messages import say

if TYPE_CHECKING:
    from e2lm.scaling_predictor import Forecaster, LossTable
    from e2lm_scaling.forecast.decide import Decision, Question
    from e2lm_scaling.forecast.losses import LossSource


def configure(parser: ArgumentParser) -> None:
    """Add the arguments of ``predict decide``."""
    add_input_arguments(parser)
    parser.add_argument("--budget-flops", type=AMOUNT, help="what could be spent, in FLOPs")
    parser.add_argument("--budget-gpu-hours", type=AMOUNT, help="what could be spent, in GPU hours")
    parser.add_argument("--budget-tokens", type=AMOUNT, help="what could be spent, in tokens of the current model")
    parser.add_argument("--cost-per-flop", type=Number(least=0), help="price of a FLOP")
    parser.add_argument("--cost-per-gpu-hour", type=Number(least=0), help="price of a GPU hour")
    parser.add_argument("--cost-per-token", type=Number(least=0), help="price of a token of the current model")
    parser.add_argument("--value-per-point", type=Number(least=0), required=True, help="what 0.01 less loss is worth")
    parser.add_argument("--currency", default="", metavar="NAME", help="currency of costs and values, to be shown")
    parser.add_argument("--current", metavar="N=...,D=...", help="the run that could go on (default: most compute)")
    parser.add_argument(
        "--option", action="append", default=[], metavar="NAME=FILE", help="runs on other data with the same N and D"
    )
    parser.add_argument(
        "--merge",
        action="store_true",
        help="weigh averages of the run's checkpoints too (e2lm eval --merge scores them)",
    )
    parser.add_argument("--max-params", type=AMOUNT, help="largest model allowed")
    parser.add_argument("--unique-tokens", type=AMOUNT, help="tokens of data there are; more means epochs")
    parser.add_argument(
        "--inference-tokens", type=Number(least=0), default=0.0, help="tokens served, paid from the same budget"
    )
    parser.add_argument("--peak-flops", type=AMOUNT, default=989e12, help="FLOP/s of one GPU (default: H100, bf16)")
    parser.add_argument("--utilisation", type=PORTION, default=0.4, help="share of the peak reached (default 0.4)")
    parser.add_argument("--model", default="average", help="predictor of the forecasts (default average)")
    parser.add_argument("--gpus", type=COUNT, help="how many GPUs train at once, for days of training")
    parser.add_argument("--page", type=file_to_write, metavar="FILE.html", help="write the page for who signs")
    add_plot_arguments(parser)


def run(arguments: Namespace) -> Answer:
    """Decide, report."""
    import numpy as np

    from e2lm_scaling.forecast.decide import Question, decide
    from e2lm_scaling.forecast.plan import Constraints
    from e2lm_scaling.forecast.table import checked

    _check_page(arguments.page)
    source = read_input(arguments)
    table = checked(source.table, source.source)
    current = _current(arguments, table)
    flops, cost_per_flop = _money(arguments, current[0])
    others = {}
    for text in arguments.option:
        name, equals, file = text.partition("=")
        if not equals:
            raise UserError(f"--option {text!r}: write NAME=FILE")
        others[name] = read_named(arguments, Path(file)).table
    forecaster = fitted(arguments, source, arguments.model)
    limits = Constraints(arguments.max_params, arguments.unique_tokens, inference_tokens=arguments.inference_tokens)
    value, averaged = arguments.value_per_point, _averaged(arguments, source)
    question = Question(forecaster, current, flops, cost_per_flop, value, others, limits, averaged)
    found = decide(question, np.random.default_rng(arguments.seed))
    said = source_report(source)
    report = (
        decision_report(found)
        | said
        | {
            "model": arguments.model,
            "budget_flops": flops,
            "cost_per_flop": cost_per_flop,
            "value_per_point": arguments.value_per_point,
            "currency": arguments.currency,
            "left_out": [*said["left_out"], *decision_left_out(found)],
        }
    )
    more = _options_of(question, found, _flops_per_day(arguments))
    report["options"] = [one | told for one, told in zip(report["options"], more, strict=True)]
    for one in decision_left_out(found):
        print(f"e2lm: option {one['what']} is left out: {one['why']}", file=sys.stderr)
    lines = decision_words(report)
    write_plots(arguments, "decide", lambda: _figures(found), tuple(lines))
    _write_page(arguments, question, found, source.source)
    return Answer(finite(report), lambda: "\n".join(lines), pictures=lambda: drawn(_figures(found)))


def _averaged(arguments: Namespace, source: LossSource) -> Forecaster | None:
    """What knows of averages of the runs in the data, where they are to be weighed: a plugin's predictor ``merge``."""
    import numpy as np

    if not arguments.merge:
        return None
    table = source.table if source.with_averages is None else source.with_averages
    return predictor_named("merge").fitted(table, np.random.default_rng(arguments.seed), source.source)


def _check_page(path: Path | None) -> None:
    if path is not None and path.suffix.lower() != ".html":
        raise UserError(f"--page {path}: give a file that ends in .html")


def _write_page(arguments: Namespace, question: Question, found: Decision, data: str) -> None:
    """The page for who signs, or in a dry run what would be written."""
    from e2lm.atomic_file import write_text
    from e2lm_scaling.cli.decision_page import Paper

    if arguments.page is None:
        return
    if arguments.dry_run:
        print(f"e2lm: would write {arguments.page}", file=sys.stderr)
        return
    paper = Paper(question, found, data, arguments.model, arguments.currency, _flops_per_day(arguments))
    write_text(arguments.page, paper.html())


def _flops_per_day(arguments: Namespace) -> float | None:
    from e2lm_scaling.cli.plan import HardwarePrice

    per_hour = HardwarePrice(arguments.peak_flops, arguments.utilisation).flops_per_gpu_hour
    return None if arguments.gpus is None else 24 * arguments.gpus * per_hour


def _options_of(question: Question, found: Decision, flops_per_day: float | None) -> list[dict[str, Any]]:
    """What the report says of every option beside its forecast: compute, days, and what of the cost is serving."""
    from e2lm_scaling.forecast.gates import training_flops

    told = []
    for one in found.valued:
        flops = training_flops(question, one.option)
        days = None if flops_per_day is None else flops / flops_per_day
        serving = max(one.option.cost - flops * question.cost_per_flop, 0.0)
        told.append({"training_flops": flops, "days": days, "serving_cost": serving})
    return told


def decision_left_out(found: Decision) -> list[dict[str, Any]]:
    """Options that could not be judged, and why."""
    return [{"what": name, "why": why, "file": None} for name, why in found.left_out.items()]


def _current(arguments: Namespace, table: LossTable) -> tuple[float, float]:
    import numpy as np

    if arguments.current:
        at = named_numbers(arguments.current, "--current", ("N", "D"))
        if len(at) != 2:
            raise UserError("--current needs both N and D")
        return at["N"], at["D"]
    row = int(np.argmax(table.params_R * table.tokens_R))
    return float(table.params_R[row]), float(table.tokens_R[row])


def _money(arguments: Namespace, params: float) -> tuple[float, float]:
    """Budget in FLOPs and price of a FLOP."""
    from e2lm_scaling.cli.plan import HardwarePrice
    from e2lm_scaling.laws.law import FLOPS_PER_PARAMETER_TOKEN

    per_hour = HardwarePrice(arguments.peak_flops, arguments.utilisation).flops_per_gpu_hour
    per_token = FLOPS_PER_PARAMETER_TOKEN * params
    budgets = [
        arguments.budget_flops,
        None if arguments.budget_gpu_hours is None else arguments.budget_gpu_hours * per_hour,
        None if arguments.budget_tokens is None else arguments.budget_tokens * per_token,
    ]
    costs = [
        arguments.cost_per_flop,
        None if arguments.cost_per_gpu_hour is None else arguments.cost_per_gpu_hour / per_hour,
        None if arguments.cost_per_token is None else arguments.cost_per_token / per_token,
    ]
    given_budgets = [one for one in budgets if one is not None]
    given_costs = [one for one in costs if one is not None]
    if len(given_budgets) != 1 or len(given_costs) != 1:
        raise UserError(
            "decide needs one of --budget-flops, --budget-gpu-hours, --budget-tokens and one of --cost-per-flop, "
            "--cost-per-gpu-hour, --cost-per-token"
        )
    return given_budgets[0], given_costs[0]


def decision_report(found: Decision) -> dict[str, Any]:
    """The decision as plain values."""
    return {
        "choice": found.chosen.option.name if found.decided else None,
        "leaning": found.chosen.option.name,
        "decided": found.decided,
        "regret_probability": found.regret_probability,
        "expected_regret": found.expected_regret,
        "errors": "independent" if found.independent else "shared",
        "options": [
            {
                "name": one.option.name,
                "words": one.option.words,
                "N": one.option.params,
                "D": one.option.tokens,
                "cost": one.option.cost,
                "loss": one.loss,
                "loss_interval": list(one.loss_interval),
                "loss_method": one.option.forecast.method,
                "gain": one.gain,
                "gain_interval": list(one.gain_interval),
                "best_probability": one.best_probability,
                "traced_to": one.option.traced_to,
            }
            for one in found.valued
        ],
        "experiment": None
        if found.experiment is None
        else {
            "words": found.experiment.words,
            "flops": found.experiment.flops,
            "cost": found.experiment.cost,
            "value_of_information": found.experiment.value,
        },
    }


def decision_words(report: dict[str, Any]) -> list[str]:
    """One page in plain words."""
    currency = report["currency"]
    options = [_option(one, currency) for one in report["options"]]
    lines = [_choice(report), _gain(report), *options, _experiment(report["experiment"], currency)]
    point, flops = money(report["value_per_point"], currency), powers_of_ten(report["budget_flops"])
    told = {"model": report["model"], "data": report["data"], "method": _method(report)}
    lines.append(say("assumptions", point=point, flops=flops, **told))
    if report["errors"] == "independent":
        lines.append(say("independent_errors", model=report["model"]))
    return lines


def _choice(report: dict[str, Any]) -> str:
    best = report["options"][0]
    if report["decided"]:
        return say("decided", best=best["words"])
    second = report["options"][1]
    shares = {"share": best["best_probability"], "second_share": second["best_probability"]}
    return say("undecided", best=best["words"], second=second["name"], **shares)


def _gain(report: dict[str, Any]) -> str:
    best = report["options"][0]
    low, high = best["gain_interval"]
    amounts = {"gain": best["gain"], "low": low, "high": high, "expected": report["expected_regret"]}
    told = {name: money(amount, report["currency"]) for name, amount in amounts.items()}
    return say("gain", regret=report["regret_probability"], **told)


def _option(one: dict[str, Any], currency: str) -> str:
    low, high = one["loss_interval"]
    told = {name: one[name] for name in ("name", "words", "loss")}
    told |= {name: money(one[name], currency) for name in ("cost", "gain")}
    return say("option", low=low, high=high, share=one["best_probability"], origin=one["traced_to"], **told)


def _experiment(experiment: dict[str, Any] | None, currency: str) -> str:
    if experiment is None:
        return say("no_experiment")
    cost, worth = (money(experiment[name], currency) for name in ("cost", "value_of_information"))
    return say("cheapest_experiment", words=experiment["words"], cost=cost, worth=worth)


def _method(report: dict[str, Any]) -> str:
    """How the intervals of the options with a forecast were made, each way once."""
    methods = [one["loss_method"] for one in report["options"] if one["name"] != "stop" and one["loss_method"]]
    return "; or ".join(dict.fromkeys(methods)) or say("no_method")


def _figures(found: Decision) -> list[Any]:
    from e2lm_scaling.cli.figures import decision_figure

    return [decision_figure(found)]
