"""Looks at a comparison that adds seeds until it is decided: when, and which part of the 5 % each look has.

The parts add up to one, so whatever it is that makes a comparison stop, at most 5 of 100 claim anything where nothing
differs (Bonferroni over looks, whose tests may depend on each other in any way; as much is spent as seeds are, Lan and
DeMets 1983, Biometrika 70, 659: with so few of them early looks need all that they can get).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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

#: What was found at the last look.
JSON_FILE = "comparison.json"

#: Seeds of a look over those of the look before it, about: more looks would leave each too little.
GROWTH = 1.5


class PlannedLook(Noun):
    """After how many ``seeds`` of every arm, and which ``share`` of the 5 % is judged by then."""

    seeds: int
    share: float


class Looks(Noun):
    """All looks that are planned, and the ``smallest`` difference of each measure that would matter."""

    looks: tuple[PlannedLook, ...]
    smallest: dict[str, float]

    def number_of(self, seed: int) -> int:
        """The first look, from 1 on, that a seed, from 0 on, is a part of."""
        return 1 + sum(look.seeds <= seed for look in self.looks)


def planned_looks(seeds: int, most_seeds: int) -> tuple[PlannedLook, ...]:
    """Looks after ``seeds``, after about half as many again, and so on up to ``most_seeds``.

    >>> [(look.seeds, look.share) for look in planned_looks(5, 20)]
    [(5, 0.25), (8, 0.15), (13, 0.25), (20, 0.35)]
    """
    steps = max(1, round(math.log(most_seeds / seeds) / math.log(GROWTH)))
    counts = sorted({round(seeds * (most_seeds / seeds) ** (step / steps)) for step in range(steps + 1)})
    return tuple(PlannedLook(seeds=own, share=(own - before) / most_seeds) for before, own in pairwise([0, *counts]))


def keep_to_looks(folder: Path, planned: Looks | None) -> None:
    """Write ``planned`` down in ``folder`` before anything is known; None where the comparison is looked at once.

    A :class:`UserError` where the comparison in it was begun otherwise: its error rate is that of the plan made first.
    """
    file = folder / LOOKS_FILE
    if not file.is_file():
        if planned is None:
            return
        if (folder / JSON_FILE).is_file():
            raise UserError(
                f"{folder}: this comparison was looked at already; that seeds are added until it is decided "
                "('most_seeds') has to be planned before the first look: leave it out, or give another 'out'"
            )
        write_json(file, planned.model_dump(mode="json"))
    elif Looks.from_json_file(file) != planned:
        raise UserError(
            f"{file}: this comparison was begun with other looks than 'seeds', 'most_seeds' and 'smallest' make now; "
            "its error rate is that of the plan made first: keep to it, or give another 'out'"
        )


def looks_of(folders: Sequence[Path]) -> Looks | None:
    """The looks that the comparison planned which ``folders``, or the runs in them, belong to."""
    files = dict.fromkeys(place / LOOKS_FILE for folder in folders for place in (folder, folder.resolve().parent))
    found = {file: Looks.from_json_file(file) for file in files if file.is_file()}
    if len(set(map(str, found.values()))) > 1:
        raise UserError(f"{', '.join(map(str, found))}: comparisons with other looks; compare the runs of one of them")
    return next(iter(found.values()), None)


def runs_of_look(
    runs: Sequence[FinishedRun], looks: Sequence[PlannedLook], seeds: int | None = None
) -> tuple[list[FinishedRun], int]:
    """The runs of the look with ``seeds``, else of the last of ``looks`` that is reached, and its number from 1 on.

    Seeds beyond it are no part of it: to look whenever one is finished would be as many looks more.
    """
    common = sorted(set.intersection(*(set(seeds) for seeds in shared_seeds(runs).values())))
    most = len(common) if seeds is None else min(seeds, len(common))
    reached = [look for look in looks if look.seeds <= most]
    if not reached:
        raise UserError(
            f"{runs[0].folder.parent}: {len(common)} seeds are finished in every arm; the first look at this "
            f"comparison is planned after {looks[0].seeds}, go on with the command that trains it"
        )
    kept = common[: reached[-1].seeds]
    return [run for run in runs if run.seed in kept], len(reached)


@dataclass(frozen=True, slots=True)
class Looked:
    """What the ``number``-th of all ``looks`` came to.

    ``undecided`` are the learning rates at which it is open whether the curriculum differs from vanilla; ``within`` the
    measures, with learning rate, on which any difference is smaller than the smallest that would matter.
    """

    looks: tuple[PlannedLook, ...]
    number: int
    undecided: tuple[str, ...]
    within: tuple[tuple[str, str, float], ...]

    @property
    def seeds(self) -> int:
        """Of this look."""
        return self.looks[self.number - 1].seeds

    @classmethod
    def at(cls, number: int, looks: Looks, analysis: Analysis) -> Looked:
        """The ``number``-th look, from 1 on."""
        within = [
            (one.measure, one.schedule, looks.smallest[one.measure])
            for schedule in analysis.schedules
            for one in analysis.of_arm(CURRICULUM, schedule)
            if is_within(one, looks.smallest)
        ]
        return cls(looks.looks, number, tuple(undecided(analysis, looks.smallest)), tuple(within))


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
