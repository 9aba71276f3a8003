"""What an action or verb found: shown at the terminal, printed by ``--json``, taken as a table, seen in a notebook."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

from e2lm.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


def _no_pictures() -> Sequence[str]:
    return ()


@dataclass(frozen=True, slots=True)
class Picture:
    """Charts as a notebook shows them; ``str`` is one SVG element after the other."""

    elements: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(self.elements)

    def _repr_html_(self) -> str:
        return str(self)


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found: ``data`` of JSON's types, as ``--json`` prints it, and the same in words.

    ``text`` gives the words, ``notes`` are said beside them, a line each. ``rows`` is the key of the list in ``data``
    that is the answer's table; empty where ``data`` is such a list, or one row; ``table`` stands for it where the table
    is more than the words say. ``pictures`` draws what there is to see, an SVG element each. ``code`` is the exit code.
    """

    data: Any
    text: Callable[[], str]
    notes: tuple[str, ...] = ()
    rows: str = ""
    pictures: Callable[[], Sequence[str]] = _no_pictures
    table: Callable[[], pd.DataFrame] | None = None
    code: int = 0
    indent: int | None = 1
    ensure_ascii: bool = True

    def json(self) -> Any:
        """What ``--json`` prints, as Python's own types; a copy.

        >>> Answer({"tasks": 3}, lambda: "three tasks").json()
        {'tasks': 3}
        """
        return json.loads(self._dumped())

    def to_frame(self) -> pd.DataFrame:
        """The table of the answer: what is nested in a row has a column each, ``scores.snr.value``.

        >>> Answer({"rows": [{"a": {"b": 1}}]}, str, rows="rows").to_frame().to_dict("list")
        {'a.b': [1]}
        """
        import pandas as pd

        if self.table is not None:
            return self.table()
        data = self.json()
        return pd.json_normalize(data[self.rows] if self.rows else data)

    def plot(self) -> Picture:
        """The charts of the answer; a :class:`e2lm.UserError` where there is nothing to see."""
        elements = tuple(self.pictures())
        if not elements:
            raise UserError("there is no chart of this answer; to_frame() gives its table")
        return Picture(elements)

    def show(self, arguments: Namespace) -> int:
        """Print it as the command does, with ``--json`` or without; returns the exit code."""
        if arguments.json:
            print(self._dumped())
        elif words := self.text():
            print(words)
        for note in dict.fromkeys(self.notes):
            print(f"note: {note}", file=sys.stderr if arguments.json else sys.stdout)
        return self.code

    def _dumped(self) -> str:
        return json.dumps(self.data, indent=self.indent, allow_nan=False, ensure_ascii=self.ensure_ascii)

    def __str__(self) -> str:
        return "\n".join([self.text(), *(f"note: {note}" for note in dict.fromkeys(self.notes))])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        from e2lm.page import preformatted

        return str(preformatted(str(self)))


def printed_by(function: Callable[..., object], *arguments: Any) -> Callable[[], str]:
    """The text that ``function`` prints, for an :class:`Answer`.

    >>> printed_by(print, "hello")()
    'hello'
    """

    def text() -> str:
        written = StringIO()
        with redirect_stdout(written):
            function(*arguments)
        return written.getvalue().removesuffix("\n")

    return text


def finite(value: Any) -> Any:
    """``value`` for JSON: numbers that are not finite become None, tuples lists, keys text.

    >>> finite({1: (0.5, float("inf"))})
    {'1': [0.5, None]}
    """
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float):
        return value if value - value == 0.0 else None
    return value
