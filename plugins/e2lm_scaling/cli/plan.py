"""``e2lm predict plan``: the best N and D for a budget, which may be money or GPU hours."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from e2lm.answer import Answer, finite, printed_by
from e2lm.argument import AMOUNT, PORTION, Number
from e2lm.errors import UserError
from e2lm_scaling.cli.input import (
    DRAWS,
    add_input_arguments,
    add_law_arguments,
    add_plot_arguments,
    drawn,
    fitted,
    interval_words,
    read_input,
    source_report,
    write_plots,
)

if TYPE_CHECKING:
    from e2lm.scaling_predictor import Forecaster
    from e2lm_scaling.forecast.plan import AverageDraws, ComputePlan
    from e2lm_scaling.laws.fit import Bootstrap


def configure(parser: ArgumentParser) -> None:
    """Add the arguments of ``predict plan``."""
    add_input_arguments(parser)
    add_law_arguments(parser, "average")
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument("--flops", type=AMOUNT, help="the budget in FLOPs")
    budget.add_argument("--gpu-hours", type=AMOUNT, help="the budget in GPU hours")
    budget.add_argument("--money", type=AMOUNT, help="the budget in money (with --price-per-gpu-hour)")
    parser.add_argument("--price-per-gpu-hour", type=AMOUNT, help="price of a GPU hour, in the unit of --money")
    parser.add_argument("--peak-flops", type=AMOUNT, default=989e12, help="FLOP/s of one GPU (default: H100, bf16)")
    parser.add_argument(
        "--utilisation",
        type=PORTION,
        default=0.4,
        help="share of the peak that is reached (default 0.4)",
    )
    parser.add_argument("--max-params", type=AMOUNT, help="largest model allowed")
    parser.add_argument("--unique-tokens", type=AMOUNT, help="tokens of data there are; more means epochs")
    parser.add_argument("--min-tokens-per-param", type=AMOUNT, help="over-train at least so far (20 is about optimal)")
    parser.add_argument(
        "--inference-tokens", type=Number(least=0), default=0.0, help="tokens served, paid from the same budget"
    )
    parser.add_argument(
        "--coverage",
        type=PORTION,
        default=0.8,
        help="coverage of the intervals of N and D (default 0.8)",
    )
    parser.add_argument(
        "--bootstrap", type=DRAWS, default=200, metavar="DRAWS", help="bootstrap draws of a law (default 200)"
    )
    parser.add_argument(
        "--approaches", action="store_true",
        help="also the three ways of Hoffmann et al. side by side: envelope of curves, isoFLOP, law",
    )  # fmt: skip
    add_plot_arguments(parser)


def run(arguments: Namespace) -> Answer:
    """Plan, report."""
    from e2lm_scaling.forecast.plan import Constraints, plan

    source = read_input(arguments)
    forecaster = fitted(arguments, source, arguments.model, thorough=True)
    price = HardwarePrice(arguments.peak_flops, arguments.utilisation, arguments.price_per_gpu_hour)
    flops = arguments.flops if arguments.flops is not None else price.flops(arguments.gpu_hours, arguments.money)
    constraints = Constraints(
        arguments.max_params, arguments.unique_tokens, arguments.min_tokens_per_param, arguments.inference_tokens
    )
    found = plan(forecaster, flops, constraints, _bootstrap(forecaster, arguments), arguments.coverage)
    report = plan_report(found) | {
        "law": forecaster.predictor.name,
        "params": dict(forecaster.parameters),
        "gpu_hours": flops / price.flops_per_gpu_hour,
        **source_report(source),
    }
    if arguments.approaches:
        report["approaches"] = _approaches(forecaster, flops, arguments)
    write_plots(arguments, "plan", lambda: _figures(forecaster, found))
    return Answer(finite(report), printed_by(_print_text, report), pictures=lambda: drawn(_figures(forecaster, found)))


def plan_report(found: ComputePlan) -> dict[str, Any]:
    """The plan as plain values."""
    return {
        "flops": found.flops,
        "N": found.params,
        "D": found.tokens,
        "tokens_per_param": found.tokens / found.params,
        "N_interval": list(found.params_interval),
        "D_interval": list(found.tokens_interval),
        "N_equally_good": list(found.equally_good),
        "interval_method": found.interval_method,
        "loss": found.loss.value,
        "loss_interval": None if found.loss.low is None else [found.loss.low, found.loss.high],
        "loss_method": found.loss.method or found.loss.reason,
        "binding": list(found.binding),
        "epochs": found.epochs,
        "compute_beyond_data": found.beyond_data,
    }


def _bootstrap(forecaster: Forecaster, arguments: Namespace) -> Bootstrap | AverageDraws | None:
    import numpy as np

    from e2lm_scaling.forecast.plan import average_draws
    from e2lm_scaling.forecast.predictors import FittedAverage, FittedLaw
    from e2lm_scaling.laws.fit import bootstrap

    if isinstance(forecaster.own, FittedAverage) and arguments.bootstrap:
        return average_draws(forecaster.own, arguments.bootstrap, np.random.default_rng(arguments.seed))
    if not isinstance(forecaster.own, FittedLaw):
        return None
    return bootstrap(forecaster.own.fit, arguments.bootstrap, np.random.default_rng(arguments.seed))


def _approaches(forecaster: Forecaster, flops: float, arguments: Namespace) -> list[dict[str, Any]]:
    import numpy as np

    from e2lm_scaling.forecast.approaches import approaches

    rng = np.random.default_rng(arguments.seed)
    return [
        {
            "approach": one.name,
            "exponent": one.exponent,
            "exponent_interval": one.exponent_interval and list(one.exponent_interval),
            "N": one.params,
            "N_interval": one.params_interval and list(one.params_interval),
            "D": one.tokens(flops),
            "budgets": one.budgets,
            "reason": one.reason or None,
        }
        for one in approaches(forecaster.table, flops, arguments.bootstrap, rng, arguments.coverage)
    ]


def _print_approaches(found: list[dict[str, Any]]) -> None:
    print("  approach     N* grows as     N* at the budget")
    for one in found:
        if one["reason"]:
            print(f"  {one['approach']:<12} none: {one['reason']}")
            continue
        ends, sizes = one["exponent_interval"], one["N_interval"]
        exponent = f"C^{one['exponent']:.3f}" + (f" ({ends[0]:.3f} to {ends[1]:.3f})" if ends else "")
        size = f"{one['N']:.3g}" + (f" ({sizes[0]:.3g} to {sizes[1]:.3g})" if sizes else "")
        print(f"  {one['approach']:<12} {exponent}   {size}   of {one['budgets']} budgets or sizes")


def _figures(forecaster: Forecaster, found: ComputePlan) -> list[Any]:
    from e2lm_scaling.cli.figures import isoflop_figure

    return [isoflop_figure(forecaster, found)]


def _print_text(report: dict[str, Any]) -> None:
    low_n, high_n = report["N_interval"]
    low_d, high_d = report["D_interval"]
    print(f"{report['flops']:.3g} FLOPs ({report['gpu_hours']:,.0f} GPU hours), law {report['law']}, {report['data']}")
    print(f"  N* {report['N']:.3g} parameters   ({low_n:.3g} to {high_n:.3g})")
    print(
        f"  D* {report['D']:.3g} tokens   ({low_d:.3g} to {high_d:.3g}), {report['tokens_per_param']:.3g} per parameter"
    )
    print(f"     intervals: {report['interval_method']}")
    low, high = report["loss_interval"] or (None, None)
    words = interval_words({"low": low, "high": high, "method": report["loss_method"], "reason": report["loss_method"]})
    print(f"  L* {report['loss']:.4f}   ({words})")
    if report["binding"]:
        print(f"  constraints that bind: {', '.join(report['binding'])}")
    if report["epochs"] > 1:
        print(f"  the data are seen {report['epochs']:.3g} times")
    if report["compute_beyond_data"] > 1:
        print(f"  {report['compute_beyond_data']:.3g}x the largest run of the data")
    if "approaches" in report:
        _print_approaches(report["approaches"])


#: Dense bf16 peak of an H100 SXM in FLOP/s (NVIDIA data sheet), and the share that good training code reaches.
DEFAULT_PEAK_FLOPS = 989e12
DEFAULT_UTILISATION = 0.4
SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class HardwarePrice:
    """FLOP/s that a GPU delivers (peak x utilisation) and what one GPU hour costs."""

    peak_flops: float = DEFAULT_PEAK_FLOPS
    utilisation: float = DEFAULT_UTILISATION
    price_per_gpu_hour: float | None = None

    def __post_init__(self) -> None:
        if not (self.peak_flops > 0 and 0 < self.utilisation <= 1):
            raise UserError(
                f"peak {self.peak_flops:g} FLOP/s and utilisation {self.utilisation:g}: the peak must be above 0 and "
                "the utilisation a share in 0..1"
            )

    @property
    def flops_per_gpu_hour(self) -> float:
        """FLOPs that one GPU does in an hour of training."""
        return self.peak_flops * self.utilisation * SECONDS_PER_HOUR

    def flops(self, gpu_hours: float | None, money: float | None) -> float:
        """FLOPs of a budget in GPU hours or money; :class:`UserError` if money comes without a price.

        >>> f"{HardwarePrice().flops(1000, None):.3g}"
        '1.42e+21'
        """
        if gpu_hours is not None:
            return gpu_hours * self.flops_per_gpu_hour
        if money is None or not self.price_per_gpu_hour:
            raise UserError("--money needs --price-per-gpu-hour")
        return money / self.price_per_gpu_hour * self.flops_per_gpu_hour
