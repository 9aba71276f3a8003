"""What a configuration may say of a curriculum: order, mixture, sequence lengths, objectives, vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from e2lm.errors import UserError
from e2lm.noun import Noun
from e2lm_curriculum.plan.pacing import CLIMB_LINEAR, Pacing

ModeName = Literal["pool", "staged", "full-coverage", "warm-up", "grouped", "random"]
ObjectiveName = Literal["clm", "mlm", "pos-all", "pos-noun-verb", "pos-noun-verb-adj"]
VocabularyMap = Literal["token-id", "pos", "pos-and-token-id"]

#: CLIMB and BERT (Devlin et al. 2019).
MASK_RATE = 0.15

#: A moment of training, as a share of its tokens.
Moment = Annotated[float, Field(ge=0, le=1)]


class LengthStage(Noun):
    """From ``start`` (a share of the tokens) on, sequences of ``length`` times the configured sequence length."""

    start: Annotated[float, Field(ge=0, lt=1)]
    length: Annotated[float, Field(gt=0, le=1)]


class ObjectiveStage(Noun):
    """``objective`` is trained from ``start`` to ``end``, shares of the tokens."""

    objective: ObjectiveName
    start: Moment = 0.0
    end: Moment = 1.0


class MaskRate(Noun):
    """The share of masked tokens, from ``start`` at the first step to ``end`` at the last, linear in tokens."""

    start: Annotated[float, Field(gt=0, lt=1)] = MASK_RATE
    end: Annotated[float, Field(gt=0, lt=1)] = MASK_RATE


class VocabularySetting(Noun):
    """Tokens beyond the pacing's share of the vocabulary, in the order of ``map``, become the unknown token."""

    map: VocabularyMap
    pacing: Pacing = CLIMB_LINEAR


class MixtureStage(Noun):
    """From ``start`` on, sources are drawn by ``weights``: ``natural`` (by size), ``stratified`` (all alike), or one
    number for each corpus file in its order, or for each source by its name.
    """

    start: Annotated[float, Field(ge=0, lt=1)]
    weights: (
        Literal["natural", "stratified"]
        | tuple[Annotated[float, Field(ge=0)], ...]
        | dict[str, Annotated[float, Field(ge=0)]]
    )

    def ordered(self, names: Sequence[str]) -> MixtureStage:
        """The same with weights in the order of ``names``; a :class:`UserError` unless each has one and no other."""
        if not isinstance(self.weights, dict):
            return self
        for name in sorted({*self.weights} ^ {*names}):
            what = "has no weight" if name in names else "is no source of this corpus"
            raise UserError(f"field 'curriculum.mixture': {name!r} {what}; give one for each of {', '.join(names)}")
        return MixtureStage(start=self.start, weights=tuple(self.weights[name] for name in names))


class OnlineSetting(Noun):
    """Planned while the model trains, in ``segments`` equal parts.

    ``self-perplexity`` ranks the examples anew by the model's own loss at the start of each part. ``skill-it`` weighs
    the corpus files by exp(``rate`` times their losses, summed over the last ``window`` parts).
    """

    kind: Literal["self-perplexity", "skill-it"]
    segments: Annotated[int, Field(ge=2)] = 16
    rate: Annotated[float, Field(gt=0)] = 0.8
    window: Annotated[int, Field(ge=1)] = 3
    #: Examples of each corpus file whose loss is taken.
    probed: Annotated[int, Field(ge=1)] = 32


class CurriculumSetting(Noun):
    """What a curriculum does with a run; everything left out is as in plain training.

    The order is one of ``mode`` (with ``difficulty`` and ``pacing``), ``mixture`` and ``online``; without any of them
    it is shuffled epochs.
    """

    difficulty: str = ""
    pacing: Pacing = CLIMB_LINEAR
    mode: ModeName = "random"
    stages: Annotated[int, Field(ge=2)] = 4
    share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    mixture: tuple[MixtureStage, ...] = ()
    online: OnlineSetting | None = None
    sequence_lengths: tuple[LengthStage, ...] = ()
    objectives: tuple[ObjectiveStage, ...] = ()
    mask_rate: MaskRate | None = None
    vocabulary: VocabularySetting | None = None

    @model_validator(mode="after")
    def _is_consistent(self) -> CurriculumSetting:
        if self.difficulty and self.mode == "random" and self.online is None:
            raise ValueError(f"difficulty {self.difficulty!r} needs a mode such as pool")
        if not self.difficulty and self.mode != "random" and self.online is None:
            raise ValueError(f"mode {self.mode!r} needs a difficulty")
        if self.online is not None and (self.online.kind == "skill-it") != (self.mode == "random"):
            what = (
                "weighs files; leave out mode" if self.mode != "random" else "ranks for a mode; give one such as pool"
            )
            raise ValueError(f"online {self.online.kind} {what}")
        if self.mixture and (self.mode != "random" or self.online is not None):
            raise ValueError("mixture, mode and online exclude each other")
        for name in ("mixture", "sequence_lengths"):
            starts = [stage.start for stage in getattr(self, name)]
            if starts and (starts[0] != 0.0 or sorted(set(starts)) != starts):
                raise ValueError(f"{name}: starts must rise from 0, found {starts}")
        for stage in self.objectives:
            if stage.start >= stage.end:
                raise ValueError(f"objectives: {stage.objective} ends at {stage.end}, not after {stage.start}")
        by_tags = [stage.objective for stage in self.objectives if stage.objective.startswith("pos-")]
        if len(set(by_tags)) < len(by_tags):
            raise ValueError("objectives: one over parts of speech may have a single stage")
        if self.objectives and not _covers(self.objectives):
            raise ValueError("objectives: at every moment one must be active")
        return self


def _covers(stages: tuple[ObjectiveStage, ...]) -> bool:
    reached = 0.0
    for stage in sorted(stages, key=lambda stage: stage.start):
        if stage.start > reached:
            return False
        reached = max(reached, stage.end)
    return reached >= 1.0
