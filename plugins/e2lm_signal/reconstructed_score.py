"""Ranking consistency and science signal of the E2LM competition, reconstructed: read what is known before quoting
them.

``e2lmc_rc``. Known: the paper's abstract speaks of "the consistency of model rankings at 1 trillion tokens"; its figure
shows RC = .2979 for MMLU and 1.0000 for HellaSwag with two models and 47 checkpoints after 200 billion tokens, of which
about 14 have the reference order: 14/47 = .2979. So RC is the share of later checkpoints at which a pair of models has
a reference order, averaged over pairs. Not known: the reference (the mean before 200 B and the final order both fit the
figure; the last checkpoint before 200 B does not) and the pairs. Both are options here.

``e2lmc_cs``. Known: a model trained on science data must beat one trained on web data; MMLU-var has .327 against .296
at 200 B tokens, and the published total .717 implies a CS of .34 to .38. Not known: the formula. Here it is the
advantage of science over control as a share of science's lead over chance, ``max(0, (s - c) / (s - chance))``: .40 for
that pair.

``e2lmc_global = 0.5 SQ + 0.1 RC + 0.4 CS``, with SQ the mean of the official score over series; that formula is
official.

In a competition (:class:`e2lm.SeriesRoles`) SQ and CS look at the checkpoints up to ``early_tokens``, RC at those after
it, and the series to be beaten are seen by CS only.

Shape suffixes: M series, K checkpoints, P pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from e2lm import Curve, ScoreValue, SeriesRoles, SignalScore
from e2lm.arrays import Values
from e2lm_signal.curves import CommonGrid, common_grid
from e2lm_signal.fine_tasks import pair_signs_KP, tau_b_K
from e2lm_signal.official_score import official_checkpoints, score_early, score_sq

Reference = Literal["mean", "last", "final"]
Agreement = Literal["exact", "tau-b", "pairs"]

SOURCE = "reconstructed from the E2LM competition's abstract and figure; not the official formula"
GLOBAL_WEIGHTS = {"sq": 0.5, "rc": 0.1, "cs": 0.4}
NO_CONTROL = "no control series: nobody named the ones trained on web data (--control PATTERN, a season's 'control')"
#: Rankings are compared after this many tokens.
WINDOW_START_TOKENS = 200e9


@dataclass(frozen=True, slots=True)
class RankingConsistency:
    """What RC compares. ``reference``: the order of the means before the window, at the last checkpoint before it, at
    the final checkpoint, or at the checkpoint of ``reference_step``. ``agreement``: share of checkpoints with exactly
    the reference order of all series; mean tau-b mapped from [-1, 1] to [0, 1]; or share of agreeing pairs. Ties count
    one half.
    """

    window_start_tokens: float = WINDOW_START_TOKENS
    reference: Reference = "mean"
    agreement: Agreement = "pairs"
    reference_step: int | None = None


def ranking_consistency(grid: CommonGrid, how: RankingConsistency) -> ScoreValue:
    """RC over the checkpoints after ``how.window_start_tokens``; undefined where there are none, or none before."""
    late_K = grid.position_K > how.window_start_tokens
    if not grid.has_tokens or not late_K.any():
        return ScoreValue(None, reason=f"no checkpoint after {how.window_start_tokens:g} tokens")
    reference_M = _reference_M(grid, how, late_K)
    if isinstance(reference_M, str):
        return ScoreValue(None, reason=reference_M)
    signs_KP = pair_signs_KP(grid.values_MK[:, late_K])
    reference_P = pair_signs_KP(reference_M[:, None])[0]
    agreement_KP = (1.0 + signs_KP * reference_P) / 2.0
    if how.agreement == "pairs":
        value = float(agreement_KP.mean())
    elif how.agreement == "exact":
        exact_K = np.where((agreement_KP == 1.0).all(axis=1), 1.0, np.where((agreement_KP > 0).all(axis=1), 0.5, 0.0))
        value = float(exact_K.mean())
    else:
        value = float(np.nan_to_num(tau_b_K(signs_KP, reference_P) / 2.0 + 0.5, nan=0.5).mean())
    late, pairs = int(late_K.sum()), len(reference_P)
    after = f"{late} checkpoint{'s' * (late > 1)} after {how.window_start_tokens:g} tokens"
    return ScoreValue(value, reason=f"reconstructed, from {after} and {pairs} pair{'s' * (pairs > 1)} of series")


def _reference_M(grid: CommonGrid, how: RankingConsistency, late_K: NDArray[np.bool_]) -> Values | str:
    if how.reference_step is not None:
        at = np.flatnonzero(grid.steps_K == how.reference_step)
        return grid.values_MK[:, at[0]] if len(at) else f"no common checkpoint at step {how.reference_step}"
    if how.reference == "final":
        return np.asarray(grid.values_MK[:, -1])
    if late_K.all():
        return f"no checkpoint before {how.window_start_tokens:g} tokens to take the reference order from"
    before_MK = grid.values_MK[:, ~late_K]
    return np.asarray(before_MK[:, -1] if how.reference == "last" else before_MK.mean(axis=1))


def rc_score(how: RankingConsistency, roles: SeriesRoles | None = None) -> SignalScore:
    """``e2lmc_rc`` with the given options, over the series that are not to be beaten."""
    known = roles or SeriesRoles()
    if known.early_tokens is not None:
        how = replace(how, window_start_tokens=known.early_tokens)

    def score(curves: Sequence[Curve], rng: np.random.Generator) -> ScoreValue:
        grid = common_grid(_science(curves, known))
        return ScoreValue(None, reason=grid) if isinstance(grid, str) else ranking_consistency(grid, how)

    return SignalScore(
        "e2lmc_rc",
        "Reconstructed: share of later checkpoints with the reference ranking.",
        score,
        "family",
        SOURCE,
        under=lambda roles: rc_score(how, roles),
    )


def _science(curves: Sequence[Curve], roles: SeriesRoles) -> list[Curve]:
    return [curve for curve in curves if not roles.is_control(curve.series)]


def science_signal(curves: Sequence[Curve], roles: SeriesRoles) -> ScoreValue:
    """CS of the science series against the control ones, at the last early checkpoint of each."""
    if not roles.control:
        return ScoreValue(None, reason=NO_CONTROL)
    science = _science(curves, roles)
    controls = [curve for curve in curves if roles.is_control(curve.series)]
    if not controls or not science:
        named = ", ".join(roles.control)
        return ScoreValue(None, reason=f"control {named}: {len(controls)} control and {len(science)} science series")
    sign = 1.0 if curves[0].higher_is_better else -1.0
    s, c = (sign * _last_early_mean(group, roles) for group in (science, controls))
    chance = curves[0].chance
    lead = s - (sign * chance if chance is not None else 0.0)
    if not np.isfinite([s, c]).all() or lead <= 0:
        return ScoreValue(0.0, reason="reconstructed; science is not above chance at the last checkpoint")
    known = "" if chance is not None else "; chance unknown, taken as 0: give --chance TASK=LEVEL"
    return ScoreValue(float(np.clip((s - c) / lead, 0.0, 1.0)), reason=f"reconstructed{known}")


def _last_early_mean(curves: Sequence[Curve], roles: SeriesRoles) -> float:
    early = [
        (official_checkpoints(curve)[0] if roles.early_tokens is None else curve.until(roles.early_tokens)).values_K
        for curve in curves
    ]
    return float(np.mean([values_K[-1] if len(values_K) else np.nan for values_K in early]))


def _roles(control: str | SeriesRoles | None) -> SeriesRoles:
    if isinstance(control, SeriesRoles):
        return control
    return SeriesRoles(() if control is None else (control,))


def cs_score(control: str | SeriesRoles | None) -> SignalScore:
    """``e2lmc_cs`` against the series that match the pattern ``control``."""
    return SignalScore(
        "e2lmc_cs",
        "Reconstructed: lead of science-trained over control series, as a share of the lead over chance.",
        lambda curves, rng: science_signal(curves, _roles(control)),
        "family",
        SOURCE,
        under=cs_score,
    )


def global_score(how: RankingConsistency, control: str | SeriesRoles | None) -> SignalScore:
    """``e2lmc_global`` from its three parts; undefined where one is."""
    roles = _roles(control)
    rc = rc_score(how, roles)

    def score(curves: Sequence[Curve], rng: np.random.Generator) -> ScoreValue:
        ranking, science = rc.score(curves, rng), science_signal(curves, roles)
        parts = {"sq": _mean_sq(_science(curves, roles), roles, rng), "rc": ranking.value, "cs": science.value}
        missing = [name.upper() for name, value in parts.items() if value is None]
        if missing:
            return ScoreValue(None, reason=f"undefined: {', '.join(missing)}", details=parts)
        total = sum(weight * float(parts[name] or 0.0) for name, weight in GLOBAL_WEIGHTS.items())
        weighed = " + ".join(f"{weight:g} {name.upper()} {parts[name]:.3f}" for name, weight in GLOBAL_WEIGHTS.items())
        said = f"{weighed}; RC {ranking.reason}; CS {science.reason}"
        return ScoreValue(total, reason=said, details=parts)

    return SignalScore(
        "e2lmc_global",
        "0.5 SQ + 0.1 RC + 0.4 CS.",
        score,
        "family",
        SOURCE,
        under=lambda roles: global_score(how, roles),
    )


def _mean_sq(curves: Sequence[Curve], roles: SeriesRoles, rng: np.random.Generator) -> float | None:
    found = [score_early(score_sq, curve, roles, rng).value for curve in curves]
    known = [value for value in found if value is not None]
    return float(np.mean(known)) if known else None


def is_reconstructed(score: SignalScore) -> bool:
    """Whether the score is one of these, or a variant of one."""
    return score.source == SOURCE


#: They look at checkpoints after those that the official selection takes.
SEE_LATER = ("e2lmc_rc", "e2lmc_global")


def reconstructed_scores(how: RankingConsistency | None = None, control: str | None = None) -> list[SignalScore]:
    """RC, CS and the global score."""
    how = how or RankingConsistency()
    roles = _roles(control)
    # What the user of --rc and --control says of RC stands: control series are left out of the global score's RC only.
    return [rc_score(how), cs_score(roles), global_score(how, roles)]
