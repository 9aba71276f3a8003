"""What the value of an option may be: numbers within bounds, and places that can be written, before any work is done.

Each is a ``type`` for :meth:`argparse.ArgumentParser.add_argument`; ``int`` and ``float`` alone let through what no
command can use: -1, nan, a number of four hundred digits.
"""

from __future__ import annotations

import errno
import math
import os
import re
from argparse import Action, ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from e2lm.errors import system_error

#: The largest number that arrays can count with.
LARGEST = 2**63 - 1


#: What stands behind a number of parameters, tokens or FLOPs: 7B, 1.4T, 125m.
MULTIPLES = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}
_WRITTEN = re.compile(
    r"\s*([+-]?(?:\d{1,3}(?:[,_ ]\d{3})+(?:\.\d*)?|\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*([kmbgt]?)\s*", re.IGNORECASE
)


def number_of(text: str) -> float:
    """The number that a person wrote: with thousands separators, or with K, M, B (or G) or T behind it.

    Raises :class:`ValueError` for anything else.

    >>> number_of("1.4T"), number_of("57,735,027"), number_of("2e9"), number_of("125m")
    (1400000000000.0, 57735027.0, 2000000000.0, 125000000.0)
    """
    found = _WRITTEN.fullmatch(text)
    if found is None:
        return float(text)
    digits, multiple = found.groups()
    return float(re.sub("[,_ ]", "", digits)) * MULTIPLES[multiple.lower()]


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number of ``least`` to ``most``, written in any way of :func:`number_of`.

    >>> Whole(1)("12"), Whole(1)("1.5M"), Whole(1)("2e3")
    (12, 1500000, 2000)
    >>> Whole(1)("0")
    Traceback (most recent call last):
    ...
    argparse.ArgumentTypeError: found 0, expected a whole number, 1 or more
    """

    least: int = 0
    most: int = LARGEST

    def __call__(self, text: str) -> int:
        """The number; an :class:`argparse.ArgumentTypeError` for anything else."""
        number = _whole(text)
        if number is None or not self.least <= number <= self.most:
            bounds = f"{self.least} or more" if self.most == LARGEST else f"{self.least} to {self.most}"
            raise ArgumentTypeError(f"found {_shown(text)}, expected a whole number, {bounds}")
        return number


def _whole(text: str) -> int | None:
    """Digits alone are exact whatever their number; None for what is no whole number."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = number_of(text)
    except ValueError:
        return None
    return int(number) if number.is_integer() else None


@dataclass(frozen=True, slots=True)
class Number:
    """A finite number within bounds: ``above`` and ``below`` are not reached, ``least`` and ``most`` may be.

    >>> Number(above=0, most=1)("0.5")
    0.5
    >>> Number(above=0, most=1)("nan")
    Traceback (most recent call last):
    ...
    argparse.ArgumentTypeError: found nan, expected a number above 0, at most 1
    """

    above: float | None = None
    least: float | None = None
    below: float | None = None
    most: float | None = None

    def __call__(self, text: str) -> float:
        """The number; an :class:`argparse.ArgumentTypeError` for anything else."""
        try:
            number = number_of(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or not self._holds(number):
            raise ArgumentTypeError(f"found {_shown(text)}, expected {self}")
        return number

    def _holds(self, number: float) -> bool:
        return (
            (self.above is None or number > self.above)
            and (self.least is None or number >= self.least)
            and (self.below is None or number < self.below)
            and (self.most is None or number <= self.most)
        )

    def __str__(self) -> str:
        bounds = [
            f"{word} {bound:g}"
            for word, bound in (
                ("above", self.above),
                ("at least", self.least),
                ("below", self.below),
                ("at most", self.most),
            )
            if bound is not None
        ]
        return f"a {'' if bounds else 'finite '}number{' ' if bounds else ''}{', '.join(bounds)}"


def _shown(text: str) -> str:
    return f"{text[:40]}..." if len(text) > 40 else text or "nothing"


#: How many of something, at least one.
COUNT = Whole(1)
#: How many of something, none allowed.
COUNT_OR_NONE = Whole(0)
#: What every generator of random numbers takes.
SEED = Whole(0, 2**32 - 1)
#: A quantity that is there: tokens, FLOPs, hours.
AMOUNT = Number(above=0)
#: A share of a whole, perhaps all of it.
PORTION = Number(above=0, most=1)
#: A share of a whole that is neither nothing nor all of it.
SHARE = Number(above=0, below=1)


#: Between two of a list: a comma that is not within brackets.
_BETWEEN = re.compile(r",(?![^(\[{]*[)\]}])")


def listed(text: str, item: Callable[[str], Any] = str) -> list[Any]:
    """What stands in ``text`` between commas, each by ``item``; a number with thousands separators is one number.

    >>> listed("acc, margin"), listed("arc (shots=5, limit=9)")
    (['acc', 'margin'], ['arc (shots=5, limit=9)'])
    >>> listed("1,000,000", AMOUNT), listed("1e9,2B", AMOUNT)
    ([1000000.0], [1000000000.0, 2000000000.0])
    """
    if item is not str:
        try:
            return [item(text)]
        except (ArgumentTypeError, ValueError):
            pass
    found = [part.strip() for part in _BETWEEN.split(text) if part.strip()]
    if not found:
        raise ArgumentTypeError("no name given; put commas or spaces between names")
    return [item(part) for part in found]


class Several(Action):
    """An option that takes several: ``--tasks a,b``, ``--tasks a b``, ``--tasks a --tasks b``; a list, ``default`` ().

    ``item`` is the type of one. With ``nargs=None`` a space ends the list where that makes sense of the line, as in
    ``e2lm eval --tasks a,b RUN``; see :class:`e2lm.command.CommandParser`.
    """

    def __init__(
        self,
        option_strings: Sequence[str],
        dest: str,
        *,
        item: Callable[[str], Any] = str,
        nargs: str | None = "+",
        default: Any = (),
        **options: Any,
    ) -> None:
        super().__init__(option_strings, dest, nargs=nargs, type=partial(listed, item=item), default=default, **options)

    def __call__(self, parser: ArgumentParser, namespace: Namespace, values: Any, option_string: Any = None) -> None:
        """Put what was typed behind what was typed before."""
        before = getattr(namespace, self.dest)
        items = values if self.nargs is None else [item for one in values for item in one]
        setattr(namespace, self.dest, self.value([*self._before(before), *items]))

    def _before(self, found: Any) -> list[Any]:
        return [] if found is self.default else [found] if isinstance(found, str) else list(found)

    def value(self, items: list[Any]) -> Any:
        """What the command gets of the items."""
        return items


def word(text: str) -> str:
    """``text`` as it is, for lists of what may have commas in it, such as names of columns.

    >>> listed("value=loss, in nats", word)
    ['value=loss, in nats']
    """
    return text


class SeveralPairs(Several):
    """Words of which the command gets one text with commas: ``--columns N=params D=tokens L=loss``."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, item=word, **options)

    def value(self, items: list[Any]) -> Any:
        """The items with commas between them."""
        return ",".join(one.rstrip(",") for one in items)


def folder_to_write(text: str) -> Path:
    """The path of a folder that is there and can be written, or could be made; nothing is made yet.

    Raises :class:`e2lm.UserError` where a file is in the way, :class:`e2lm.errors.MachineError` where the disk or the
    rights are.
    """
    path = _place_of(text)
    _require_writable(path, path)
    return path


def file_to_write(text: str) -> Path:
    """The path of a file that can be written or replaced; raises as :func:`folder_to_write` does."""
    path = _place_of(text)
    if path.is_dir():
        raise system_error(IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), text))
    _require_writable(path, path.parent)
    return path


def _place_of(text: str) -> Path:
    """As it was typed, unless a ``..`` leads out of a folder that is not there, which nobody wants to be made."""
    path = Path(text)
    ups = (Path(*path.parts[:place]) for place, part in enumerate(path.parts) if part == "..")
    return path if all(os.path.lexists(folder) for folder in ups) else path.resolve()


def _require_writable(path: Path, folder: Path) -> None:
    """What the system would say to a new file in ``folder``, asked of what is there of it."""
    there = next((place for place in (folder, *folder.parents) if os.path.lexists(place)), Path("/"))
    if not there.is_dir():
        raise system_error(NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(there)))
    if not os.access(there, os.W_OK | os.X_OK):
        code = errno.EROFS if os.statvfs(there).f_flag & os.ST_RDONLY else errno.EACCES
        raise system_error(OSError(code, os.strerror(code), str(path)))
