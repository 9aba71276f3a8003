"""The ``compare:`` section of a training configuration, and the runs it stands for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from e2lm.errors import UserError
from e2lm.noun import Noun
from e2lm_curriculum.cli.command import COMPARISON_SECTION
from e2lm_curriculum.config.training import ARMS, VANILLA, Arm, TrainingConfig
from e2lm_curriculum.model.flops import equal_cost_tokens
from e2lm_curriculum.train.size_run import SizeRun

SECTION = COMPARISON_SECTION

#: Below three the t distribution leaves nothing to see: at two seeds its 97.5 % quantile is 12.7.
LEAST_SEEDS = 3

#: Keeps the seeds of orders apart from those of weights.
ORDER_SEED_OFFSET = 1_000_003

ScheduleArm = Literal["configured", "constant"]


class ComparisonConfig(Noun):
    """Which arms are trained how often, and what they are judged by.

    ``schedules``: a gain of an order can be an effect of what the learning rate is when hard text comes (Luo et al.
    2025, arXiv 2511.18903), so every arm is trained with the configured schedule and with a constant one.
    ``tasks`` are lm-eval tasks, ``items`` of each are used; ``held_out_tokens`` is how much held-out text is scored.
    Arms get equal FLOPs: one that trains on several objectives at once gets fewer tokens.
    """

    arms: Annotated[tuple[Arm, ...], Field(min_length=1)] = ARMS
    schedules: Annotated[tuple[ScheduleArm, ...], Field(min_length=1)] = ("configured", "constant")
    seeds: Annotated[int, Field(ge=LEAST_SEEDS, le=1000)] = 5
    tasks: tuple[str, ...] = ()
    items: Annotated[int, Field(ge=2)] | None = None
    held_out_tokens: Annotated[int, Field(ge=256)] = 40_000
    #: Share of vanilla's training whose score is the goal in tokens-to-threshold.
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.8


@dataclass(frozen=True, slots=True)
class ArmRun:
    """One arm with one learning rate and one seed."""

    arm: Arm
    schedule: str
    seed: int
    config: TrainingConfig

    @property
    def name(self) -> str:
        """Folder below the comparison, and name of the series."""
        return str(self.config.label)

    @property
    def size_run(self) -> SizeRun:
        """The run as the trainer knows it."""
        return SizeRun(self.config, self.config.model_sizes[0])


@dataclass(frozen=True, slots=True)
class Comparison:
    """A training configuration and what is compared under it."""

    training: TrainingConfig
    section: ComparisonConfig

    @classmethod
    def from_data(cls, data: dict[str, Any], source: str) -> Comparison:
        """Both parts of a configuration file; a :class:`UserError` names file and field."""
        rest = {name: value for name, value in data.items() if name != SECTION}
        training = TrainingConfig.from_data(rest, source)
        section = ComparisonConfig.from_data(data[SECTION] or {}, f"{source}: section '{SECTION}'")
        if len(training.sizes) != 1:
            raise UserError(
                f"{source}: field 'sizes': found {', '.join(training.sizes)}; a comparison trains one size, give one"
            )
        for field in ("arm", "init_seed", "order_seed", "label"):
            if getattr(training, field) is not None:
                raise UserError(f"{source}: field {field!r}: set by the arms of section '{SECTION}'; leave it out")
        for field in ("arms", "schedules", "tasks"):
            values = getattr(section, field)
            if len(set(values)) != len(values):
                raise UserError(f"{source}: section '{SECTION}', field {field!r}: a value is there twice")
        return cls(training, section)

    @property
    def folder(self) -> Path:
        """Where everything goes."""
        return self.training.out_folder

    @property
    def runs(self) -> tuple[ArmRun, ...]:
        """All runs, seed by seed: when some seeds are finished they are finished in every arm."""
        found: list[ArmRun] = []
        for schedule in self._schedules:
            for seed in range(self.section.seeds):
                found += [self._run(arm, schedule, seed) for arm in self.section.arms]
        return tuple(found)

    @property
    def _schedules(self) -> tuple[str, ...]:
        names = [self.training.schedule if one == "configured" else one for one in self.section.schedules]
        return tuple(dict.fromkeys(names))

    def _run(self, arm: Arm, schedule: str, seed: int) -> ArmRun:
        name = f"{arm}-{schedule}-s{seed}"
        config = self.training.model_copy(
            update={
                "out": str(self.folder / name),
                "tokens": self.training.tokens if arm == VANILLA else equal_cost_tokens(self.training),
                "schedule": schedule,
                "arm": arm,
                "init_seed": self.training.seed + seed,
                "order_seed": self.training.seed + ORDER_SEED_OFFSET + seed,
                "label": name,
            }
        )
        return ArmRun(arm, schedule, seed, config)
