"""Recipes whose order is known beforehand: text as it was written, and with some of its words out of order.

A tenth of the paragraphs is held out, by a seeded hash of each, before anything is put out of order: every recipe is
trained on the same paragraphs, and asked about the same others.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from e2lm.atomic_file import write_text
from e2lm.errors import UserError

HELD_OUT_SHARE = 0.1
#: Characters of text for each token of training: about one pass over it.
CHARACTERS_PER_TOKEN = 5
#: Below so many paragraphs there is nothing to hold out and ask about.
LEAST_PARAGRAPHS = 200
#: Text with fewer blanks than one in so many characters is written without blanks: its words are its letters.
LETTERS_PER_BLANK = 20
FULL = 1 << 32


@dataclass(frozen=True, slots=True)
class TextRecipe:
    """``shuffled`` is the share of the words of every paragraph that change places with each other."""

    name: str
    shuffled: float


#: The better one before the worse one: that is what is planted.
RECIPES = (TextRecipe("clean", 0.0), TextRecipe("third", 1 / 3), TextRecipe("two-thirds", 2 / 3))
CLEAN = RECIPES[0].name


@dataclass(frozen=True, slots=True)
class RecipeFiles:
    """The text of every recipe by its name, and what none of them is trained on."""

    text: dict[str, Path]
    held_out: Path


def write_recipes(files: Sequence[Path], folder: Path, tokens: int, seed: int) -> RecipeFiles:
    """The recipes of the text in ``files``, enough for ``tokens``; what is there already is not touched."""
    paragraphs = [one for file in files for one in _paragraphs(_text(file))]
    if len(paragraphs) < LEAST_PARAGRAPHS:
        names = ", ".join(map(str, files))
        raise UserError(f"{names}: {len(paragraphs)} paragraphs; give at least {LEAST_PARAGRAPHS}")
    trained, held_out = _split(paragraphs, CHARACTERS_PER_TOKEN * tokens, seed)
    found = RecipeFiles({one.name: folder / f"{one.name}.txt" for one in RECIPES}, folder / "held_out.txt")
    _write(found.held_out, held_out)
    for recipe in RECIPES:
        rng = random.Random(f"{seed} {recipe.name}")
        _write(found.text[recipe.name], (out_of_order(one, recipe.shuffled, rng) for one in trained))
    return found


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"--corpus {file}: byte {error.start} is no UTF-8; give plain text") from error


def _paragraphs(text: str) -> list[str]:
    """Between blank lines; the lines themselves where there are no blank ones."""
    blocks = [" ".join(one.split()) for one in re.split(r"\n\s*\n", text)]
    if len(blocks) < LEAST_PARAGRAPHS:
        blocks = [line.strip() for line in text.splitlines()]
    return [one for one in blocks if one]


def _split(paragraphs: Sequence[str], characters: int, seed: int) -> tuple[list[str], list[str]]:
    """Paragraphs to train on, about so many characters of them, and all that are held out."""
    drawn = [int(sha256(f"{seed} {one}".encode()).hexdigest()[:8], 16) / FULL for one in paragraphs]
    held_out = [one for one, at in zip(paragraphs, drawn, strict=True) if at < HELD_OUT_SHARE]
    whole = sum(len(one) for one, at in zip(paragraphs, drawn, strict=True) if at >= HELD_OUT_SHARE)
    below = HELD_OUT_SHARE + (1.0 - HELD_OUT_SHARE) * min(1.0, characters / max(1, whole))
    return [one for one, at in zip(paragraphs, drawn, strict=True) if HELD_OUT_SHARE <= at < below], held_out


def out_of_order(paragraph: str, share: float, rng: random.Random) -> str:
    """``paragraph`` with that share of its words, drawn by ``rng``, in an order drawn by ``rng``.

    >>> out_of_order("one two three four five six", 0.5, random.Random(0))
    'four two three six five one'
    """
    between = " " if paragraph.count(" ") * LETTERS_PER_BLANK >= len(paragraph) else ""
    words = paragraph.split(" ") if between else list(paragraph)
    places = sorted(rng.sample(range(len(words)), round(share * len(words))))
    moved = rng.sample(places, len(places))
    changed = dict(zip(places, moved, strict=True))
    return between.join(words[changed.get(place, place)] for place in range(len(words)))


def _write(path: Path, paragraphs: Iterable[str]) -> None:
    text = "\n\n".join(paragraphs) + "\n"
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
