"""The difficulties that curricula may name, and their scores, computed once for a text.

Shape suffixes: X examples.

Difficulty by where a text comes from.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from e2lm.atomic_file import whole_file, write_json
from e2lm.curriculum import Curriculum, Difficulty, TrainingText
from e2lm.errors import E2LMError, UserError, nearest_names

CACHE_VARIABLE = "XDG_CACHE_HOME"


@dataclass(frozen=True, slots=True)
class ScoredDifficulty:
    """``scores_X`` and what they cost when they were computed: processor seconds; no model ran, so no FLOPs."""

    name: str
    scores_X: NDArray[np.float64]
    cpu_s: float


def difficulties() -> dict[str, Difficulty]:
    """All named difficulties."""
    from e2lm_curriculum.difficulty.measures import NGRAM_DIFFICULTIES, TEXT_DIFFICULTIES

    return {one.name: one for one in (*SOURCE_DIFFICULTIES, *NGRAM_DIFFICULTIES, *TEXT_DIFFICULTIES)}


def difficulty_of(curriculum: Curriculum) -> Difficulty | None:
    """What the scores of ``curriculum`` are; a :class:`UserError` for a name that is not known."""
    wanted = curriculum.difficulty
    if isinstance(wanted, Difficulty):
        return wanted
    if not wanted:
        return None
    known = difficulties()
    if wanted not in known:
        raise UserError(f"field 'curriculum.difficulty': unknown difficulty {wanted!r}. {nearest_names(wanted, known)}")
    return known[wanted]


def scored(difficulty: Difficulty, text: TrainingText, data_hash: str) -> ScoredDifficulty:
    """The scores of ``difficulty``, from the cache if the same text was scored by the same version before."""
    file = _cache_file(difficulty, text, data_hash)
    if file.is_file() and file.with_suffix(".json").is_file():
        cost = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        return ScoredDifficulty(difficulty.name, np.load(file), cost["cpu_s"])
    started = time.process_time()
    scores_X = np.asarray(difficulty.score(text), dtype=np.float64)
    cpu_s = round(time.process_time() - started, 3)
    if scores_X.shape != (len(text.blocks_XT),) or not np.isfinite(scores_X).all():
        raise E2LMError(
            f"difficulty {difficulty.name!r} gave shape {scores_X.shape} or numbers that are not finite; "
            f"expected {len(text.blocks_XT)} finite numbers"
        )
    with whole_file(file) as partial, open(partial, "wb") as handle:
        np.save(handle, scores_X)
    write_json(file.with_suffix(".json"), {"difficulty": difficulty.name, "cpu_s": cpu_s})
    return ScoredDifficulty(difficulty.name, scores_X, cpu_s)


def _cache_file(difficulty: Difficulty, text: TrainingText, data_hash: str) -> Path:
    """One file per text, block length, split into corpus files, difficulty and its version."""
    code = getattr(difficulty.score, "__module__", "")
    parts = [data_hash, text.blocks_XT.shape, text.source_names, difficulty.name, difficulty.version, code]
    digest = sha256(repr(parts).encode())
    digest.update(np.ascontiguousarray(text.sources_X, dtype="<i4").tobytes())
    if text.tags_XT is not None:
        digest.update(np.ascontiguousarray(text.tags_XT).tobytes())
    cache = Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache")
    return cache / "e2lm" / "difficulty" / f"{difficulty.name}-{digest.hexdigest()[:32]}.npy"


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
