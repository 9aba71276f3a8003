"""Which step and how many tokens the name of a revision on the Hub stands for."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: ``step1000`` (Pythia), ``step1000-tokens4B``, ``stage1-step1000-tokens4B``, ``stage2-ingredient1-step1000`` (OLMo),
#: ``iter_0002000``, ``checkpoint-500``.
REVISION = re.compile(
    r"(?:(?P<track>.+?)[-_])??(?:step|iter|checkpoint)[-_]?0*(?P<step>\d+)"
    r"(?:[-_]tokens?[-_]?(?P<tokens>\d+(?:\.\d+)?)(?P<unit>[KMBT]?))?",
    re.IGNORECASE,
)
UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


@dataclass(frozen=True, slots=True)
class TrainingPoint:
    """``track`` is what stands before the step (a stage of training that counts its own steps), often empty."""

    track: str
    step: int
    tokens: int | None


def training_point(revision: str) -> TrainingPoint | None:
    """Where in training the revision is; None for names that do not say so, such as ``main``.

    >>> training_point("step1000")
    TrainingPoint(track='', step=1000, tokens=None)
    >>> training_point("stage1-step1000-tokens4B")
    TrainingPoint(track='stage1', step=1000, tokens=4000000000)
    >>> training_point("stage2-ingredient3-step0500-tokens2.5B").track
    'stage2-ingredient3'
    >>> training_point("main") is None
    True
    """
    match = REVISION.fullmatch(revision)
    if match is None:
        return None
    tokens = match["tokens"]
    count = None if tokens is None else round(float(tokens) * UNITS[match["unit"].upper()])
    return TrainingPoint(match["track"] or "", int(match["step"]), count)
