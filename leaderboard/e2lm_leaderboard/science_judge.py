"""The offline judge: how scientific a text is, by the words that science and other sentences use.

Multinomial naive Bayes with add-one smoothing (Manning, Raghavan and Schuetze 2008, section 13.2) over word stems,
trained on :mod:`e2lm_leaderboard.science_examples`. Each stem of a text counts once, and words that were never seen say
nothing, so a text of unknown words gets one half.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache

from e2lm import Judge
from e2lm_leaderboard.science_examples import OTHER, SCIENCE

WORD = re.compile(r"[^\W\d_]+")
#: Beginnings of words stand for their forms: proton and protons, reaction and reacts.
STEM_LETTERS = 6


def stems(text: str) -> list[str]:
    """Beginnings of the words of ``text``.

    >>> stems("Two protons")
    ['two', 'proton']
    """
    return [word[:STEM_LETTERS] for word in WORD.findall(text.casefold())]


@cache
def _log_odds() -> dict[str, float]:
    science, other = (Counter(stem for text in texts for stem in stems(text)) for texts in (SCIENCE, OTHER))
    known = science.keys() | other.keys()
    size = len(known)
    return {
        stem: math.log((science[stem] + 1) / (science.total() + size))
        - math.log((other[stem] + 1) / (other.total() + size))
        for stem in known
    }


def science_share(texts: Sequence[str]) -> list[float]:
    """How sure it is, per text, that it is about science."""
    odds = _log_odds()
    return [
        1 / (1 + math.exp(-max(-30.0, min(30.0, sum(odds.get(stem, 0.0) for stem in set(stems(text)))))))
        for text in texts
    ]


SCIENCE_JUDGE = Judge(
    "science-words",
    "About science, by its words: naive Bayes trained on 48 declared sentences; offline.",
    science_share,
    source="this package, science_examples.py",
)
