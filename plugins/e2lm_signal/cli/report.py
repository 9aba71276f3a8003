"""``e2lm signal PATH``, the report: every score of every curve, and the means over the series."""

from __future__ import annotations

import math
import warnings
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import cast

import numpy as np

from e2lm import Curve, ScoreValue, SignalScore, UserError
from e2lm.answer import Answer
from e2lm.plugin_call import PluginFaultError, asked, is_ours
from e2lm.plugin_manager import PluginManager, plugin_manager
from e2lm.progress import progress_bar
from e2lm_signal.benchmark_rise import NAME as RISES
from e2lm_signal.benchmark_rise import least_p_after_correction
from e2lm_signal.cli.input import ScoreInput, read_input
from e2lm_signal.cli.report_rows import MeanRow, ReportRow, SignalReport
from e2lm_signal.cli.report_text import BRIEF_OF_CURVE, BRIEF_OF_FAMILY, as_text
from e2lm_signal.official_score import OFFICIAL_NAMES, TIE_RULE, official_scores
from e2lm_signal.reconstructed_score import (
    SEE_LATER,
    WINDOW_START_TOKENS,
    Agreement,
    RankingConsistency,
    Reference,
    is_reconstructed,
    reconstructed_scores,
)
from e2lm_signal.smoothed_scores import parsed_variant, variant


def signal_report(
    groups: Iterable[Sequence[Curve]],
    scores: Sequence[SignalScore],
    seed: int = 0,
    total: int = 0,
    quiet: bool = True,
    unselected: Mapping[tuple[str, str], Sequence[Curve]] | None = None,
) -> SignalReport:
    """Every score of every curve, and of every family of curves (one task x metric, all series).

    Each score of each task x metric draws from its own stream, the same for all series: what is scored beside it, and
    what the series are called, changes nothing. Scores that look beyond a selection of checkpoints see ``unselected``
    curves of that task and metric, where there are any.
    """
    of_curve = [score for score in scores if score.scope == "curve"]
    of_family = [score for score in scores if score.scope == "family"]
    rows: list[ReportRow] = []
    means: list[MeanRow] = []
    with progress_bar(total, "curves", "signal", quiet=quiet) as bar:
        for curves in groups:
            family_rows = []
            for curve in curves:
                values = {score.name: _value(score, curve, _stream(seed, curve, score)) for score in of_curve}
                family_rows.append(
                    ReportRow(curve.series, curve.task, curve.metric, len(curve.values_K), values, curve.key)
                )
                bar.update()
            rows += family_rows
            whole = (unselected or {}).get((curves[0].task, curves[0].metric), curves)
            means.append(_mean_row(curves, whole, family_rows, of_curve, of_family, seed))
    return SignalReport(rows, means)


def _mean_row(
    curves: Sequence[Curve],
    whole: Sequence[Curve],
    rows: Sequence[ReportRow],
    of_curve: Sequence[SignalScore],
    of_family: Sequence[SignalScore],
    seed: int,
) -> MeanRow:
    scores = {score.name: _mean([row.scores[score.name] for row in rows]) for score in of_curve}
    # In order of their content, not of their names: what series are called must not matter where they are redrawn.
    for score in of_family:
        seen = whole if score.name.partition(".")[0] in SEE_LATER else curves
        ordered = sorted(seen, key=lambda curve: (curve.params, curve.values_K.tolist()))
        scores[score.name] = _value(score, ordered, _stream(seed, curves[0], score))
    return MeanRow(curves[0].task, curves[0].metric, tuple(curve.series for curve in curves), scores)


def _stream(seed: int, curve: Curve, score: SignalScore) -> np.random.Generator:
    return np.random.default_rng(_seeds(seed, "\x00".join((curve.task, curve.metric, score.name))))


@lru_cache(maxsize=256)
def _seeds(seed: int, name: str) -> np.random.SeedSequence:
    """Of a stream: all series of a task and metric have the same."""
    return np.random.SeedSequence([seed, *name.encode()])


def _value(score: SignalScore, curves: Curve | Sequence[Curve], rng: np.random.Generator) -> ScoreValue:
    """What ``score`` says; one that raises costs itself only and is named, for the others were asked for too."""
    try:
        return asked(_checked_value, score, curves, rng)
    except PluginFaultError as error:
        if isinstance(error.__cause__, UserError) and is_ours(score.score):
            raise error.__cause__ from None
        said = f"signal score {score.name!r}: {error}"
        warnings.warn(said, stacklevel=2)
        return ScoreValue(None, reason=said)


def _checked_value(score: SignalScore, curves: Curve | Sequence[Curve], rng: np.random.Generator) -> ScoreValue:
    return checked(score, score.score(curves, rng))


def checked(score: SignalScore, value: ScoreValue) -> ScoreValue:
    """``value`` with numbers that are not finite turned into None, with a reason."""
    finite = {name: _finite(getattr(value, name)) for name in ("value", "low", "high", "p")}
    reason = value.reason
    if finite["value"] is None and reason is None:
        reason = f"{score.name} is undefined here"
    return ScoreValue(**finite, reason=reason, details=value.details)


def _finite(number: float | None) -> float | None:
    return None if number is None or not math.isfinite(number) else float(number)


def _mean(values: Sequence[ScoreValue]) -> ScoreValue:
    """The mean of the defined values; ``reason`` says how many were not."""
    defined = [value.value for value in values if value.value is not None]
    if not defined:
        return ScoreValue(None, reason="undefined for every series")
    left_out = len(values) - len(defined)
    said = [f"{left_out} of {len(values)} series are undefined and left out"] if left_out else []
    said.append(f"no interval: a mean over {len(defined)} series that share their items; see each")
    return ScoreValue(float(np.mean(defined)), reason="; ".join(said))


HOOK = "e2lm_register_signal_scores"
#: At which a benchmark is said to rise.
LEVEL = 0.05


def run_signal(arguments: Namespace) -> Answer:
    """Every score of every curve, and means over the series."""
    manager = plugin_manager()
    special = [
        *reconstructed_scores(parsed_rc(arguments.rc), arguments.control),
        *official_scores(selects=not arguments.all_checkpoints),
    ]
    scores = wanted_scores(manager, arguments.scores, {one.name: one for one in special})
    source = read_input(arguments, manager)
    brief = arguments.scores is None and not arguments.full
    if brief and not arguments.json:  # what is not shown need not be worked out
        scores = [score for score in scores if score.name in (*BRIEF_OF_CURVE, *BRIEF_OF_FAMILY)] or scores
    unselected = source.unselected_curves()
    report = signal_report(source.groups(), scores, arguments.seed, source.curve_count, False, unselected)
    notes = [*source.notes, *_notes(scores, source.curve_count, brief and not arguments.json)]
    notes += _notes_on_benchmarks(report.means)
    pairs = source.scores.frame[["task", "metric"]].drop_duplicates().itertuples(index=False)
    turned = sorted({metric for task, metric in pairs if not source.directions.is_higher_better(task, metric)})
    if turned:
        notes.append(f"lower is better, so turned over before scoring: {', '.join(turned)}")
    return Answer(
        report.as_json(),
        lambda: as_text(report, scores, brief, arguments.full),
        tuple(notes),
        rows="rows",
        pictures=partial(_pictures, source),
    )


def _pictures(source: ScoreInput) -> list[str]:
    from e2lm_signal.cli.plot import curve_pictures

    return curve_pictures(source)


def _notes(scores: Sequence[SignalScore], curves: int, brief: bool) -> list[str]:
    """How to read the scores that are shown; those in brief do not hold what is reconstructed."""
    notes = []
    if any(score.name.partition(".")[0] in OFFICIAL_NAMES for score in scores):
        notes.append(f"official scores: {TIE_RULE}; the official formula has no interval and no p-value")
    guessed = [] if brief else [score.name for score in scores if is_reconstructed(score)]
    if guessed:
        notes.append(f"{', '.join(guessed)}: reconstructed, not the competition's own formula; not to be quoted as its")
    if any(score.name.startswith("signal_quality") for score in scores):
        notes.append("intervals are central 90 % intervals over redrawn items and checkpoints that shake")
        notes.append(NULL_OF_A_CURVE)
        if curves > 1:
            notes.append(f"{curves} curves were tested: by chance alone about {0.05 * curves:.3g} reach p < .05")
    return notes


NULL_OF_A_CURVE = (
    "p of one curve, one-sided: how often a skill that drifts without direction, measured on finitely many items, "
    "rises as clearly"
)


def _notes_on_benchmarks(means: Sequence[MeanRow]) -> list[str]:
    """What the p-values over series mean, and what is left of them where the best of many benchmarks is looked at."""
    tests = [mean.scores[RISES] for mean in means if RISES in mean.scores and mean.scores[RISES].p is not None]
    if not tests:
        return []
    notes = [
        "p of a benchmark, one-sided: how often as clear a gain comes if each series' gain is as likely down as up, "
        "one series not knowing of the other; it decides whether a benchmark rises"
    ]
    series = max(int(float(test.details["series"] or 0)) for test in tests)
    corrected = least_p_after_correction(series, len(tests))
    if len(tests) > 1:
        left = sum(float(test.p or 0.0) * len(tests) <= LEVEL for test in tests)
        notes.append(
            f"{len(tests)} benchmarks were tested: the least p of {series} series, 1/{2**series:,}, is {corrected:.3g} "
            f"after correction for the best of so many; {left} of them survive it at .05"
        )
    return notes


def wanted_scores(
    manager: PluginManager, names: Iterable[str] | None, special: Mapping[str, SignalScore] | None = None
) -> list[SignalScore]:
    """The registered scores called ``names`` (or variants of them), or all; an unknown name is a UserError.

    Those of ``special`` stand for the registered ones of their names.
    """
    own = special or {}
    if names is None:
        return [own.get(score.name, score) for score in manager.all(HOOK, SignalScore, "signal score")]
    found = []
    for name in names:
        parsed = parsed_variant(name)
        is_plain = parsed is None or name in manager.registered(HOOK, SignalScore)
        base = manager.find(HOOK, SignalScore, name if parsed is None or is_plain else parsed[0], "signal score")
        base = own.get(base.name, base)
        found.append(base if parsed is None or is_plain else variant(base, parsed[1], parsed[2]))
    return found


def parsed_rc(texts: Sequence[str]) -> RankingConsistency:
    """``["window=2e11", "reference=final"]`` as options of RC."""
    options: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or key not in ("window", "reference", "agreement"):
            raise UserError(f"--rc: {text!r} is not window=TOKENS, reference=mean|last|final|STEP or agreement=...")
        options[key] = value
    reference, agreement = options.get("reference", "mean"), options.get("agreement", "pairs")
    if agreement not in ("exact", "tau-b", "pairs"):
        raise UserError(f"--rc: agreement={agreement!r}; allowed are exact, tau-b, pairs")
    if reference not in ("mean", "last", "final") and not reference.isdigit():
        raise UserError(f"--rc: reference={reference!r}; allowed are mean, last, final or a step")
    try:
        window = float(options.get("window", WINDOW_START_TOKENS))
    except ValueError as error:
        raise UserError(f"--rc: window={options['window']!r} is not a number of tokens") from error
    step = int(reference) if reference.isdigit() else None
    return RankingConsistency(
        window, "mean" if step is not None else cast(Reference, reference), cast(Agreement, agreement), step
    )
