"""``e2lm predict fit``: a law, its parameters, and how well the data determine them."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from e2lm_scaling.cli.input import (
    add_input_arguments,
    add_objective_arguments,
    add_plot_arguments,
    named_numbers,
    print_json,
    read_input,
    write_plots,
)

if TYPE_CHECKING:
    from e2lm.scaling_predictor import Forecast
    from e2lm_scaling.forecast.losses import LossSource
    from e2lm_scaling.laws.fit import Bootstrap, Fit

#: Above this condition number some combination of parameters is not determined to single digits.
LARGEST_CONDITION = 1e8


def configure(parser: ArgumentParser) -> None:
    """Add the arguments of ``predict fit``."""
    add_input_arguments(parser)
    add_objective_arguments(parser, "chinchilla")
    parser.add_argument(
        "--bootstrap", type=int, default=200, metavar="DRAWS", help="draws for standard errors, 0: none"
    )
    parser.add_argument("--at", metavar="N=...,D=...", help="also predict the loss of this model, with an interval")
    add_plot_arguments(parser)


def run(arguments: Namespace) -> int:
    """Fit, report."""
    from e2lm_scaling.laws.fit import fit
    from e2lm_scaling.laws.objective import Objective

    source = read_input(arguments)
    objective = Objective(arguments.objective, arguments.delta)
    best = fit(source.table, arguments.law, objective, source=source.source)
    report = fit_report(best, source, arguments)
    write_plots(arguments, "fit", lambda: _figures(best))
    if arguments.json:
        print_json(report)
    else:
        _print_text(report)
    return 0


def fit_report(best: Fit, source: LossSource, arguments: Namespace) -> dict[str, Any]:
    """Everything about the fit as plain values."""
    import numpy as np

    from e2lm_scaling.forecast.table import flops_of
    from e2lm_scaling.laws.fit import bootstrap, floor_profile

    table = best.table
    rng = np.random.default_rng(arguments.seed)
    report: dict[str, Any] = {
        "law": best.law.name,
        "formula": best.law.formula,
        "source": best.law.source,
        "params": dict(best.params),
        "units": {parameter.name: parameter.unit for parameter in best.law.parameters},
        "stderr": None,
        "objective": best.value,
        "objective_kind": best.objective.kind,
        "delta": best.objective.delta if best.objective.kind == "huber" else None,
        "converged": True,  # an unconverged fit is an error, never a report
        "rows": len(table.loss_R),
        "starts_at_optimum": best.starts_at_optimum,
        "condition": best.condition,
        "identifiable": best.condition < LARGEST_CONDITION and not best.at_bound,
        "at_bound": list(best.at_bound),
        "range": {
            name: [float(values.min()), float(values.max())]
            for name, values in (("N", table.params_R), ("D", table.tokens_R), ("C", flops_of(table)))
        },
        "data": source.source,
        "warnings": list(source.warnings),
    }
    profile = floor_profile(best)
    if profile is not None:
        report["floor_profile"] = {
            "E": list(profile.floors), "objective": list(profile.objectives), "determined": profile.determined,
        }  # fmt: skip
    draws = None
    if arguments.bootstrap > 0:
        draws = bootstrap(best, arguments.bootstrap, rng)
        report["stderr"] = draws.stderr
        report["bootstrap"] = {
            "draws": draws.draws,
            "converged_share": draws.converged_share,
            "interval_95": {name: list(draws.interval(name)) for name in best.params},
            "seed": arguments.seed,
        }
    if arguments.at:
        report["forecast"] = _forecast(best, named_numbers(arguments.at, "--at", ("N", "D")), draws)
    return report


def _figures(best: Fit) -> list[Any]:
    from e2lm_scaling.cli.figures import fit_figure

    return [fit_figure(best)]


def _forecast(best: Fit, at: dict[str, float], draws: Bootstrap | None) -> dict[str, Any]:
    from e2lm.errors import UserError
    from e2lm_scaling.forecast.calibration import calibrated_predictor, distance_beyond
    from e2lm_scaling.forecast.models import law_model

    if len(at) != 2:
        raise UserError("--at needs both N and D, as in --at N=7e9,D=2e12")
    if draws is not None and distance_beyond(best.table, at["N"], at["D"]) <= 0:
        forecast = _inside(best, at, draws)
    else:
        theta_1T = best.theta_T[None]
        model = law_model(best.law.name, best.objective)
        predictor = calibrated_predictor(model, best.table, lambda n, d: best.law.log_loss(theta_1T, n, d)[0])
        forecast = predictor.predict(at["N"], at["D"])
    return {
        "N": at["N"], "D": at["D"], "loss": forecast.value, "low": forecast.low, "high": forecast.high,
        "method": forecast.method, "reason": forecast.reason,
    }  # fmt: skip


def _inside(best: Fit, at: dict[str, float], draws: Bootstrap) -> Forecast:
    """Inside the data the bootstrap of the fit and the noise of a single run are what is uncertain."""
    import numpy as np

    from e2lm.interval import normal_quantile, ratio_interval
    from e2lm.scaling_predictor import Forecast

    drawn_B = np.log(draws.loss(np.array([at["N"]]), np.array([at["D"]]))[:, 0])
    half = normal_quantile() * float(np.sqrt(np.var(drawn_B) + np.mean(best.residual_R**2)))
    value = float(best.loss(at["N"], at["D"]))
    method = f"90%, inside the data: bootstrap of {draws.draws} draws and residual noise"
    return Forecast(value, *ratio_interval(value, half), method=method)


def _print_text(report: dict[str, Any]) -> None:
    print(f"{report['law']}: {report['formula']}   ({report['rows']} rows of {report['data']})")
    for name, value in report["params"].items():
        error = f" +- {report['stderr'][name]:.3g}" if report["stderr"] else ""
        print(f"  {name:<6} {value:.6g}{error}   ({report['units'].get(name, '')})")
    print(f"objective {report['objective']:.10g} ({report['objective_kind']}), converged")
    print(f"{report['starts_at_optimum']:.0%} of starts ended here; condition number {report['condition']:.2g}")
    if report["at_bound"]:
        print(f"at its bound, so not determined by the data: {', '.join(report['at_bound'])}")
    if "floor_profile" in report and not report["floor_profile"]["determined"]:
        print("E is not determined: other floors fit about as well")
    if "forecast" in report:
        forecast = report["forecast"]
        interval = (
            f"{forecast['low']:.4f} to {forecast['high']:.4f} ({forecast['method']})"
            if forecast["low"] is not None
            else forecast["reason"]
        )
        print(f"loss at N={forecast['N']:.3g}, D={forecast['D']:.3g}: {forecast['loss']:.4f}; {interval}")
