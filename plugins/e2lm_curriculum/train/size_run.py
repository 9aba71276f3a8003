"""One model of the ladder: its folder, whether it is finished, and its record. Imports no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from e2lm.run_record import RECORD_FILE, RunRecord, recorded_versions
from e2lm_curriculum.config.training import (
    ASSUMED_WORDS_PER_TOKEN,
    TrainingConfig,
    checkpoint_steps,
    token_steps,
    word_steps,
)
from e2lm_curriculum.corpus.prepared import PreparedCorpus
from e2lm_curriculum.model.size import ModelSize, model_size
from e2lm_curriculum.train.online_record import probed_tokens, trained_plan_hash


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
    def params_non_embedding(self) -> int:
        """Weights outside embedding and output head."""
        is_roberta = self.config.family == "roberta"
        return self.size.roberta_params_non_embedding if is_roberta else self.size.params_non_embedding

    def params(self, vocabulary: int) -> int:
        """All weights."""
        if self.config.family == "roberta":
            return self.size.roberta_params(vocabulary, self.config.sequence_length)
        return self.size.params(vocabulary)

    @property
    def grid(self) -> tuple[int, ...]:
        """Steps at which a checkpoint is kept."""
        config, steps = self.config, self.config.budget.steps
        if config.checkpoint_grid == "log":
            return checkpoint_steps(steps, config.checkpoints)
        tokens_per_step = config.budget.tokens // steps
        if config.checkpoint_grid == "tokens":
            return token_steps(steps, tokens_per_step, config.checkpoint_tokens)
        prepared = PreparedCorpus.read(config.out_folder)
        words_per_token = None if prepared is None else prepared.words_per_token
        return word_steps(steps, tokens_per_step, words_per_token or ASSUMED_WORDS_PER_TOKEN, config.word_unit)

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
        # A forward pass is a third of a step's cost (Kaplan et al. 2020, table 1), and all that probing takes.
        passes = self.config.budget.steps if prepared.forward_passes is None else prepared.forward_passes
        tokens_per_step = self.config.budget.tokens // self.config.budget.steps
        flops = 6 * self.params_non_embedding * passes * tokens_per_step
        flops += 2 * self.params_non_embedding * probed_tokens(self.folder)
        RunRecord(
            command="train",
            config={**self.config.effective(), "size": self.size.name},
            versions=recorded_versions(),
            hashes={
                "data": prepared.data_hash,
                "tokenizer": prepared.tokenizer_hash,
                "plan": trained_plan_hash(self.folder) or prepared.plan_hash,
            },
            seeds={"seed": self.config.seed},
            wall_s=round(wall_s, 3),
            flops=float(flops) if finished else None,
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
