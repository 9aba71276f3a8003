"""One model of the ladder: its folder, the steps it keeps, what it costs, its record. Imports no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from e2lm.curriculum import TrainingBudget
from e2lm.run_record import RECORD_FILE, LeftOut, RunRecord, recorded_versions
from e2lm_curriculum.config.training import TrainingConfig
from e2lm_curriculum.model.size import ModelSize, model_size
from e2lm_curriculum.train.checkpoint_grid import kept_steps
from e2lm_curriculum.train.prepared import PreparedCorpus
from e2lm_curriculum.train.resume import KEPT_STATES
from e2lm_curriculum.train.segments import probed_tokens, trained_plan_hash

#: Bytes per weight on disk.
FLOAT32_BYTES = 4

#: Numbers per weight in a state to resume from.
STATE_NUMBERS = 3


@dataclass(frozen=True, slots=True)
class ModelRun:
    """The training of one ``size`` under one configuration."""

    config: TrainingConfig
    size: ModelSize

    @property
    def name(self) -> str:
        """Of its series."""
        return self.config.run.label or self.size.name

    @property
    def out(self) -> Path:
        """The folder of the whole ladder, with the prepared corpus."""
        return self.config.run.out_folder

    @property
    def folder(self) -> Path:
        """Where its checkpoints go."""
        return self.out / self.size.name

    @property
    def budget(self) -> TrainingBudget:
        """How much it is trained."""
        return self.config.data.budget

    @property
    def params_non_embedding(self) -> int:
        """Weights outside embedding and output head."""
        is_roberta = self.config.model.family == "roberta"
        return self.size.roberta_params_non_embedding if is_roberta else self.size.params_non_embedding

    def params(self, vocabulary: int) -> int:
        """All weights."""
        if self.config.model.family == "roberta":
            return self.size.roberta_params(vocabulary, self.budget.sequence_length)
        return self.size.params(vocabulary)

    @property
    def grid(self) -> tuple[int, ...]:
        """Steps at which a checkpoint is kept."""
        prepared = PreparedCorpus.read(self.out) if self.config.run.checkpoint_grid == "babylm" else None
        return kept_steps(self.config.run, self.budget, None if prepared is None else prepared.words_per_token)

    @property
    def cost(self) -> int:
        """FLOPs it takes, about: what decides the order of runs and the time left."""
        return self.size.flops_per_token(self.config.data.vocabulary) * self.budget.tokens

    def disk_bytes(self, vocabulary: int) -> int:
        """What is still to be written: checkpoints that are not there, and as many states as lie there at once.

        A state has weights and Adam's two moments of each.
        """
        missing = sum(not (self.folder / f"checkpoint-{step}").is_dir() for step in self.grid)
        states = STATE_NUMBERS * (KEPT_STATES + 1) if self.budget.steps > 1 else 0
        return FLOAT32_BYTES * self.params(vocabulary) * (missing + states)

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

    def flops(self, prepared: PreparedCorpus) -> int:
        """FLOPs of the whole training: 6 per weight and token of every pass, and 2 per token that was only probed.

        A forward pass is a third of a step's cost (Kaplan et al. 2020, table 1), and all that probing takes.
        """
        passes = self.budget.steps if prepared.forward_passes is None else prepared.forward_passes
        trained = passes * self.budget.batch_size * self.budget.sequence_length
        return self.params_non_embedding * (6 * trained + 2 * probed_tokens(self.folder))

    def write_record(
        self, prepared: PreparedCorpus, wall_s: float, finished: bool, left_out: tuple[LeftOut, ...] = ()
    ) -> None:
        """Write ``run.json``; what was left out before stays in it."""
        before = self.record
        RunRecord(
            command="train",
            config={**self.config.effective(), "size": self.size.name},
            versions=recorded_versions(),
            hashes={
                "data": prepared.data_hash,
                "tokenizer": prepared.tokenizer_hash,
                "plan": trained_plan_hash(self.folder) or prepared.plan_hash,
            },
            seeds={"seed": self.config.run.seed},
            wall_s=round(wall_s, 3),
            flops=float(self.flops(prepared)) if finished else None,
            finished=finished,
            left_out=(*(before.left_out if before else ()), *left_out),
        ).write(self.folder)

    def to_line(self) -> str:
        """One line from which :meth:`from_line` makes the same run: how a process of its own gets its work."""
        return json.dumps({"config": self.config.fields, "size": self.size.name})

    @classmethod
    def from_line(cls, line: str) -> ModelRun:
        """The run written by :meth:`to_line`."""
        data = json.loads(line)
        return cls(TrainingConfig.from_data(data["config"], "worker"), model_size(data["size"]))


def model_runs(config: TrainingConfig) -> list[ModelRun]:
    """The runs of all sizes, in the order of the configuration."""
    return [ModelRun(config, size) for size in config.model.ladder]
