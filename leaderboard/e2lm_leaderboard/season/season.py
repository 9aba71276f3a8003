"""A competition (``season.json``): what is run and scored, which items are public or hidden, and until when.

Its rules are every limit that a submission is checked against. Which items are public is drawn by a hash that nobody
can aim at without the salt.
"""

from __future__ import annotations

import hmac
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from e2lm.atomic_file import write_json
from e2lm.errors import UserError
from e2lm.noun import Noun
from e2lm.signal_score import SeriesRoles
from e2lm_leaderboard.store.store import Admission

MIB = 1 << 20

ShareLimit = Annotated[float, Field(ge=0, le=1)]


class BundleLimits(Noun):
    """How large a bundle may be. PyPI's upload rules are the model (warehouse, ``forklift/legacy.py``)."""

    archive_bytes: Annotated[int, Field(gt=0)] = 32 * MIB
    total_bytes: Annotated[int, Field(gt=0)] = 48 * MIB
    members: Annotated[int, Field(gt=0)] = 2000
    #: Unpacked size over packed size, once more than ``ratio_from_bytes`` are unpacked.
    ratio: Annotated[float, Field(gt=1)] = 50.0
    ratio_from_bytes: Annotated[int, Field(ge=0)] = 4 * MIB
    name_bytes: Annotated[int, Field(gt=0)] = 200
    depth: Annotated[int, Field(gt=0)] = 8
    row_bytes: Annotated[int, Field(gt=0)] = 64 * 1024
    code_bytes: Annotated[int, Field(gt=0)] = 512 * 1024
    yaml_bytes: Annotated[int, Field(gt=0)] = 64 * 1024


class SeasonRules(Noun):
    """Defaults are those of the NeurIPS 2025 E2LM competition where it had one.

    ``bytes_per_token`` turns the token limit into bytes where no ``tokenizer`` (path of a ``tokenizer.json``) is named:
    byte-level BPE on English has 3.5 to 4.5 bytes per token, so 3 errs on the safe side.
    """

    schema_version: Literal[1] = 1
    languages: tuple[str, ...] = ("en",)
    max_tokens: Annotated[int, Field(gt=0)] = 2048
    bytes_per_token: Annotated[float, Field(gt=0)] = 3.0
    tokenizer: str | None = None
    min_items: Annotated[int, Field(gt=0)] = 100
    max_items: Annotated[int, Field(gt=0)] = 15_000
    min_choices: Annotated[int, Field(ge=2)] = 2
    max_choices: Annotated[int, Field(ge=2)] = 26
    max_tasks: Annotated[int, Field(gt=0)] = 20
    #: Answers shorter than this are labels ("A", "yes"), of which the prompt may speak.
    label_chars: Annotated[int, Field(ge=0)] = 3
    max_answer_in_prompt: ShareLimit = 0.02
    max_duplicates: ShareLimit = 0.02
    #: Share of English running text that is made of the commonest words; half of the usual share suffices.
    min_common_words: ShareLimit = 0.08
    submissions_per_day: Annotated[int, Field(gt=0)] = 10
    #: Of one team in all; None for as many as its days allow.
    submissions_total: Annotated[int, Field(gt=0)] | None = None
    #: Items shared with an earlier submission of another team, or with a declared corpus.
    max_similarity: ShareLimit = 0.2
    code_allowed: bool = True
    #: An item metric is a few lines; a table of answers would be more.
    metric_code_bytes: Annotated[int, Field(gt=0)] = 4096
    limits: BundleLimits = BundleLimits()


SEASON_FILE = "season.json"


class Season(Noun):
    """``series`` are folders that ``e2lm eval`` takes. Items fall into the public split with ``public_share``, drawn by
    salted hash; checkpoints after ``public_tokens`` are scored in the private split only. ``database`` is None for
    SQLite in the season's folder. In a minute ``reads_per_minute`` of one address are answered that no cache holds, and
    ``posts_per_minute`` of one address or of one team.

    Submissions are taken from ``opens_at`` until ``ends_at``, by the clock of the server; private scores are shown from
    ``private_at`` on, or from ``ends_at`` where that is not named. ``entry_wall_s``, ``entry_memory_bytes`` (of all its
    processes together) and ``entry_disk_bytes`` bound what the evaluation of one entry may take.

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
    opens_at: str | None = None
    ends_at: str | None = None
    private_at: str | None = None
    entry_wall_s: Annotated[float, Field(gt=0)] = 6 * 3600.0
    entry_memory_bytes: Annotated[int, Field(gt=0)] | None = None
    entry_disk_bytes: Annotated[int, Field(gt=0)] = 20 << 30
    reads_per_minute: Annotated[int, Field(gt=0)] = 600
    posts_per_minute: Annotated[int, Field(gt=0)] = 30
    database: str | None = None
    corpora: tuple[str, ...] = ()
    judge: str | None = "science-words"
    rules: SeasonRules = SeasonRules()
    seed: int = 0

    @field_validator("opens_at", "ends_at", "private_at")
    @classmethod
    def _is_a_moment(cls, text: str | None) -> str | None:
        if text is not None and datetime.fromisoformat(text).tzinfo is None:
            raise ValueError("a time without a zone; write 2026-12-31T23:59:59+00:00")
        return text

    def is_over(self, now: datetime) -> bool:
        """Whether private scores may be shown."""
        shown_at = self.private_at or self.ends_at
        return shown_at is not None and now >= datetime.fromisoformat(shown_at)

    def is_late(self, received_at: str) -> bool:
        """Whether something arrived after the end."""
        return self.ends_at is not None and datetime.fromisoformat(received_at) >= datetime.fromisoformat(self.ends_at)

    @property
    def admission(self) -> Admission:
        """When submissions are taken, and how many of a team in all."""
        opens_at, ends_at = (
            None if text is None else datetime.fromisoformat(text) for text in (self.opens_at, self.ends_at)
        )
        return Admission(opens_at, ends_at, self.rules.submissions_total)

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


SALT_KEY = "split_salt"


def new_salt() -> str:
    """A salt that nobody knows."""
    return secrets.token_hex(16)


def is_public(item_id: str, salt: str, share: float) -> bool:
    """Whether an item falls into the public split; the same item always falls alike.

    >>> sum(is_public(str(k), "salt", 0.3) for k in range(1000))
    291
    """
    digest = hmac.new(salt.encode(), item_id.encode(), "sha256").digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64
