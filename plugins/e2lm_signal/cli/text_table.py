"""Tables for a terminal: at most 100 columns whatever the names, cut into several where the numbers need more.

A name that is too long goes on below itself, in its own column, so that two of them stay two.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

#: Columns of a terminal.
WIDTH = 100
#: A column of names is not made narrower than this.
LEAST_NAME = 12
_GAP = 2


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]], names: int, width: int = WIDTH) -> list[str]:
    """Lines of at most ``width`` characters: the first ``names`` columns to the left, numbers to the right.

    >>> text_table(["task", "acc"], [["arc", "0.25"], ["a_very_long_name", "0.5"]], 1, 18)
    ['task           acc', 'arc           0.25', 'a_very_long_   0.5', 'name']
    """
    columns = list(zip(head, *rows, strict=True))
    keys, numbers = columns[:names], columns[names:]
    wide = [max(len(cell) for cell in (*_pieces(column[0]), *column[1:])) for column in numbers]
    lines: list[str] = []
    for block in _blocks(wide, width - names * (LEAST_NAME + _GAP)):
        needed = sum(wide[place] + _GAP for place in block)
        narrow = _name_widths([max(map(len, column)) for column in keys], width - needed)
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
    """
    return [part for line in lines for part in _parts(line, width)]


def _parts(line: str, width: int) -> list[str]:
    inner = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.wrap(line, width, subsequent_indent=inner, break_on_hyphens=False) if len(line) > width else [line]


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
            (column[level] if level < len(column) else "").ljust(width)
            if place < names
            else (column[level] if level < len(column) else "").rjust(width)
            for place, (column, width) in enumerate(zip(split, widths, strict=True))
        ]
        lines.append((" " * _GAP).join(parts).rstrip())
    return lines


def _number_lines(cell: str, width: int) -> list[str]:
    return [cell] if len(cell) <= width else _pieces(cell)


def _wrapped(name: str, width: int) -> list[str]:
    """The name in lines, broken behind ``_``, ``-``, ``/`` or a blank where that is in the second half of a line."""
    lines = []
    while len(name) > width:
        ends = [at.end() for at in re.finditer(r"[-_/,:. ]", name[:width])]
        cut = ends[-1] if ends and ends[-1] > width / 2 else width
        lines.append(name[:cut])
        name = name[cut:]
    return [*lines, name]
