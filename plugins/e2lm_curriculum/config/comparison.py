"""The section ``compare:`` of a training configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from e2lm.errors import nearest_names
from e2lm.noun import Noun
from e2lm_curriculum.plan.arms import ARMS, CURRICULUM, VANILLA, Arm

#: A configuration with this section trains the arms of a comparison.
COMPARISON_SECTION = "compare"

#: The measure that every comparison has, by its name.
HELD_OUT = "held-out text"

#: Below three the t distribution leaves nothing to see: at two seeds its 97.5 % quantile is 12.7.
LEAST_SEEDS = 3

#: ``configured`` is the schedule that the training names.
ArmSchedule = Literal["configured", "constant"]


class ComparisonConfig(Noun):
    """Which arms are trained how often, and what they are judged by.

    ``schedules``: a gain of an order can be an effect of what the learning rate is when hard text comes (Luo et al.
    2025, arXiv 2511.18903), so every arm is trained with the configured schedule and with a constant one.
    ``tasks`` are lm-eval tasks, ``items`` of each are used; ``held_out_tokens`` is how much held-out text is scored.
    Arms get equal FLOPs: one that trains on several objectives at once gets fewer tokens.
    With ``most_seeds``, seeds are added to the first ``seeds`` until it is decided whether the curriculum differs from
    vanilla: a difference is seen, or none is left that is as large as what ``smallest`` says of every measure.
    """

    arms: Annotated[tuple[Arm, ...], Field(min_length=1)] = ARMS
    schedules: Annotated[tuple[ArmSchedule, ...], Field(min_length=1)] = ("configured", "constant")
    seeds: Annotated[int, Field(ge=LEAST_SEEDS, le=1000)] = 5
    most_seeds: Annotated[int, Field(le=1000)] | None = None
    smallest: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    tasks: tuple[str, ...] = ()
    items: Annotated[int, Field(ge=2)] | None = None
    held_out_tokens: Annotated[int, Field(ge=256)] = 40_000
    #: Share of vanilla's training whose score is the goal in tokens-to-threshold.
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.8

    @field_validator("arms", "schedules", "tasks")
    @classmethod
    def _are_different(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(values)) != len(values):
            raise ValueError("a value is there twice")
        return values

    @model_validator(mode="after")
    def _can_be_decided(self) -> ComparisonConfig:
        if self.most_seeds is None:
            if self.smallest:
                raise ValueError("smallest: what would matter decides when to add no more seeds; give most_seeds too")
            return self
        if self.most_seeds <= self.seeds:
            raise ValueError(f"most_seeds: found {self.most_seeds}, not more than the {self.seeds} of seeds")
        for arm in (VANILLA, CURRICULUM):
            if arm not in self.arms:
                raise ValueError(f"most_seeds: whether {CURRICULUM} differs from {VANILLA} is decided; add arm {arm}")
        for name in self.smallest:
            if name not in (HELD_OUT, *self.tasks):
                raise ValueError(f"smallest: no measure {name!r}. {nearest_names(name, (HELD_OUT, *self.tasks))}")
        return self
