"""Difficulty by what the text looks like to a reader.

Shape suffixes: X examples.
"""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from e2lm.curriculum import Difficulty, TrainingText

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_SENTENCE_END = re.compile(r"[.!?]+(?:\s|$)|\n\s*\n")
_VOWELS = re.compile(r"[aeiouyäöüáéíóúàèìòùâêîôû]+")


def texts(text: TrainingText) -> Iterator[str]:
    """The text of each example in order."""
    return (text.decode(row_T) for row_T in text.blocks_XT)


def words(text: str) -> list[str]:
    """Runs of letters in lower case; an apostrophe between letters belongs to the word.

    >>> words("Don't stop, 2nd Alice!")
    ["don't", 'stop', 'nd', 'alice']
    """
    return _WORD.findall(text.lower())


def sentence_count(text: str) -> int:
    """Sentences, at least one; an unfinished one at the end counts.

    >>> sentence_count("One. Two! And")
    3
    """
    return max(1, sum(1 for part in _SENTENCE_END.split(text) if _WORD.search(part)))


def sentence_length(text: TrainingText) -> NDArray[np.float64]:
    """Words per sentence. Examples all have the same number of tokens, so their own length says nothing."""
    return np.array([len(words(one)) / sentence_count(one) for one in texts(text)])


def word_rarity(text: TrainingText) -> NDArray[np.float64]:
    """-sum log p(word) over the words of an example, p the word's share of the corpus (Platanios et al., section 3)."""
    counts: Counter[str] = Counter()
    for one in texts(text):
        counts.update(words(one))
    total = sum(counts.values())
    log_share = {word: math.log(count / total) for word, count in counts.items()}
    return np.array([-sum(log_share[word] for word in words(one)) for one in texts(text)])


def compressed_share(text: TrainingText) -> NDArray[np.float64]:
    """Bytes after DEFLATE (level 9) per byte before: low where text repeats itself."""
    shares = []
    for one in texts(text):
        raw = one.encode()
        shares.append(len(zlib.compress(raw, 9)) / max(1, len(raw)))
    return np.array(shares)


def syllables(word: str) -> int:
    """Groups of vowels, but not a silent final e; at least one. English; elsewhere a rough number.

    >>> [syllables(word) for word in ("the", "make", "table", "alice", "wonderland")]
    [1, 1, 2, 2, 3]
    """
    count = len(_VOWELS.findall(word))
    if word.endswith("e") and not word.endswith(("le", "ee")) and count > 1:
        count -= 1
    return max(1, count)


def flesch_reading_ease(text: str) -> float:
    """206.835 - 1.015 words per sentence - 84.6 syllables per word (Flesch 1948); 0 to 100 for ordinary text.

    >>> round(flesch_reading_ease("The cat sat on the mat."), 1)
    116.1
    """
    found = words(text)
    if not found:
        return 0.0
    per_word = sum(map(syllables, found)) / len(found)
    return 206.835 - 1.015 * len(found) / sentence_count(text) - 84.6 * per_word


def unreadability(text: TrainingText) -> NDArray[np.float64]:
    """Minus the Flesch reading ease."""
    return np.array([-flesch_reading_ease(one) for one in texts(text)])


PLATANIOS = "Platanios et al. 2019, arXiv 1903.09848"

TEXT_DIFFICULTIES = (
    Difficulty("length", "Words per sentence.", sentence_length, PLATANIOS),
    Difficulty("rarity", "Minus the log-frequencies of the words, summed.", word_rarity, PLATANIOS),
    Difficulty("compression", "Bytes after compression per byte before.", compressed_share),
    Difficulty("readability", "Minus the Flesch reading ease.", unreadability, "Flesch 1948, J. Appl. Psychol. 32(3)"),
)
