"""The scores of a difficulty, computed once for a text and kept in a cache; names are those of all measures.

Shape suffixes: X examples.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2lm.atomic_file import whole_file, write_json
from e2lm.curriculum import Curriculum, Difficulty, TrainingText
from e2lm.errors import E2LMError, UserError, nearest_names
from e2lm.words import japanese_segmenter
from e2lm_curriculum.difficulty.measures import NGRAM_DIFFICULTIES, SOURCE_DIFFICULTIES, TEXT_DIFFICULTIES

CACHE_VARIABLE = "XDG_CACHE_HOME"


@dataclass(frozen=True, slots=True)
class ScoredDifficulty:
    """``scores_X`` and what they cost when they were computed: processor seconds; no model ran, so no FLOPs."""

    name: str
    scores_X: NDArray[np.float64]
    cpu_s: float


def difficulties() -> dict[str, Difficulty]:
    """All named difficulties."""
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


def _numbers(found: Any) -> NDArray[np.float64]:
    """``found`` as numbers; NaN where it is something else, which nobody takes."""
    try:
        return np.asarray(found, dtype=np.float64)
    except (TypeError, ValueError):
        return np.array(np.nan)


def scored(difficulty: Difficulty, text: TrainingText, data_hash: str) -> ScoredDifficulty:
    """The scores of ``difficulty``, from the cache if the same text was scored by the same version before."""
    file = _cache_file(difficulty, text, data_hash)
    if (kept := _kept(file)) is not None:
        return ScoredDifficulty(difficulty.name, *kept)
    started = time.process_time()
    scores_X = _numbers(difficulty.score(text))
    cpu_s = round(time.process_time() - started, 3)
    if scores_X.shape != (len(text.blocks_XT),) or not np.isfinite(scores_X).all():
        raise E2LMError(
            f"difficulty {difficulty.name!r} gave shape {scores_X.shape} or numbers that are not finite; "
            f"expected {len(text.blocks_XT)} finite numbers; tell its authors"
        )
    with whole_file(file) as partial, open(partial, "wb") as handle:
        np.save(handle, scores_X)
    write_json(file.with_suffix(".json"), {"difficulty": difficulty.name, "cpu_s": cpu_s})
    return ScoredDifficulty(difficulty.name, scores_X, cpu_s)


def _kept(file: Path) -> tuple[NDArray[np.float64], float] | None:
    """Scores in the cache and what they cost; None where they are not, or damaged: they are made anew then."""
    try:
        cost = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        return np.load(file), cost["cpu_s"]
    except (OSError, ValueError, EOFError, KeyError):
        return None


def _cache_file(difficulty: Difficulty, text: TrainingText, data_hash: str) -> Path:
    """One file per text, block length, split into corpus files, difficulty and its version."""
    code = getattr(difficulty.score, "__module__", "")
    segmenter = japanese_segmenter()
    parts = [data_hash, text.blocks_XT.shape, text.source_names, difficulty.name, difficulty.version, code]
    parts += [segmenter[0]] if segmenter else []
    digest = sha256(repr(parts).encode())
    digest.update(np.ascontiguousarray(text.sources_X, dtype="<i4").tobytes())
    for given in (text.tags_XT, text.document_scores_X):
        if given is not None:
            digest.update(np.ascontiguousarray(given).tobytes())
    cache = Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache")
    return cache / "e2lm" / "difficulty" / f"{difficulty.name}-{digest.hexdigest()[:32]}.npy"
