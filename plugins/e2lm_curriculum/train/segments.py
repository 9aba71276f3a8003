"""Segments of a run whose order is planned while it trains, as they lie in its folder. Imports no torch.

Shape suffixes: S optimiser steps, B examples per step.
"""

from __future__ import annotations

import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from e2lm.curriculum import Plan
from e2lm.errors import UserError
from e2lm_curriculum.config.training import DataConfig
from e2lm_curriculum.plan.builder import chosen_curriculum
from e2lm_curriculum.plan.file import read_object, read_plan

SEGMENTS_FOLDER = ".segments"
STATE_FILE = "state.json"

#: Arms that mean something while an order is planned by watching the model.
ONLINE_ARMS = (None, "curriculum", "anti")

_SEGMENT_NAME = re.compile(r"segment-(\d+)")


def is_online(data: DataConfig) -> bool:
    """Whether the order is planned while the model trains; a :class:`UserError` for an arm that cannot be."""
    if chosen_curriculum(data.curriculum).next_segment is None or data.arm == "vanilla":
        return False
    if data.arm not in ONLINE_ARMS:
        raise UserError(
            f"field 'arm': {data.arm} needs an order that is known beforehand; {data.curriculum} is planned while it "
            "trains: leave this arm out"
        )
    return True


def segment_folder(run: Path, start_step: int) -> Path:
    """Where the segment that begins at ``start_step`` is kept."""
    return run / SEGMENTS_FOLDER / f"segment-{start_step}"


def planned_segments(run: Path) -> list[Path]:
    """The folders of all segments planned so far, in order."""
    folder = run / SEGMENTS_FOLDER
    found = [one for one in folder.iterdir() if _SEGMENT_NAME.fullmatch(one.name)] if folder.is_dir() else []
    return sorted(found, key=lambda one: int(one.name.removeprefix("segment-")))


def segment_state(folder: Path) -> dict[str, Any]:
    """``hash``, ``probed_tokens`` and the curriculum's own ``state`` of one segment."""
    return read_object(folder / STATE_FILE)


def probed_tokens(run: Path) -> int:
    """Tokens that went through the model only to decide what comes next."""
    return sum(int(segment_state(folder)["probed_tokens"]) for folder in planned_segments(run))


def trained_plan_hash(run: Path) -> str:
    """One hash over the segments planned so far, empty without any."""
    hashes = [segment_state(folder)["hash"] for folder in planned_segments(run)]
    return sha256(json.dumps(hashes).encode()).hexdigest() if hashes else ""


def trained_plan(prepared: Path, run: Path) -> Plan:
    """What the run in folder ``run`` was shown: its own segments if it planned any, else the plan in ``prepared``."""
    plan = read_plan(prepared)
    segments = planned_segments(run)
    if not segments:
        return plan
    return Plan(np.concatenate([read_plan(folder).indices_SB for folder in segments]))
