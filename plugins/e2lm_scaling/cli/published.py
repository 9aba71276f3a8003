"""``e2lm predict published``: the fits that papers print, at a model or a budget of one's own."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from e2lm.answer import Answer, finite
from e2lm.argument import AMOUNT
from e2lm.errors import UserError
from e2lm_scaling.cli.input import named_numbers

if TYPE_CHECKING:
    from e2lm_scaling.laws.published import PublishedFit

#: Repeated data are a law of its own, of N, D and the unique tokens.
REPEATED = "muennighoff"


def configure(parser: ArgumentParser) -> None:
    """Add the arguments of ``predict published``."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="fits to show (default: all)")
    parser.add_argument("--at", metavar="N=...,D=...[,U=...]", help="the loss of this model (U unique tokens)")
    parser.add_argument("--flops", type=AMOUNT, help="the best N and D for this budget")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: Namespace) -> Answer:
    """Show."""
    at = named_numbers(arguments.at, "--at", ("N", "D", "U")) if arguments.at else {}
    if at and not {"N", "D"} <= at.keys():
        raise UserError("--at needs both N and D, as in --at N=7e9,D=2e12")
    found = [_report(name, at, arguments.flops) for name in _wanted(arguments.names)]
    return Answer(finite({"fits": found}), lambda: "\n".join(line for one in found for line in _lines(one)))


def _wanted(names: list[str]) -> list[str]:
    from e2lm.errors import nearest_names
    from e2lm_scaling.laws.published import PUBLISHED_FITS

    known = [*PUBLISHED_FITS, REPEATED]
    for name in names:
        if name not in known:
            raise UserError(f"published fit {name!r} is unknown. {nearest_names(name, known)}")
    return names or known


def _report(name: str, at: dict[str, float], flops: float | None) -> dict[str, Any]:
    from e2lm_scaling.laws.published import published_fit

    if name == REPEATED:
        return _repeated(at)
    fit = published_fit(name)
    report = _described(name, fit)
    if at:
        report |= {"loss": None, "why": "it knows of no unique tokens"} if "U" in at else _loss(fit, at)
    if flops is not None:
        best = fit.optimum(flops)
        report |= {
            "flops": flops, "N": float(best.params_B[0]), "D": float(best.tokens_B[0]), "L": float(best.loss_B[0])
        }  # fmt: skip
    return report


def _described(name: str, fit: PublishedFit) -> dict[str, Any]:
    import numpy as np

    params = dict(fit.law.natural(np.array(fit.theta_T)))
    return {"name": name, "formula": fit.law.formula, "source": fit.source, "N_counts": fit.params_unit,
            "params": params}  # fmt: skip


def _loss(fit: PublishedFit, at: dict[str, float]) -> dict[str, Any]:
    return {"loss": fit.loss(at["N"], at["D"])}


def _repeated(at: dict[str, float]) -> dict[str, Any]:
    import numpy as np

    from e2lm_scaling.laws.repeated_data import MUENNIGHOFF

    law = MUENNIGHOFF
    report: dict[str, Any] = {
        "name": REPEATED, "formula": "L = E + A/N'^alpha + B/D'^alpha, N' and D' worth less where repeated",
        "source": "Muennighoff et al. 2023 (arXiv 2305.16264)", "N_counts": "parameters, all",
        "params": dict(law.constants),
    }  # fmt: skip
    if at:
        unique = at.get("U", at["D"])
        report["loss"] = float(law.loss(*(np.array([one]) for one in (at["N"], at["D"], unique)))[0])
        report["epochs"] = max(at["D"] / unique, 1.0)
    return report


def _lines(report: dict[str, Any]) -> list[str]:
    constants = ", ".join(f"{name} = {value:.6g}" for name, value in report["params"].items())
    lines = [f"{report['name']}: {report['formula']}; {constants}", f"  {report['source']}; N: {report['N_counts']}"]
    if report.get("loss") is not None:
        lines.append(f"  loss {report['loss']:.4f} as published; no interval is known for other data than theirs")
    elif "why" in report:
        lines.append(f"  no loss: {report['why']}")
    if "flops" in report:
        best = f"N* {report['N']:.4g}, D* {report['D']:.4g}, L* {report['L']:.4f}"
        lines.append(f"  {report['flops']:.3g} FLOPs: {best}")
    return lines
