"""Held-out items that candidates are scored on, in two disjoint halves: one selects, the other reports.

A file holds one JSON object per line: ``{"context": ..., "continuation": ...}``, or ``{"text": ...}`` to score all of
a text. Halves are told apart by a hash of the item, so equal items never stand on both sides, whatever the file's
order. Shape suffixes: I items, T tokens of an item.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from e2lm.errors import UserError, nearest_names, one_line

ITEM_FIELDS = ("context", "continuation", "text")

#: Hash values are compared with the share as fractions of this.
HASH_RANGE = 1 << 64


@dataclass(frozen=True, slots=True)
class HeldOutItem:
    """What is given and what is scored."""

    context: str
    continuation: str

    @property
    def bytes(self) -> int:
        """UTF-8 bytes of what is scored."""
        return len(self.continuation.encode())

    @property
    def position(self) -> float:
        """A number in [0, 1) that depends on the item alone."""
        digest = sha256(f"{self.context}\0{self.continuation}".encode()).digest()
        return int.from_bytes(digest[:8]) / HASH_RANGE


@dataclass(frozen=True, slots=True)
class HeldOutSplit:
    """Items to select by, and items to report on; no item is in both."""

    selection: tuple[HeldOutItem, ...]
    report: tuple[HeldOutItem, ...]


def read_items(path: Path) -> list[HeldOutItem]:
    """The items in ``path``, each once; a :class:`UserError` names the line at fault."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; give JSON lines with context and continuation, or text") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({one_line(error)})") from error
    found: dict[HeldOutItem, None] = {}
    for number, line in enumerate(lines, start=1):
        if line.strip():
            found[_item(line, f"{path}:{number}")] = None
    if len(found) < 2:
        raise UserError(f"{path}: {len(found)} items; at least 2 are needed, one to select by and one to report on")
    return list(found)


def _item(line: str, where: str) -> HeldOutItem:
    try:
        data = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not valid JSON ({one_line(error)})") from error
    if not isinstance(data, dict):
        raise UserError(f"{where}: found {type(data).__name__}; expected an object with context and continuation")
    for field in data:
        if field not in ITEM_FIELDS:
            raise UserError(f"{where}: unknown field {field!r}. {nearest_names(field, ITEM_FIELDS)}")
    scored = data.get("continuation", data.get("text"))
    context = data.get("context", "")
    if not isinstance(scored, str) or not scored or not isinstance(context, str):
        raise UserError(f"{where}: field 'continuation' (or 'text') must be text that is not empty")
    return HeldOutItem(context, scored)


def split_items(items: Sequence[HeldOutItem], selection_share: float, limit: int | None = None) -> HeldOutSplit:
    """Items on either side of ``selection_share``, in order of their hash; at most ``limit`` on each side.

    Both sides hold at least one item: where the share would leave one empty, the nearest item crosses over.
    """
    ordered = sorted(items, key=lambda item: (item.position, item.context, item.continuation))
    border = sum(item.position < selection_share for item in ordered)
    border = min(max(border, 1), len(ordered) - 1)
    return HeldOutSplit(tuple(ordered[:border][:limit]), tuple(ordered[border:][:limit]))
