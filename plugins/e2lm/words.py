"""What a word is and where a sentence ends, by script; a script without blanks between words takes a segmenter.

Japanese has two that are looked for, sudachipy and janome (extra ``ja``). A text that is mostly in such a script is
refused where none is there: its words would be whole sentences, and every number made of words would be upside down.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

from e2lm.errors import UserError

#: From this share of a text's characters on it matters that its script has no blanks between words.
UNSPACED_SHARE = 0.05

#: Of the characters of such a script; Chinese has no kana.
KANA_SHARE = 0.05

#: Thai, Lao, Tibetan, Burmese, Khmer, kana, Chinese characters.
_UNSPACED = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]+"
)
_KANA = re.compile("[\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f]+")
_LATIN = re.compile("[A-Za-z\u00aa\u00ba\u00c0-\u024f\u1e00-\u1eff]+")
#: A word: letters, and apostrophes between them.
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")

#: Marks that end a sentence before a blank, marks that end one wherever they stand, and paragraphs.
_SENTENCE_END = re.compile(
    r"[.!?]+(?:\s|$)|[\u3002\uff01\uff1f\uff61\u0964\u0965\u06d4\u061f\u1362\u104b\u17d4]+|\n\s*\n"
)

Segmenter = Callable[[str], list[str]]


@cache
def japanese_segmenter() -> tuple[str, Segmenter] | None:
    """The segmenter that is installed, with its name and version; None without one."""
    from importlib.metadata import version

    try:
        from sudachipy import Dictionary

        words_of: Any = Dictionary().create()
        return f"sudachipy {version('sudachipy')}", lambda text: [one.surface() for one in words_of.tokenize(text)]
    except ImportError:
        pass
    try:
        from janome.tokenizer import Tokenizer
    except ImportError:
        return None
    plain: Any = Tokenizer()
    return f"janome {version('janome')}", lambda text: [str(one) for one in plain.tokenize(text, wakati=True)]


#: What opens something: such a mark goes with the word after it, every other with the word before.
_OPENING = frozenset("「『（〈《【(“‘")


def is_unspaced(text: str) -> bool:
    """Whether most letters of ``text`` are of a script without blanks between words.

    >>> is_unspaced("猫がいる。"), is_unspaced("The cat 猫 sat.")
    (True, False)
    """
    letters = sum(map(len, WORD.findall(text)))
    return 2 * sum(map(len, _UNSPACED.findall(text))) > letters


def segments(text: str) -> list[str]:
    """``text`` cut into words with the marks around them, which joined are ``text`` again; blanks stay where they are.

    Raises :class:`UserError` without a segmenter.
    """
    segmenter = japanese_segmenter()
    if segmenter is None:
        raise UserError("Japanese has no blanks between words: pip install 'e2lm[ja]'")
    found: list[str] = []
    opened = ""
    for part in segmenter[1](text):
        if any(letter.isalnum() for letter in part):
            found.append(opened + part)
            opened = ""
        elif part in _OPENING or not found:
            opened += part
        else:
            found[-1] += part
    if opened:
        found[-1:] = ["".join([*found[-1:], opened])]
    return found


def words(text: str) -> list[str]:
    """Runs of letters in lower case, an apostrophe between letters included; cut by the segmenter where it takes one.

    >>> words("Don't stop, 2nd Alice!")
    ["don't", 'stop', 'nd', 'alice']
    """
    found = WORD.findall(text.lower())
    if text.isascii() or _UNSPACED.search(text) is None:
        return found
    return [part for one in found for part in _segmented(one)]


def blank_words(text: str) -> int:
    """Words as BabyLM counts them, what blanks separate; cut by the segmenter where blanks are none."""
    found = text.split()
    if text.isascii() or _UNSPACED.search(text) is None:
        return len(found)
    return sum(len(_segmented(one)) for one in found)


def _segmented(run: str) -> list[str]:
    segmenter = japanese_segmenter()
    if segmenter is None or _UNSPACED.search(run) is None:
        return [run]
    return [part for part in segmenter[1](run) if part.strip()]


def sentence_count(text: str) -> int:
    """Sentences, at least one; an unfinished one at the end counts.

    >>> sentence_count("One. Two! And"), sentence_count("猫がいる。犬もいる！")
    (3, 2)
    """
    return max(1, sum(1 for part in _SENTENCE_END.split(text) if WORD.search(part)))


class ScriptCount:
    """Counts the scripts of the texts that it is shown."""

    def __init__(self) -> None:
        self._characters = 0
        self._unspaced = 0
        self._kana = 0
        self._latin = 0

    def add(self, text: str) -> None:
        """Count ``text`` too."""
        letters = sum(map(len, WORD.findall(text)))
        self._characters += letters
        if text.isascii():
            self._latin += letters
            return
        self._latin += sum(map(len, _LATIN.findall(text)))
        self._unspaced += sum(map(len, _UNSPACED.findall(text)))
        self._kana += sum(map(len, _KANA.findall(text)))

    @property
    def lacks_words(self) -> str | None:
        """Why words of these texts cannot be told apart, and what would help; None where they can."""
        if self._unspaced <= UNSPACED_SHARE * self._characters:
            return None
        share = f"{self._unspaced / max(1, self._characters):.0%} of its letters"
        if self._kana < KANA_SHARE * self._unspaced:
            return f"the corpus is in a script without blanks between words ({share}), for which no segmenter is known"
        if japanese_segmenter() is None:
            return f"the corpus is in Japanese ({share}), which has no blanks between words: pip install 'e2lm[ja]'"
        return None

    def require_words(self, field: str, instead: str) -> None:
        """A :class:`UserError` that names ``field`` where words cannot be told apart, and the way out ``instead``."""
        if (why := self.lacks_words) is not None:
            raise UserError(f"field {field!r}: {why}, or {instead}")

    def require_latin(self, field: str, instead: str) -> None:
        """A :class:`UserError` that names ``field`` where much is not in Latin letters."""
        others = self._characters - self._latin
        if others > UNSPACED_SHARE * self._characters:
            share = others / max(1, self._characters)
            raise UserError(
                f"field {field!r}: {share:.0%} of the letters of the corpus are not Latin, and Flesch's formula counts "
                f"Latin vowels; {instead}"
            )
