"""A plan on disk: the examples as an array that is read memory-mapped, all else beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2lm.curriculum import ObjectiveSpan, Plan
from e2lm.errors import UserError, one_line
from e2lm.noun import Noun
from e2lm_curriculum.plan.setting import CurriculumSetting

PLAN_FILE = "plan.npy"
SCHEDULE_FILE = "plan.json"
PLAN_RECORD_FILE = "planned.json"

_ARRAYS = {"sequence_lengths_S": np.int64, "mask_rates_S": np.float64, "vocabulary_shares_S": np.float64}


def read_array(file: Path) -> NDArray[Any]:
    """An array of a run, memory-mapped; a :class:`UserError` names one that is gone or damaged."""
    try:
        found: NDArray[Any] = np.load(file, mmap_mode="r")
    except (ValueError, EOFError, OSError) as error:
        raise UserError(f"{file}: gone or damaged ({one_line(error)}); train into another --out") from error
    return found


def write_plan(plan: Plan, folder: Path) -> None:
    """Write ``plan.npy`` and ``plan.json`` into ``folder``, which the caller makes whole."""
    np.save(folder / PLAN_FILE, plan.indices_SB)
    schedule: dict[str, Any] = {
        "objectives": [[span.start_step, span.end_step, span.objective] for span in plan.objectives],
        "vocabulary_map": plan.vocabulary_map,
    }
    for name in _ARRAYS:
        array_S = getattr(plan, name)
        schedule[name] = None if array_S is None else array_S.tolist()
    (folder / SCHEDULE_FILE).write_text(json.dumps(schedule), encoding="utf-8")


def read_object(file: Path) -> dict[str, Any]:
    """A JSON object of a run; a :class:`UserError` names one that is gone or damaged."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"{file}: gone or damaged ({one_line(error)}); train into another --out") from error
    return dict(found)


def read_plan(folder: Path) -> Plan:
    """The plan in ``folder``, its examples memory-mapped."""
    if not (folder / PLAN_FILE).is_file():
        raise UserError(f"{folder}: no {PLAN_FILE} in it; give the .prepared folder of a run")
    indices_SB = read_array(folder / PLAN_FILE)
    file = folder / SCHEDULE_FILE
    schedule = read_object(file) if file.is_file() else {}
    arrays: dict[str, Any] = {
        name: np.asarray(schedule[name], dtype=dtype)
        for name, dtype in _ARRAYS.items()
        if schedule.get(name) is not None
    }
    spans = tuple(ObjectiveSpan(*span) for span in schedule.get("objectives", ()))
    return Plan(indices_SB, objectives=spans, vocabulary_map=schedule.get("vocabulary_map", ""), **arrays)


class PlanRecord(Noun):
    """What a written plan was made of, so that whoever follows it can be told where it does not fit.

    ``hash`` is that of the ``known_steps``, all but online. ``tokens`` tells that the examples come along.
    """

    curriculum: str | CurriculumSetting
    hash: str
    steps: int
    known_steps: int
    batch_size: int
    sequence_length: int
    examples: int
    seed: int
    difficulty: str
    tokens: bool = False
