"""Looks at a comparison that adds seeds until it is decided: when, and which part of the 5 % each look has.

The parts add up to one, so whatever it is that makes a comparison stop, at most 5 of 100 claim anything where nothing
differs (Bonferroni over looks, whose tests may depend on each other in any way; as much is spent as seeds are, Lan and
DeMets 1983, Biometrika 70, 659: with so few of them early looks need all that they can get).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from e2lm.atomic_file import write_json
from e2lm.errors import UserError
from e2lm.interval import student_quantile
from e2lm.noun import Noun
from e2lm_curriculum.compare.analysis import Analysis, ArmEffect
from e2lm_curriculum.compare.measures import shared_seeds
from e2lm_curriculum.compare.runs import FinishedRun
from e2lm_curriculum.compare.verdict import NO_DIFFERENCE
from e2lm_curriculum.plan.arms import CURRICULUM

#: In the folder of a comparison, written before its first run.
LOOKS_FILE = "looks.json"

#: Seeds of a look over those of the look before it, about: more looks would leave each too little.
GROWTH = 1.5


class Look(Noun):
    """After how many ``seeds`` of every arm, and which ``share`` of the 5 % is judged by then."""

    seeds: int
    share: float


class Looks(Noun):
    """All looks that are planned, and the ``smallest`` difference of each measure that would matter."""

    looks: tuple[Look, ...]
    smallest: dict[str, float]


def planned_looks(seeds: int, most_seeds: int) -> tuple[Look, ...]:
    """Looks after ``seeds``, after about half as many again, and so on up to ``most_seeds``.

    >>> [(look.seeds, look.share) for look in planned_looks(5, 20)]
    [(5, 0.25), (8, 0.15), (13, 0.25), (20, 0.35)]
    """
    steps = max(1, round(math.log(most_seeds / seeds) / math.log(GROWTH)))
    counts = sorted({round(seeds * (most_seeds / seeds) ** (step / steps)) for step in range(steps + 1)})
    return tuple(Look(seeds=own, share=round((own - before) / most_seeds, 9)) for before, own in pairwise([0, *counts]))


def begun_looks(folder: Path, planned: Looks) -> Looks:
    """``planned``, written down in ``folder`` before anything is known.

    A :class:`UserError` where the comparison in it was begun with other looks: its error rate is that of its plan.
    """
    file = folder / LOOKS_FILE
    if not file.is_file():
        write_json(file, planned.model_dump(mode="json"))
        return planned
    begun = Looks.from_json_file(file)
    if begun != planned:
        ours, theirs = (", ".join(str(look.seeds) for look in one.looks) for one in (planned, begun))
        raise UserError(
            f"{file}: begun with looks after {theirs} seeds and smallest {begun.smallest}, now after {ours} and "
            f"{planned.smallest}; the error rate holds for the plan made first: keep it, or give another 'out'"
        )
    return begun


def looks_of(folders: Sequence[Path]) -> Looks | None:
    """The looks that the comparison planned which ``folders``, or the runs in them, belong to."""
    files = dict.fromkeys(place / LOOKS_FILE for folder in folders for place in (folder, folder.resolve().parent))
    found = [Looks.from_json_file(file) for file in files if file.is_file()]
    return found[0] if found else None


def runs_of_look(runs: Sequence[FinishedRun], looks: Sequence[Look]) -> tuple[list[FinishedRun], int]:
    """The runs of the last of ``looks`` that is reached, and its place: seeds beyond it are no part of any look."""
    common = sorted(set.intersection(*(set(seeds) for seeds in shared_seeds(runs).values())))
    reached = [place for place, look in enumerate(looks) if look.seeds <= len(common)]
    if not reached:
        raise UserError(
            f"{runs[0].folder.parent}: {len(common)} seeds are finished in every arm; the first look at this "
            f"comparison is planned after {looks[0].seeds}, go on with the command that trains it"
        )
    kept = common[: looks[reached[-1]].seeds]
    return [run for run in runs if run.seed in kept], reached[-1]


def undecided(analysis: Analysis, smallest: Mapping[str, float]) -> list[str]:
    """The learning rates at which it is open whether the curriculum differs from vanilla.

    It is decided where some measure shows a difference, or where none that matters is left on any measure.
    """
    return [
        schedule
        for schedule in analysis.schedules
        if not any(one.final.word != NO_DIFFERENCE for one in analysis.of_arm(CURRICULUM, schedule))
        and not all(is_within(one, smallest) for one in analysis.of_arm(CURRICULUM, schedule))
    ]


def is_within(effect: ArmEffect, smallest: Mapping[str, float]) -> bool:
    """Whether any difference at the end is smaller than the ``smallest`` that would matter on this measure.

    Two one-sided t tests (Schuirmann 1987) at the level that the verdict has at Holm's first step, so that at most 3 of
    100 comparisons say so of any measure where it is not.
    """
    if effect.measure not in smallest:
        return False
    found = effect.final.difference
    reach = float(student_quantile(found.df, 1.0 - 2.0 * effect.final.level)) * found.stderr
    return abs(found.value) + reach < smallest[effect.measure]
