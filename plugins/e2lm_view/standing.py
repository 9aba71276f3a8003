"""Which run leads on which task, and whether by more than the items leave open: the sentence that is read first.

Runs are compared at the last checkpoint that they share; the intervals of all comparisons hold together (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from e2lm.interval import CONFIDENCE, normal_quantile
from e2lm_view.messages import say

#: Tasks that a sentence names.
NAMED = 4


@dataclass(frozen=True, slots=True)
class RunScore:
    """What a run has on a task at the checkpoint at which the runs are compared."""

    run: str
    value: float
    stderr: float
    at: float


@dataclass(frozen=True, slots=True)
class Standing:
    """The runs on one task, the best first; ``half`` is what the lead has to be larger than, NaN where unknown."""

    task: str
    metric: str
    scores: tuple[RunScore, ...]
    chance: float
    higher: bool
    axis: str
    is_shared: bool
    half_width_z: float
    comparisons: int

    @property
    def lead(self) -> float:
        """By how much the first is better than the second, or than chance where it is alone."""
        other = self.scores[1].value if len(self.scores) > 1 else self.chance
        return (self.scores[0].value - other) * (1.0 if self.higher else -1.0)

    @property
    def half(self) -> float:
        """Half of the interval of that difference, as if the runs answered other items each: never too narrow."""
        return self.half_width_z * math.hypot(*(one.stderr for one in self.scores[:2]))

    @property
    def is_beyond(self) -> bool:
        """Whether the first is better than every other run by more than the interval of the difference."""
        if len(self.scores) == 1:
            return self.lead > self.half
        first, sign = self.scores[0], 1.0 if self.higher else -1.0
        return all(
            (first.value - one.value) * sign > self.half_width_z * math.hypot(first.stderr, one.stderr)
            for one in self.scores[1:]
        )

    @property
    def clearness(self) -> float:
        """The lead in lengths of what it has to be larger than; 0 where that is unknown."""
        return self.lead / self.half if self.half > 0 and math.isfinite(self.lead) else 0.0

    def as_json(self) -> dict[str, Any]:
        """Plain values, None where a number is unknown."""
        half = normal_quantile()
        return {
            "task": self.task,
            "metric": self.metric,
            "chance": _known(self.chance),
            "lead": _known(self.lead),
            "half": _known(self.half),
            "beyond": self.is_beyond,
            "shared": self.is_shared,
            "axis": self.axis,
            "higher": self.higher,
            "runs": {
                one.run: {"value": _known(one.value), "half": _known(half * one.stderr), "at": one.at}
                for one in self.scores
            },
        }


def standings(frame: pd.DataFrame, judged_by: Mapping[str, tuple[str, bool]]) -> list[Standing]:
    """One for each task; ``judged_by`` says by which metric, and whether more of it is better."""
    groups = dict(tuple(frame.groupby(["task", "metric"], sort=False)))
    own = {task: groups[task, metric] for task, (metric, _) in judged_by.items()}
    others = sum(max(rows["series"].nunique() - 1, 1) for rows in own.values())
    half_width_z = normal_quantile(1.0 - (1.0 - CONFIDENCE) / max(others, 1))
    return [
        _standing(task, metric, higher, own[task], half_width_z, others) for task, (metric, higher) in judged_by.items()
    ]


def _standing(
    task: str, metric: str, higher: bool, rows: pd.DataFrame, half_width_z: float, comparisons: int
) -> Standing:
    axis = "tokens" if rows["tokens"].notna().all() else "step"
    places = [set(own[axis]) for _, own in rows.groupby("series")]
    shared = set.intersection(*places)
    scores = []
    for run, own in rows.groupby("series"):
        chosen = own[own[axis] == max(shared)] if shared else own
        row = chosen.sort_values(["step"]).iloc[-1]
        error = known_error(float(row["value"]), float(row["stderr"]), int(row["n"]))
        scores.append(RunScore(str(run), float(row["value"]), error, float(row[axis])))
    scores.sort(key=lambda one: (-one.value if higher else one.value, one.run))
    chance = float(rows["chance"].dropna().median()) if "chance" in rows and rows["chance"].notna().any() else math.nan
    return Standing(task, metric, tuple(scores), chance, higher, axis, bool(shared), half_width_z, comparisons)


def known_error(value: float, stderr: float, n: int) -> float:
    """``stderr``, where it is no certainty of 0: of a share of ``n`` items that of one more right and one more wrong.

    >>> known_error(0.5, 0.1, 25), round(known_error(1.0, 0.0, 8), 6), known_error(2.5, 0.0, 8)
    (0.1, 0.106066, nan)
    """
    if stderr != 0:
        return stderr
    if not (n > 0 and 0 <= value <= 1):
        return math.nan
    share = (value * n + 1) / (n + 2)
    return math.sqrt(share * (1 - share) / n)


def answer(all_tasks: Sequence[Standing]) -> str:
    """One sentence: who leads where, beyond the interval or not."""
    compared = [one for one in all_tasks if len(one.scores) > 1]
    if not compared:
        return _alone(all_tasks)
    won: dict[str, list[str]] = {}
    for one in compared:
        if one.is_beyond:
            won.setdefault(one.scores[0].run, []).append(one.task)
    if not won:
        return _nobody(compared)
    order = sorted(won, key=lambda run: (-len(won[run]), run))
    parts = [say("lead", run=order[0], count=len(won[order[0]]), tasks=len(compared), names=_named(won[order[0]]))]
    parts += [say("lead_more", run=run, count=len(won[run]), names=_named(won[run])) for run in order[1:]]
    rest = len(compared) - sum(map(len, won.values()))
    parts += [say("lead_rest", count=rest)] if rest else []
    return say("sentence", text=say("then").join(parts))


def _nobody(compared: Sequence[Standing]) -> str:
    known = [one for one in compared if math.isfinite(one.half) and one.half > 0]
    near = max(known or compared, key=lambda one: one.lead / one.half if known else one.lead)
    told = {"difference": f"{near.lead:.3g}", "half": f"{near.half:.3g}" if known else "?"}
    nobody = say("lead_none", tasks=len(compared), run=near.scores[0].run, task=near.task, **told)
    return say("sentence", text=nobody)


def _alone(all_tasks: Sequence[Standing]) -> str:
    """A run without another: whether it is better than guessing."""
    run, far = all_tasks[0].scores[0].run, max(all_tasks, key=lambda one: one.scores[0].at)
    at = say("after_tokens" if far.axis == "tokens" else "after_steps", count=far.scores[0].at)
    known = [one for one in all_tasks if math.isfinite(one.chance)]
    if not known:
        return say("sentence", text=say("alone_no_chance", run=run, tasks=len(all_tasks), at=at))
    above = [one.task for one in known if one.is_beyond]
    names = say("named", names=_named(above)) if above else ""
    return say("sentence", text=say("alone", run=run, count=len(above), tasks=len(known), names=names, at=at))


def note(all_tasks: Sequence[Standing]) -> str:
    """How the sentence was made, for whoever doubts it."""
    compared = [one for one in all_tasks if len(one.scores) > 1]
    if not compared:
        return say("chance_note", comparisons=len(all_tasks))
    apart = [one.task for one in compared if not one.is_shared]
    axis = say("tokens" if all(one.axis == "tokens" for one in compared) else "steps")
    at = say("at_own_last", count=len(apart), names=_named(apart)) if apart else say("at_last_shared", axis=axis)
    return say("compared_at", at=at, comparisons=compared[0].comparisons)


def _named(names: Sequence[str]) -> list[str]:
    return [*names[:NAMED], *(["…"] if len(names) > NAMED else [])]


def _known(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None
