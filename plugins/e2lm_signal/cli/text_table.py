"""Tables for a terminal: at most 100 columns whatever the names, cut into several where the numbers need more.

A name that is too long goes on below itself, in its own column, so that two of them stay two.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from itertools import accumulate

from e2lm.messages import filled
from e2lm.messages import width as columns_of

#: Columns of a terminal.
WIDTH = 100
#: A column of names is not made narrower than this.
LEAST_NAME = 12
_GAP = 2
#: Where a line with full-width letters may end: behind a blank, and behind such a letter that no closing sign follows.
_BREAK = re.compile(r"\s|[\u3000-\u9fff\uff00-\uffef](?![、。，．：；！？」』）)\]%])")


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]], names: int, width: int = WIDTH) -> list[str]:
    """Lines of at most ``width`` characters: the first ``names`` columns to the left, numbers to the right.

    >>> text_table(["task", "acc"], [["arc", "0.25"], ["a_very_long_name", "0.5"]], 1, 18)
    ['task           acc', 'arc           0.25', 'a_very_long_   0.5', 'name']
    """
    columns = list(zip(head, *rows, strict=True))
    keys, numbers = columns[:names], columns[names:]
    wide = [max(columns_of(cell) for cell in (*_pieces(column[0]), *column[1:])) for column in numbers]
    lines: list[str] = []
    for block in _blocks(wide, width - names * (LEAST_NAME + _GAP)):
        needed = sum(wide[place] + _GAP for place in block)
        narrow = _name_widths([max(map(columns_of, column)) for column in keys], width - needed)
        shown = [*keys, *(numbers[place] for place in block)]
        widths = [*narrow, *(wide[place] for place in block)]
        lines += [""] if lines else []
        for row in zip(*shown, strict=True):
            lines += _row(row, widths, names)
    return lines


def wrapped(lines: Sequence[str], width: int = WIDTH) -> list[str]:
    """``lines``, each that is too long in several; what goes on stands further in, and no word is cut but a long one.

    >>> wrapped(["advice: more items", "ok"], 12)
    ['advice: more', '  items', 'ok']
    >>> wrapped(["早い判断は当たります。"], 14)
    ['早い判断は当た', '  ります。']
    """
    return [part for line in lines for part in _parts(line, width)]


def _parts(line: str, width: int) -> list[str]:
    inner = " " * (len(line) - len(line.lstrip()) + 2)
    if columns_of(line) <= width:
        return [line]
    if columns_of(line) == len(line):
        return textwrap.wrap(line, width, subsequent_indent=inner, break_on_hyphens=False)
    lines: list[str] = []
    while columns_of(line) > width:
        room = len(_head(line, width))
        ends = [at.end() for at in _BREAK.finditer(line[: room + 1]) if len(inner) < at.end() <= room]
        cut = ends[-1] if ends else room
        lines.append(line[:cut].rstrip())
        line = inner + line[cut:].lstrip()
    return [*lines, line]


def _head(text: str, columns: int) -> str:
    """The longest beginning of ``text`` that has so many columns at most, a letter at least."""
    wide = accumulate(columns_of(letter) for letter in text)
    return text[: max(sum(one <= columns for one in wide), 1)]


def _pieces(header: str) -> list[str]:
    """A header in two lines where it is long: ``decision_`` and ``accuracy``."""
    parts = re.findall(r"[^_ ]+_?", header)
    if len(header) <= 9 or len(parts) < 2:
        return [header]
    return min(
        (["".join(parts[:cut]), "".join(parts[cut:])] for cut in range(1, len(parts))),
        key=lambda halves: max(map(len, halves)),
    )


def _blocks(wide: Sequence[int], room: int) -> list[list[int]]:
    blocks: list[list[int]] = [[]]
    left = room
    for place, needed in enumerate(wide):
        if blocks[-1] and left < needed + _GAP:
            blocks.append([])
            left = room
        blocks[-1].append(place)
        left -= needed + _GAP
    return blocks


def _name_widths(natural: Sequence[int], room: int) -> list[int]:
    """The widest column gives first, until the columns and the gaps between them fit."""
    widths = list(natural)
    while sum(widths) + _GAP * (len(widths) - 1) > room and max(widths) > LEAST_NAME - 1:
        widths[widths.index(max(widths))] -= 1
    return widths


def _row(cells: Sequence[str], widths: Sequence[int], names: int) -> list[str]:
    split = [
        _wrapped(cell, width) if place < names else _number_lines(cell, width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    lines = []
    for level in range(max(map(len, split))):
        parts = [
            filled(column[level] if level < len(column) else "", width, right=place >= names)
            for place, (column, width) in enumerate(zip(split, widths, strict=True))
        ]
        lines.append((" " * _GAP).join(parts).rstrip())
    return lines


def _number_lines(cell: str, width: int) -> list[str]:
    return [cell] if columns_of(cell) <= width else _pieces(cell)


def _wrapped(name: str, width: int) -> list[str]:
    """The name in lines, broken behind ``_``, ``-``, ``/`` or a blank where that is in the second half of a line."""
    lines = []
    while columns_of(name) > width:
        room = len(_head(name, width))
        ends = [at.end() for at in re.finditer(r"[-_/,:. ]", name[:room])]
        cut = ends[-1] if ends and ends[-1] > room / 2 else room
        lines.append(name[:cut])
        name = name[cut:]
    return [*lines, name]
