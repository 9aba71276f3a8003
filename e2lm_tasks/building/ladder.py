"""At which checkpoint each rung of the developmental ladder turns on in a run, and how surely it tells training.

The first is read from accuracy, which has a chance level; the second from log-likelihoods, as accuracy stands still
below a rung's start and at its ceiling.

Shape suffix: K checkpoints of one series.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2lm import Curve, Scores, SignalScore, UserError
from e2lm.interval import normal_quantile
from e2lm.plugin_manager import plugin_manager
from e2lm_tasks.building.families import LADDER

METRIC = "acc_ties_half"
FALLBACK_METRIC = "acc"
#: Log-likelihood of the truth minus the mean of the wrong choices, for all rungs, as docs/scores.md recommends.
#: Where a table lacks it, accuracy is judged.
SIGNAL_METRIC = "gold_minus_mean_wrong_per_byte"
SIGNAL_SCORE = "signal_quality"
LEAST_PRINTED_P = 0.001
#: Of the interval that a rung must lift above chance and step 0.
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Rung:
    """One rung in one run. ``on_step`` is None where it shows nothing; ``reason`` then says why.

    ``first`` and ``last`` are accuracies, ``signal_quality`` and ``p`` belong to ``signal_metric``.
    """

    series: str
    rung: str
    chance: float
    first: float
    last: float
    on_step: int | None
    on_tokens: float | None
    signal_metric: str
    signal_quality: float | None
    p: float | None
    reason: str | None

    def as_json(self) -> dict[str, Any]:
        """The fields under their names."""
        return asdict(self)


def ladder_report(scores: Scores, name: str = LADDER.name) -> list[Rung]:
    """Every rung of every run in order of the ladder; a :class:`UserError` where the table holds no rung."""
    table = scores.frame
    rungs = []
    for series in dict.fromkeys(table["series"]):
        for kind in LADDER.kinds:
            rows = table[(table["series"] == series) & (table["task"] == f"{name}_{kind.name}")]
            by_metric = {str(metric): own.sort_values("step") for metric, own in rows.groupby("metric")}
            metric = METRIC if METRIC in by_metric else FALLBACK_METRIC
            if metric in by_metric:
                rungs.append(_rung(str(series), kind.name, 1 / kind.choices, metric, by_metric))
    if not rungs:
        raise UserError(f"no task {name}_... is in the scores; evaluate --tasks {name} first, or give --name")
    return rungs


def shown_by_runs(rungs: Sequence[Rung]) -> dict[str, float]:
    """Per rung that some run has turned on: p of "no run shows it", the smallest of its runs times their number.

    Bonferroni's bound: it holds however alike the runs are, which read the same text in the same order.

    >>> shown_by_runs([])
    {}
    """
    p_of: dict[str, list[float]] = {}
    for rung in rungs:
        if rung.p is not None:
            p_of.setdefault(rung.rung, []).append(rung.p)
    on = {rung.rung for rung in rungs if rung.on_step is not None}
    return {name: min(1.0, len(found) * min(found)) for name, found in p_of.items() if name in on}


def ladder_text(rungs: Sequence[Rung]) -> str:
    """The report as a table, and in a last line per run the rungs that show nothing."""
    lines = [
        f"{'run':<24} {'rung':<12} {'chance':>6} {'first':>6} {'last':>6}  {'turns on at':<24} {'quality':>7} {'p':>6}"
    ]
    for rung in rungs:
        tokens = "" if rung.on_tokens is None else f" ({rung.on_tokens:,.0f} tokens)"
        on = "never" if rung.on_step is None else f"step {rung.on_step}{tokens}"
        quality = "-" if rung.signal_quality is None else f"{rung.signal_quality:.3f}"
        p = "-" if rung.p is None else _p_text(rung.p)
        lines.append(
            f"{rung.series:<24} {rung.rung:<12} {rung.chance:>6.2f} {rung.first:>6.3f} {rung.last:>6.3f}  {on:<24} "
            f"{quality:>7} {p:>6}"
        )
    judged = ", ".join(dict.fromkeys(rung.signal_metric for rung in rungs))
    lines.append(f"first, last and turns on: accuracy; quality and p: {SIGNAL_SCORE} of {judged}")
    runs = dict.fromkeys(rung.series for rung in rungs)
    if len(runs) > 1:
        together = ", ".join(f"{name} {_p_text(p)}" for name, p in shown_by_runs(rungs).items())
        lines.append(f"p over all runs (smallest times {len(runs)}): {together or 'no rung turns on in any run'}")
    for series in runs:
        silent = [rung.rung for rung in rungs if rung.series == series and rung.on_step is None]
        if silent:
            lines.append(
                f"{series}: nothing shows in {', '.join(silent)} (never above chance and step 0 to the end of the run)"
            )
    return "\n".join(lines)


def _p_text(p: float) -> str:
    return f"{p:.3f}" if p >= LEAST_PRINTED_P else f"<{LEAST_PRINTED_P}"


def _rung(series: str, rung: str, chance: float, metric: str, by_metric: Mapping[str, Any]) -> Rung:
    rows = by_metric[metric]
    values_K, stderr_K = (rows[column].to_numpy(dtype=np.float64) for column in ("value", "stderr"))
    steps_K, tokens_K = rows["step"].to_numpy(dtype=np.int64), rows["tokens"].to_numpy(dtype=np.float64)
    judged = SIGNAL_METRIC if SIGNAL_METRIC in by_metric else metric
    found = plugin_manager().find("e2lm_register_signal_scores", SignalScore, SIGNAL_SCORE, "signal score")
    curve = _curve(series, rung, judged, by_metric[judged], chance if judged == metric else None)
    signal = found.score(curve, np.random.default_rng(0))
    on = turned_on(values_K, stderr_K, _to_beat(steps_K, values_K, stderr_K, chance))
    tokens = None if on is None or np.isnan(tokens_K[on]) else float(tokens_K[on])
    return Rung(
        series, rung, chance, float(values_K[0]), float(values_K[-1]), None if on is None else int(steps_K[on]), tokens,
        judged, signal.value, signal.p,
        None if on is not None else "never above chance and step 0 to the end of the run",
    )  # fmt: skip


def _curve(series: str, rung: str, metric: str, rows: Any, chance: float | None) -> Curve:
    values_K, stderr_K, tokens_K = (rows[column].to_numpy(dtype=np.float64) for column in ("value", "stderr", "tokens"))
    return Curve(
        series, f"{LADDER.name}_{rung}", metric, rows["step"].to_numpy(dtype=np.int64), tokens_K, values_K, stderr_K,
        rows["n"].fillna(0).to_numpy(dtype=np.int64), chance=chance,
    )  # fmt: skip


def _to_beat(
    steps_K: NDArray[np.int64], values_K: NDArray[np.float64], stderr_K: NDArray[np.float64], chance: float
) -> float:
    """Chance, or what the untrained model gets where that is more: frequent words are shorter, which pays at once."""
    if steps_K[0] != 0:
        return chance
    return max(chance, float(values_K[0] + normal_quantile(CONFIDENCE) * np.nan_to_num(stderr_K[0])))


def turned_on(values_K: NDArray[np.float64], stderr_K: NDArray[np.float64], to_beat: float) -> int | None:
    """The first checkpoint from which on the 95 % interval stays above ``to_beat``; None where there is none.

    >>> turned_on(np.array([0.26, 0.24, 0.5, 0.6]), np.full(4, 0.05), 0.25)
    2
    """
    above_K = values_K - normal_quantile(CONFIDENCE) * np.nan_to_num(stderr_K, nan=np.inf) > to_beat
    below = np.flatnonzero(~above_K)
    start = int(below[-1]) + 1 if len(below) else 0
    return start if start < len(values_K) else None
