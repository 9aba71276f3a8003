"""One model of the ladder: its folder, whether it is finished, and its record. Imports no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from e2lm.run_record import RECORD_FILE, RunRecord, recorded_versions
from e2lm_curriculum.checkpoint_grid import checkpoint_steps
from e2lm_curriculum.model_size import ModelSize, model_size
from e2lm_curriculum.prepared_corpus import PreparedCorpus
from e2lm_curriculum.training_config import TrainingConfig


@dataclass(frozen=True, slots=True)
class SizeRun:
    """The run of one ``size`` under one configuration."""

    config: TrainingConfig
    size: ModelSize

    @property
    def folder(self) -> Path:
        """Where its checkpoints go."""
        return self.config.out_folder / self.size.name

    @property
    def grid(self) -> tuple[int, ...]:
        """Steps at which a checkpoint is kept."""
        return checkpoint_steps(self.config.budget.steps, self.config.checkpoints)

    @property
    def cost(self) -> int:
        """FLOPs it takes, about: what decides the order of runs and the time left."""
        return self.size.flops_per_token(self.config.vocabulary) * self.config.budget.tokens

    @property
    def record(self) -> RunRecord | None:
        """What an earlier process wrote about it."""
        file = self.folder / RECORD_FILE
        return RunRecord.from_json_file(file) if file.is_file() else None

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do."""
        record = self.record
        return record is not None and record.finished

    @property
    def wall_s(self) -> float:
        """Seconds spent so far by every process that worked on it."""
        record = self.record
        return 0.0 if record is None or record.wall_s is None else record.wall_s

    def write_record(self, prepared: PreparedCorpus, wall_s: float, finished: bool) -> None:
        """Write ``run.json``."""
        training_flops_per_token = 6 * self.size.params_non_embedding
        RunRecord(
            command="train",
            config={**self.config.effective(), "size": self.size.name},
            versions=recorded_versions(),
            hashes={
                "data": prepared.data_hash,
                "tokenizer": prepared.tokenizer_hash,
                "plan": prepared.plan_hash,
            },
            seeds={"seed": self.config.seed},
            wall_s=round(wall_s, 3),
            flops=float(training_flops_per_token * self.config.budget.tokens) if finished else None,
            finished=finished,
        ).write(self.folder)

    def to_line(self) -> str:
        """One line from which :meth:`from_line` makes the same run: how a worker gets its work."""
        return json.dumps({"config": self.config.model_dump(mode="json"), "size": self.size.name})

    @classmethod
    def from_line(cls, line: str) -> SizeRun:
        """The run written by :meth:`to_line`."""
        data = json.loads(line)
        return cls(TrainingConfig.from_data(data["config"], "worker"), model_size(data["size"]))
