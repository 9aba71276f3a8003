"""``submission.yaml``: what a bundle says of itself."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from e2lm.noun import Noun
from e2lm_leaderboard.task_file import REFERENCE

SUBMISSION_FILE = "submission.yaml"

#: Names go into pages, file names and task names alike.
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{1,47}$")]
Tier = Literal["declarative", "code"]


class Submission(Noun):
    """A benchmark as its authors describe it.

    ``metric`` is the item metric whose curve is scored; ``metric_function`` (``module.name``) is where the bundle
    brings one of its own under that name. ``tier`` is ``code`` where there are functions: they run in the sandbox only.
    """

    #: Not Literal[1], which takes ``true`` for 1.
    schema_version: Annotated[int, Field(ge=1, le=1)]
    name: Name
    title: Annotated[str, Field(min_length=1, max_length=120)]
    description: Annotated[str, Field(min_length=1, max_length=4000)]
    language: Annotated[str, Field(pattern=r"^[a-z]{2,3}$")] = "en"
    license: Annotated[str, Field(min_length=1, max_length=60)]
    tier: Tier = "declarative"
    metric: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,59}$")] = "acc_norm"
    metric_function: Annotated[str, Field(pattern=REFERENCE)] | None = None
    tasks: Annotated[tuple[str, ...], Field(min_length=1, max_length=100)]
    #: Corpora that the items were made from, and training data they were checked against, in the authors' words.
    sources: Annotated[tuple[Annotated[str, Field(max_length=300)], ...], Field(max_length=50)] = ()
