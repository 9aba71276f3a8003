"""What a submission is about, and how much of it stands elsewhere: its judge's word, and items found in other texts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from e2lm import Judge
from e2lm.errors import UserError
from e2lm.interval import mean_stderr, normal_interval
from e2lm_leaderboard.bundle.items import TaskItem
from e2lm_leaderboard.store.store import Result

#: Words in a row that hardly recur by chance (GPT-3 used 13, Brown et al. 2020, appendix C; items are shorter).
WORDS_IN_A_ROW = 8
#: An item counts as found where this share of its sequences is.
FOUND_SHARE = 0.8

WORD = re.compile(r"\w+")


def shingles(text: str) -> set[int]:
    """Hashes of every run of :data:`WORDS_IN_A_ROW` words; of the whole where it is shorter."""
    words = WORD.findall(text.casefold())
    if len(words) <= WORDS_IN_A_ROW:
        return {hash(" ".join(words))} if words else set()
    return {hash(" ".join(words[at : at + WORDS_IN_A_ROW])) for at in range(len(words) - WORDS_IN_A_ROW + 1)}


def item_text(item: TaskItem) -> str:
    """Prompt and answer."""
    return f"{item.context} {item.answer}"


def known_sequences(texts: Iterable[str]) -> set[int]:
    """The sequences of all ``texts``."""
    known: set[int] = set()
    for text in texts:
        known |= shingles(text)
    return known


def share_found(items: Sequence[TaskItem], known: set[int]) -> float:
    """Share of items of which at least :data:`FOUND_SHARE` of the sequences are known."""
    if not items:
        return 0.0
    found = 0
    for item in items:
        own = shingles(item_text(item))
        found += bool(own) and len(own & known) >= FOUND_SHARE * len(own)
    return found / len(items)


def corpus_sequences(files: Sequence[str]) -> set[int]:
    """The sequences of declared corpora, plain UTF-8 text."""
    known: set[int] = set()
    for name in files:
        try:
            known |= shingles(Path(name).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"season: corpora: {name}: cannot be read as UTF-8 text ({error})") from error
    return known


SCORE = "alignment"


def alignment_result(split: str, items: Sequence[TaskItem], judge: Judge) -> Result:
    """The mean over items; its 90 % interval is for the mean over items of this kind, the judge taken as right."""
    if not items:
        return Result(split, SCORE, "", None, reason="no items")
    judged = np.asarray(judge.judge([item_text(item) for item in items]), dtype=np.float64)
    reason = f"judge {judge.name}"
    if judged.shape != (len(items),) or not np.isfinite(judged).all() or judged.min() < 0 or judged.max() > 1:
        return Result(split, SCORE, "", None, reason=f"{reason} gave something else than a number in [0, 1] per item")
    value = float(judged.mean())
    if len(judged) < 2:
        return Result(split, SCORE, "", value, reason=f"{reason}; no interval: a single item")
    interval = normal_interval(value, mean_stderr(judged)).within(0.0, 1.0)
    return Result(split, SCORE, "", value, *interval, None, reason)
