"""``e2lm predict fit``: a law (or any other predictor), its parameters, and how well the data determine them."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from e2lm.answer import Answer, finite, printed_by
from e2lm_scaling.cli.input import (
    DRAWS,
    add_input_arguments,
    add_law_arguments,
    add_plot_arguments,
    drawn,
    fitted,
    interval_words,
    named_numbers,
    read_input,
    source_report,
    write_plots,
)

if TYPE_CHECKING:
    from e2lm.scaling_predictor import Forecaster
    from e2lm_scaling.forecast.losses import LossSource
    from e2lm_scaling.forecast.predictors import FittedAverage
    from e2lm_scaling.forecast.repeated import RepeatedForecaster
    from e2lm_scaling.laws.fit import Bootstrap, Fit

#: The law of runs that repeat their data is one of N, D and the unique tokens U: no predictor of N and D.
REPEATED = "muennighoff"
#: Above this condition number some combination of parameters is not determined to single digits.
LARGEST_CONDITION = 1e8


def configure(parser: ArgumentParser) -> None:
    """Add the arguments of ``predict fit``."""
    add_input_arguments(parser)
    add_law_arguments(parser, "average")
    parser.add_argument(
        "--bootstrap", type=DRAWS, default=200, metavar="DRAWS", help="draws for standard errors of a law, 0: none"
    )
    parser.add_argument(
        "--at", metavar="N=...,D=...", help="also predict the loss of this model, with an interval; --law muennighoff "
        "also takes U=..., its unique tokens"
    )  # fmt: skip
    add_plot_arguments(parser)


def run(arguments: Namespace) -> Answer:
    """Fit, report."""
    if arguments.model == REPEATED:
        return _run_repeated(arguments)
    source = read_input(arguments)
    forecaster = fitted(arguments, source, arguments.model, thorough=True)
    report = fit_report(forecaster, source, arguments)
    write_plots(arguments, "fit", lambda: _figures(forecaster))
    return Answer(finite(report), printed_by(_print_text, report), pictures=lambda: drawn(_figures(forecaster)))


def fit_report(forecaster: Forecaster, source: LossSource, arguments: Namespace) -> dict[str, Any]:
    """Everything about the fit as plain values; what only the fit of a law has is None for other predictors."""
    from dataclasses import replace

    from e2lm_scaling.forecast.predictors import FittedAverage, FittedLaw
    from e2lm_scaling.forecast.table import flops_of

    table, predictor, own = forecaster.table, forecaster.predictor, forecaster.own
    report: dict[str, Any] = {
        "law": predictor.name,
        "formula": predictor.description,
        "source": predictor.source,
        "params": dict(forecaster.parameters),
        "units": {},
        **dict.fromkeys(("stderr", "objective", "objective_kind", "delta", "converged")),
        "rows": len(table.loss_R),
        **dict.fromkeys(("starts_at_optimum", "condition", "identifiable", "split_known")),
        "at_bound": [],
        "range": {
            name: [float(values.min()), float(values.max())]
            for name, values in (("N", table.params_R), ("D", table.tokens_R), ("C", flops_of(table)))
        },
        **source_report(source),
    }
    if isinstance(own, FittedLaw):
        draws = _bootstrap(own.fit, arguments)
        report |= _law_report(own.fit) | _bootstrap_report(draws, arguments)
        forecaster = replace(forecaster, own=replace(own, draws=draws))
    if isinstance(own, FittedAverage):
        report |= _average_report(own)
    if arguments.at:
        report["forecast"] = _forecast(forecaster, named_numbers(arguments.at, "--at", ("N", "D")))
    return report


def _run_repeated(arguments: Namespace) -> Answer:
    """Fit the law of repeated data; what has no meaning for it is refused."""
    from e2lm.errors import UserError
    from e2lm_scaling.forecast.repeated import fitted_to_repeats

    for option, value in (("--objective", arguments.objective), ("--fix", arguments.fix), ("--plot", arguments.plot)):
        if value is not None:
            raise UserError(f"{option} is not known to the law {REPEATED!r}: leave it out")
    if arguments.delta is not None:
        raise UserError(f"--delta is not known to the law {REPEATED!r}, which is fitted with 1e-3: leave it out")
    source = read_input(arguments, by_unique=True)
    forecaster = fitted_to_repeats(source)
    report = _repeated_report(forecaster, source, arguments)
    return Answer(finite(report), printed_by(_print_text, report))


def _repeated_report(forecaster: RepeatedForecaster, source: LossSource, arguments: Namespace) -> dict[str, Any]:
    from e2lm_scaling.forecast.table import flops_of

    found, rows = forecaster.fit, forecaster.fit.rows
    table = rows.table
    ranges = {"N": table.params_R, "D": table.tokens_R, "C": flops_of(table), "U": rows.unique_R,
              "epochs": rows.epochs_R}  # fmt: skip
    report: dict[str, Any] = {
        "law": REPEATED, "formula": "L = E + A/N'^alpha + B/D'^alpha, N' and D' worth less where data are repeated",
        "source": "Muennighoff et al. 2023 (arXiv 2305.16264)", "params": dict(found.law.constants),
        "units": {"E": "nats per token (or the unit of the loss)", "R_D*": "repetitions", "R_N*": "times U_N"},
        "stderr": None, "objective": found.value, "objective_kind": "huber", "delta": 1e-3, "converged": True,
        "rows": len(table.loss_R), "starts_at_optimum": found.starts_at_optimum, "condition": None,
        "identifiable": not found.undetermined, "split_known": None, "at_bound": list(found.undetermined),
        "range": {name: [float(values.min()), float(values.max())] for name, values in ranges.items()},
        **source_report(source),
    }  # fmt: skip
    report |= _repeated_bootstrap(forecaster, arguments)
    if arguments.at:
        report["forecast"] = _repeated_forecast(forecaster, named_numbers(arguments.at, "--at", ("N", "D", "U")))
    return report


def _repeated_bootstrap(forecaster: RepeatedForecaster, arguments: Namespace) -> dict[str, Any]:
    import numpy as np

    from e2lm.interval import percentile_interval

    if arguments.bootstrap <= 0:
        return {}
    drawn_B = forecaster.bootstrapped(arguments.bootstrap, np.random.default_rng(arguments.seed))
    converged = len(drawn_B["E"])
    if converged < 2:
        return {}
    intervals = {name: list(percentile_interval(values_B, 0.95)) for name, values_B in drawn_B.items()}
    found = {"draws": arguments.bootstrap, "converged_share": converged / arguments.bootstrap, "on_bound": 0,
             "interval_95": intervals, "seed": arguments.seed}  # fmt: skip
    return {"stderr": {name: float(np.std(values_B, ddof=1)) for name, values_B in drawn_B.items()}, "bootstrap": found}


def _repeated_forecast(forecaster: RepeatedForecaster, at: dict[str, float]) -> dict[str, Any]:
    from e2lm.errors import UserError

    if not {"N", "D"} <= at.keys():
        raise UserError("--at needs both N and D, and U where data are repeated, as in --at N=7e9,D=2e12,U=5e11")
    unique = min(at.get("U", at["D"]), at["D"])
    forecast = forecaster.predict(at["N"], at["D"], unique)
    return {
        "N": at["N"], "D": at["D"], "U": unique, "epochs": at["D"] / unique, "loss": forecast.value,
        "low": forecast.low, "high": forecast.high, "method": forecast.method, "reason": forecast.reason,
    }  # fmt: skip


def _average_report(own: FittedAverage) -> dict[str, Any]:
    """Which parameters of its laws the table does not determine; the mean of their losses may be sound all the same."""
    at_bound = [f"{fit.law.name}.{name}" for fit in own.fits for name in fit.at_bound]
    apart = all(_split_known(fit) for fit in own.fits)
    return {"at_bound": at_bound, "identifiable": apart and not at_bound, "split_known": apart}


def _law_report(best: Fit) -> dict[str, Any]:
    from e2lm_scaling.laws.fit import floor_profile

    report = {
        "units": {parameter.name: parameter.unit for parameter in best.law.parameters},
        "objective": best.value,
        "objective_kind": best.objective.kind,
        "delta": best.objective.delta if best.objective.kind == "huber" else None,
        "converged": True,  # an unconverged fit is an error, never a report
        "starts_at_optimum": best.starts_at_optimum,
        "condition": best.condition,
        "identifiable": best.condition < LARGEST_CONDITION and not best.at_bound and _split_known(best),
        "at_bound": list(best.at_bound),
        "split_known": _split_known(best),
    }
    profile = floor_profile(best)
    if profile is not None:
        report["floor_profile"] = {
            "E": list(profile.floors), "objective": list(profile.objectives), "determined": profile.determined,
        }  # fmt: skip
    return report


def _split_known(best: Fit) -> bool:
    """Whether N and D go their own ways in the data; a law of one quantity does not need it."""
    from e2lm_scaling.forecast.table import LEAST_SPLIT_SPREAD, split_spread

    return best.law.axis != "nd" or split_spread(best.table) >= LEAST_SPLIT_SPREAD


def _bootstrap(best: Fit, arguments: Namespace) -> Bootstrap | None:
    import numpy as np

    from e2lm_scaling.laws.fit import bootstrap

    if arguments.bootstrap <= 0:
        return None
    return bootstrap(best, arguments.bootstrap, np.random.default_rng(arguments.seed))


def _bootstrap_report(draws: Bootstrap | None, arguments: Namespace) -> dict[str, Any]:
    if draws is None:
        return {}
    found = {
        "draws": draws.draws,
        "converged_share": draws.converged_share,
        "on_bound": draws.on_bound,
        "interval_95": {name: list(draws.interval(name)) for name in draws.fit.params},
        "seed": arguments.seed,
    }
    return {"stderr": draws.stderr, "bootstrap": found}


def _figures(forecaster: Forecaster) -> list[Any]:
    from e2lm_scaling.cli.figures import fit_figure

    return [fit_figure(forecaster)]


def _forecast(forecaster: Forecaster, at: dict[str, float]) -> dict[str, Any]:
    from e2lm.errors import UserError

    if len(at) != 2:
        raise UserError("--at needs both N and D, as in --at N=7e9,D=2e12")
    forecast = forecaster.predict(at["N"], at["D"])
    return {
        "N": at["N"], "D": at["D"], "loss": forecast.value, "low": forecast.low, "high": forecast.high,
        "method": forecast.method, "reason": forecast.reason,
    }  # fmt: skip


def _print_text(report: dict[str, Any]) -> None:
    print(f"{report['law']}: {report['formula']}   ({report['rows']} rows of {report['data']})")
    for name, value in report["params"].items():
        error = f" +- {report['stderr'][name]:.3g}" if report["stderr"] else ""
        unit = report["units"].get(name)
        print(f"  {name:<6} {value:.6g}{error}{f'   ({unit})' if unit else ''}")
    if report["converged"]:
        _print_quality(report)
    if report["params"]:
        _print_undetermined(report)
    if "forecast" in report:
        forecast = report["forecast"]
        at = f"N={forecast['N']:.3g}, D={forecast['D']:.3g}"
        if "U" in forecast:
            at += f" of which {forecast['U']:.3g} unique ({forecast['epochs']:.3g} epochs)"
        print(f"loss at {at}: {forecast['loss']:.4f}; {interval_words(forecast)}")
    elif not report["params"]:
        print("it has no parameters to show; --at N=...,D=... gives its forecast of a model")


def _print_quality(report: dict[str, Any]) -> None:
    print(f"objective {report['objective']:.10g} ({report['objective_kind']}), converged")
    condition = f"; condition number {report['condition']:.2g}" if report["condition"] is not None else ""
    print(f"{report['starts_at_optimum']:.0%} of starts ended here{condition}")
    found = report.get("bootstrap")
    if found is not None and (found["on_bound"] or found["converged_share"] < 1):
        failed = round((1 - found["converged_share"]) * found["draws"])
        print(f"of {found['draws']} draws {found['on_bound']} lie on a bound, and are kept; {failed} did not converge")


def _print_undetermined(report: dict[str, Any]) -> None:
    if report["split_known"] is False:
        print("not identifiable: N and D move together in the data; parameters and N* are not determined")
    elif report["identifiable"] is False and not report["at_bound"]:
        print("not identifiable: some parameters make up for each other (see the condition number)")
    if report["at_bound"] and report["law"] == REPEATED:
        print(f"not determined by the repetitions seen: {', '.join(report['at_bound'])}")
    elif report["at_bound"]:
        print(f"at its bound, so not determined by the data: {', '.join(report['at_bound'])}")
    if "floor_profile" in report and not report["floor_profile"]["determined"]:
        print("E is not determined: other floors fit about as well")
