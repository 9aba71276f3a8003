"""The work behind ``e2lm signal noise``."""

from __future__ import annotations

import math
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np

from e2lm import ItemMetric, UserError
from e2lm.answer import Answer
from e2lm.plugin_manager import plugin_manager
from e2lm_signal.cli.text_table import wrapped
from e2lm_signal.item_table import ItemTable, read_item_tables
from e2lm_signal.noise import NoiseReport, NoiseShares, decomposed, without_control
from e2lm_signal.signal_and_noise import late_snr


def run_noise(arguments: Namespace) -> Answer:
    """Where the noise of each task comes from."""
    metrics = plugin_manager().all("e2lm_register_metrics", ItemMetric, "item metric")

    notes: list[str] = []

    def read(path: str) -> list[ItemTable]:
        return read_item_tables(Path(path), metrics, arguments.metric, arguments.tokens_per_step, notes)

    tables = read(arguments.path)
    if arguments.control:
        controls = read(arguments.control)
        if len(controls) != 1:
            raise UserError(f"--control: {arguments.control} holds {len(controls)} tasks; give the items of one")
        tables = [one for table in tables for one in (table, without_control(table, controls[0])[0])]
    reports = [_as_json(table, decomposed(table, np.random.default_rng(arguments.seed))) for table in tables]
    return Answer({"tasks": reports}, lambda: "\n\n".join(map(as_text, reports)), tuple(notes), rows="tasks")


def _as_json(table: ItemTable, report: NoiseReport) -> dict[str, Any]:
    return {
        "task": report.task,
        "metric": report.metric,
        "items": report.items,
        "series": len(report.by_series),
        "snr": _number(late_snr(table.values_MKI.mean(axis=2, dtype=np.float64))),
        "overall": _shares(report.overall),
        "drift_ratio_low": _number(report.ratio_low),
        "drift_ratio_high": _number(report.ratio_high),
        "by_series": {name: _shares(shares) for name, shares in report.by_series.items()},
        "advice": report.advice,
    }


def _shares(shares: NoiseShares) -> dict[str, float | None]:
    return {
        "total": _number(shares.total),
        "item_sampling": _number(shares.item_sampling),
        "common_mode": _number(shares.common_mode),
        "residual_share": _number(shares.residual_share),
        "drift_ratio": _number(shares.drift_ratio),
    }


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def as_text(report: dict[str, Any]) -> str:
    """One task in a few lines."""
    overall = report["overall"]
    ratios = sorted(shares["drift_ratio"] or 0.0 for shares in report["by_series"].values())
    interval = (
        f" [{report['drift_ratio_low']:.1f}, {report['drift_ratio_high']:.1f}]"
        if report["drift_ratio_low"] is not None
        else " (no interval: fewer than 4 series)"
    )
    snr = "undefined" if report["snr"] is None else f"{report['snr']:.1f}"
    return "\n".join(
        wrapped(
            [
                f"{report['task']} ({report['metric']}), {report['items']} items, {report['series']} series, SNR {snr}",
                f"  noise of one checkpoint      {overall['total']:.5f}",
                f"  from item sampling           {overall['item_sampling']:.5f}",
                f"  common to the items          {overall['common_mode']:.5f}",
                f"  residual share of variance   {overall['residual_share']:.3f}",
                f"  noise / item sampling        {overall['drift_ratio'] or math.inf:.1f}{interval}, "
                f"single series {ratios[0]:.1f} to {ratios[-1]:.1f}",
                f"  advice: {report['advice']}",
            ]
        )
    )
