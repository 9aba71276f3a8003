"""Difficulty by where a text comes from."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from e2lm.curriculum import Difficulty, TrainingText
from e2lm.errors import UserError

CLIMB = "Diehl Martinez et al. 2023, arXiv 2311.08886"

#: BabyLM's parts from speech to writing.
SPOKEN_FIRST = {
    "aochildes": 1,
    "bnc_spoken": 2,
    "switchboard": 2,
    "open_subtitles": 3,
    "qed": 3,
    "cbt": 4,
    "children_stories": 4,
    "simple_wikipedia": 5,
    "wikipedia": 6,
    "gutenberg": 6,
}

#: BabyLM's parts from edited to spontaneous language.
GRAMMATICAL_FIRST = {
    "cbt": 1,
    "children_stories": 1,
    "simple_wikipedia": 2,
    "wikipedia": 3,
    "gutenberg": 3,
    "open_subtitles": 4,
    "bnc_spoken": 5,
    "switchboard": 5,
    "qed": 6,
    "aochildes": 6,
}


def file_number(text: TrainingText) -> NDArray[np.float64]:
    """The place in the list of corpus files of the one that most tokens of an example come from."""
    return np.asarray(text.sources_X, dtype=np.float64)


def ranked_source(ranks: Mapping[str, int], text: TrainingText) -> NDArray[np.float64]:
    """The rank of the example's corpus file; a :class:`UserError` names a file that has none."""
    of_file = []
    for name in text.source_names:
        key = name.lower().replace("-", "_").removesuffix(".train").removesuffix(".txt")
        if key not in ranks:
            raise UserError(
                f"field 'corpus': {name!r} has no place in this order; name the files {', '.join(sorted(ranks))}, "
                "or use difficulty 'file', the order in which they are listed"
            )
        of_file.append(ranks[key])
    return np.asarray(np.asarray(of_file, dtype=np.float64)[text.sources_X])


def random_number(text: TrainingText) -> NDArray[np.float64]:
    """A fixed random number per example."""
    return np.random.default_rng(0).random(len(text.blocks_XT))


SOURCE_DIFFICULTIES = (
    Difficulty("file", "Corpus files in the order in which they are listed.", file_number),
    Difficulty("source-spoken-first", "BabyLM's parts, speech first.", partial(ranked_source, SPOKEN_FIRST), CLIMB),
    Difficulty(
        "source-grammatical-first",
        "BabyLM's parts, edited text first.",
        partial(ranked_source, GRAMMATICAL_FIRST),
        CLIMB,
    ),
    Difficulty("random", "A fixed random number.", random_number),
)
