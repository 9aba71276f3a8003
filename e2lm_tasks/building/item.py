"""One multiple-choice item, and the limits that all kinds of items share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from e2lm_tasks.building.prose import Prose

CHOICES = 4

#: Prompt and longest choice together, in UTF-8: about 170 tokens of a byte-level BPE of 4,096 tokens trained on
#: English (3.5 bytes per token), and under 256 tokens still where its merges fit worse.
MAX_ITEM_BYTES = 600

MIN_ITEMS = 100
MAX_ITEMS = 15_000


@dataclass(frozen=True, slots=True)
class Item:
    """A prompt, the true choice and the wrong ones."""

    context: str
    true: str
    wrong: tuple[str, ...]

    def written(self, prose: Prose) -> Item:
        """The item as its script writes it."""
        return Item(prose.written(self.context), prose.written(self.true), tuple(map(prose.written, self.wrong)))

    @property
    def fits(self) -> bool:
        """Whether prompt and longest choice stay within :data:`MAX_ITEM_BYTES`, and all choices differ."""
        choices = (self.true, *self.wrong)
        longest = max(len(choice.encode("utf-8")) for choice in choices)
        return len(self.context.encode("utf-8")) + 1 + longest <= MAX_ITEM_BYTES and len(set(choices)) == len(choices)


def occurs_in(needle: str, text: str) -> bool:
    """Whether ``needle`` is anywhere in ``text``, whatever the case: part of a longer word counts too."""
    return needle.casefold() in text.casefold()


def placed_rows(items: Sequence[Item], rng: np.random.Generator, choices: int = CHOICES) -> list[dict[str, Any]]:
    """One JSONL row per item; the true choice is at every position equally often (to within one)."""
    positions = balanced_positions(len(items), rng, choices)
    rows = []
    for item, position in zip(items, positions, strict=True):
        shown = list(item.wrong)
        shown.insert(position, item.true)
        rows.append({"context": item.context, "choices": shown, "gold": position})
    return rows


def balanced_positions(count: int, rng: np.random.Generator, choices: int = CHOICES) -> list[int]:
    """``count`` positions among ``choices``, each equally often to within one, in random order."""
    return [int(position) for position in rng.permutation(np.arange(count) % choices)]


def taken(candidates: Iterable[Item | None], count: int) -> list[Item]:
    """The first ``count`` candidates that are items and fit; fewer where they run out."""
    items: list[Item] = []
    for candidate in candidates:
        if candidate is not None and candidate.fits:
            items.append(candidate)
            if len(items) == count:
                break
    return items
