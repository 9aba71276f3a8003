"""A competition: what is run, what is scored, what is hidden, and until when. ``season.json`` in its folder."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from e2lm.atomic_file import write_json
from e2lm.errors import UserError
from e2lm.noun import Noun
from e2lm.series_roles import SeriesRoles
from e2lm_leaderboard.season_rules import SeasonRules

SEASON_FILE = "season.json"


class Season(Noun):
    """``series`` are folders that ``e2lm eval`` takes. Items fall into the public split with ``public_share``, drawn by
    salted hash; checkpoints after ``public_tokens`` are scored in the private split only. ``database`` is None for
    SQLite in the season's folder.

    ``control`` holds patterns of the names of those evaluated series that the others must beat. ``early_tokens`` is
    where early ends for the scores that ask (None: at ``public_tokens``, or where the score itself says).
    """

    schema_version: Literal[1] = 1
    title: Annotated[str, Field(min_length=1, max_length=120)]
    series: tuple[str, ...] = ()
    model: str = "e2lm-hf"
    eval_options: tuple[str, ...] = ()
    scores: tuple[str, ...] = ("signal_quality", "e2lmc_sq", "e2lmc_rc", "e2lmc_cs", "e2lmc_global")
    ranking_score: str = "signal_quality"
    public_share: Annotated[float, Field(gt=0, lt=1)] = 0.3
    public_tokens: Annotated[float, Field(gt=0)] | None = None
    control: tuple[Annotated[str, Field(min_length=1, max_length=120)], ...] = ()
    early_tokens: Annotated[float, Field(gt=0)] | None = None
    ladder_step: Annotated[float, Field(gt=0)] = 0.01
    ends_at: str | None = None
    database: str | None = None
    corpora: tuple[str, ...] = ()
    judge: str | None = "science-words"
    rules: SeasonRules = SeasonRules()
    seed: int = 0

    @field_validator("ends_at")
    @classmethod
    def _is_a_moment(cls, text: str | None) -> str | None:
        if text is not None and datetime.fromisoformat(text).tzinfo is None:
            raise ValueError("a time without a zone; write 2026-12-31T23:59:59+00:00")
        return text

    def is_over(self, now: datetime) -> bool:
        """Whether private scores may be shown."""
        return self.ends_at is not None and now >= datetime.fromisoformat(self.ends_at)

    @property
    def all_scores(self) -> tuple[str, ...]:
        """The scores in order, the one that ranks first."""
        return (self.ranking_score, *(name for name in self.scores if name != self.ranking_score))

    @property
    def other_scores(self) -> tuple[str, ...]:
        """The scores that do not rank."""
        return self.all_scores[1:]

    @property
    def roles(self) -> SeriesRoles:
        """Who must be beaten, and where early ends."""
        return SeriesRoles(self.control, self.public_tokens if self.early_tokens is None else self.early_tokens)

    def write(self, folder: Path) -> None:
        """Write ``season.json``."""
        write_json(folder / SEASON_FILE, self.model_dump(mode="json"))

    @classmethod
    def read(cls, folder: Path) -> Season:
        """The season in ``folder``."""
        if not (folder / SEASON_FILE).is_file():
            raise UserError(f"{folder}: no {SEASON_FILE}; 'e2lm leaderboard init {folder}' opens a season")
        return cls.from_json_file(folder / SEASON_FILE)


def utc_now() -> datetime:
    """The present moment."""
    return datetime.now(UTC)
