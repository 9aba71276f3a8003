"""A written plan as a trainer of one's own follows it, and what that trainer must not do. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from e2lm.curriculum import Plan
from e2lm.errors import UserError, no_such
from e2lm_curriculum.corpus.tokenizer import TAGS_FILE, TOKENS_FILE
from e2lm_curriculum.plan.file import PLAN_RECORD_FILE, PlanRecord, read_array, read_plan


@dataclass(frozen=True, slots=True)
class FollowedPlan:
    """The plan in ``folder``; entry n of all its draws is example ``example(n)``, of step n // ``batch_size``."""

    folder: Path
    plan: Plan
    record: PlanRecord

    @classmethod
    def read(cls, folder: Path | str) -> Self:
        """What ``e2lm train plan --out`` wrote; a :class:`UserError` where it is damaged or planned while training."""
        folder = Path(folder)
        record = plan_record(folder)
        plan = read_plan(folder)
        if plan.hash != record.hash:
            raise UserError(f"{folder}: its files are not what was planned (another hash); write it anew")
        if record.known_steps < record.steps:
            raise UserError(
                f"{folder}: this curriculum is planned while it trains; read it with "
                "e2lm_curriculum.follow.online.OnlineCurriculum"
            )
        return cls(folder, plan, record)

    @property
    def steps(self) -> int:
        """Optimiser steps."""
        return self.record.steps

    @property
    def batch_size(self) -> int:
        """Examples of one optimiser step, over all processes and micro-batches."""
        return self.record.batch_size

    @property
    def draws(self) -> int:
        """Examples shown in the whole training."""
        return self.steps * self.batch_size

    def example(self, number: int) -> int:
        """The example that draw ``number`` shows."""
        return int(self.plan.indices_SB[divmod(number, self.batch_size)])


def plan_record(folder: Path) -> PlanRecord:
    """What is beside the plan in ``folder``; a :class:`UserError` where there is none."""
    file = folder / PLAN_RECORD_FILE
    if not file.is_file():
        raise UserError(f"{file}: {no_such(file, 'file')}; give a folder that e2lm train plan --out wrote")
    return PlanRecord.from_json_file(file)


def own_examples(folder: Path, record: PlanRecord) -> tuple[NDArray[Any], NDArray[np.int8] | None]:
    """The examples (examples, tokens) that came with a plan, and their tags; a :class:`UserError` without any."""
    if not record.tokens:
        raise UserError(
            f"{folder}: planned from scores, so it has no examples of its own; give yours, {record.examples} of them, "
            "in the order of the scores"
        )
    tags = folder / TAGS_FILE
    blocks_XT = _blocks(folder / TOKENS_FILE, record)
    return blocks_XT, _blocks(tags, record) if tags.is_file() else None


def _blocks(file: Path, record: PlanRecord) -> NDArray[Any]:
    row_K = read_array(file)[: record.examples * record.sequence_length]
    blocks_XT: NDArray[Any] = row_K.reshape(record.examples, record.sequence_length)
    return blocks_XT


def steps_set(plan: Plan) -> list[str]:
    """What ``plan`` sets by step besides the order."""
    arrays = ("sequence_lengths_S", "mask_rates_S", "vocabulary_shares_S")
    found = [name.removesuffix("_S") for name in arrays if getattr(plan, name) is not None]
    return [*found, *(["objectives"] if plan.objectives else [])]
