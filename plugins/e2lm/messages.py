"""What people read: catalogues of sentences, English and translations side by side, and numbers in one form.

Each package keeps its English sentences in one file beside its reports, as one :class:`Catalogue` named ``say``; a
plugin does the same with a catalogue of its own:

>>> say_hello = Catalogue("my_plugin", {"read": "{count} {count:plural page was|pages were} read."},
...                       {"ja": {"read": "{count} ページを読みました。"}})
>>> say_hello("read", count=1)
'1 page was read.'
>>> with speaking("ja"):
...     say_hello("read", count=3)
'3 ページを読みました。'

A field is ``{name}``, or ``{name:form}`` where the form is one of Python's (``.3f``, ``,.0f``, ``+.1%``) or

* ``short``: a large number as an axis shows it (``1.2M``);
* ``plural ONE|MANY``: one of the two, by the number;
* ``list``: texts with commas between them;
* ``ends FORM``: an interval, as :func:`ends` shows it.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from html import escape
from string import Formatter
from typing import Any, Protocol
from unicodedata import combining, east_asian_width

from e2lm.errors import UserError

ENGLISH = "en"
#: Names the language of reports and pages where no :func:`speaking` does.
LANGUAGE_VARIABLE = "E2LM_LANGUAGE"

_TAG = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_MARKUP = re.compile(r"</?[a-z][^>]*>")
_chosen: ContextVar[str | None] = ContextVar("e2lm_language", default=None)


class Html(str):
    """Text that is HTML already; :func:`escaped`, Jinja and :mod:`e2lm.page` put it in as it is, all else escaped."""

    __slots__ = ()

    def __html__(self) -> str:
        return self


def escaped(text: str) -> Html:
    """``text`` as HTML; what is HTML already stays as it is.

    >>> escaped("a < b"), escaped(Html("<b>a</b>"))
    ('a &lt; b', '<b>a</b>')
    """
    return text if isinstance(text, Html) else Html(escape(text))


# -- which language -------------------------------------------------------------------------------------------------


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Every catalogue speaks ``language`` (a tag such as ``ja``) inside the block, in this thread or task alone."""
    before = _chosen.set(_checked(language, "speaking"))
    try:
        yield
    finally:
        _chosen.reset(before)


def wanted_language() -> str:
    """The tag of :func:`speaking`, of ``E2LM_LANGUAGE``, or ``en``; :class:`UserError` where it is no tag."""
    return _chosen.get() or _checked(os.environ.get(LANGUAGE_VARIABLE) or ENGLISH, LANGUAGE_VARIABLE)


@cache
def _checked(language: str, where: str) -> str:
    if not _TAG.fullmatch(language):
        raise UserError(f"{where}: found {language!r}; a language's tag is expected, such as en or ja")
    return language


# -- sentences ------------------------------------------------------------------------------------------------------


#: A template taken apart: text, and the name and form of the field behind it (none at the end).
_Pieces = tuple[tuple[str, str | None, str], ...]


class Catalogue:
    """The sentences of one package: English, and translations by language; what one lacks is said in English.

    Wrong templates, keys or fields of a translation are a ``ValueError`` where the catalogue is made, on import; a key
    or a value that is not known, or not given, is a ``LookupError`` or ``TypeError`` where it is said.
    """

    def __init__(
        self,
        package: str,
        english: Mapping[str, str],
        translations: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self.package = package
        self.english = dict(english)
        pieces = {key: self._pieces(key, template) for key, template in english.items()}
        self.fields = {key: frozenset(name for _, name, _ in one if name) for key, one in pieces.items()}
        self._said = {ENGLISH: pieces}
        for language, templates in (translations or {}).items():
            _checked(language, package)
            own = {key: self._translated(language, key, template) for key, template in templates.items()}
            self._said[language] = pieces | own

    def _pieces(self, key: str, template: str) -> _Pieces:
        where = f"{self.package}: message {key!r}: {template!r}"
        pieces = []
        for text, name, form, conversion in Formatter().parse(template):
            if name is not None and (not name.isidentifier() or conversion):
                raise ValueError(f"{where}: a field is a name in braces, found {name!r}")
            if "{" in (form or ""):
                raise ValueError(f"{where}: a form holds no field")
            pieces.append((text, name, form or ""))
        return tuple(pieces)

    def _translated(self, language: str, key: str, template: str) -> _Pieces:
        where = f"{self.package}: {language}: message {key!r}"
        if key not in self.fields:
            raise ValueError(f"{where}: there is no such message in English")
        pieces = self._pieces(key, template)
        if unknown := {name for _, name, _ in pieces if name} - self.fields[key]:
            raise ValueError(f"{where}: English has no field {', '.join(sorted(unknown))}")
        if Counter(_MARKUP.findall(template)) != Counter(_MARKUP.findall(self.english[key])):
            raise ValueError(f"{where}: its markup is not that of the English")
        return pieces

    @property
    def language(self) -> str:
        """The language it speaks now: the wanted one (``ja-JP`` finds ``ja``), or English where it has none of that."""
        wanted = wanted_language()
        return next((one for one in (wanted, wanted.partition("-")[0]) if one in self._said), ENGLISH)

    def __call__(self, key: str, /, **values: object) -> str:
        """The sentence as plain text."""
        return "".join(
            text if name is None else text + _formatted(values[name], form)
            for text, name, form in self._template(key, values)
        )

    def html(self, key: str, /, **values: object) -> Html:
        """The sentence as HTML: the template holds the markup, the values are escaped."""
        return Html(
            "".join(
                text if name is None else text + escaped(_formatted(values[name], form))
                for text, name, form in self._template(key, values)
            )
        )

    def word(self, family: str, word: str, /, **values: object) -> str:
        """What ``FAMILY.WORD`` says; the word itself where that is no message (a name that somebody else brought)."""
        key = f"{family}.{word}"
        return self(key, **values) if key in self.fields else word

    def _template(self, key: str, values: Mapping[str, object]) -> _Pieces:
        if key not in self.fields:
            raise LookupError(f"{self.package}: there is no message {key!r}")
        if values.keys() != self.fields[key]:
            wanted, given = (", ".join(sorted(names)) or "none" for names in (self.fields[key], values))
            raise TypeError(f"{self.package}: message {key!r} takes the values {wanted}; given: {given}")
        return self._said[self.language][key]


def _formatted(value: Any, form: str) -> str:
    if not form:
        return value if isinstance(value, str) else str(value)
    kind, _, rest = form.partition(" ")
    match kind:
        case "short":
            return short(value)
        case "plural":
            one, _, many = rest.partition("|")
            return one if value == 1 else many or one
        case "list":
            return say("comma").join(value)
        case "ends":
            return ends(value, rest)
    return format(value, form)


# -- numbers --------------------------------------------------------------------------------------------------------


class HasEnds(Protocol):
    """The ends of an interval, such as an :class:`e2lm.interval.Interval`; None where there is none."""

    @property
    def low(self) -> float | None: ...  # noqa: D102
    @property
    def high(self) -> float | None: ...  # noqa: D102


def number(value: float | None, form: str = ".3f") -> str:
    """A number in the ``form`` of Python's ``format``; an en dash where there is none.

    >>> number(0.12345), number(None), number(float("nan"), "+.1%"), number(-0.5, "+.0%")
    ('0.123', '–', '–', '-50%')
    """
    return say("no_number") if value is None or math.isnan(value) else format(value, form)


def ends(one: HasEnds, form: str = ".3f") -> str:
    """``LOW to HIGH``; an en dash where there is no interval."""
    if one.low is None or one.high is None:
        return say("no_number")
    return say("ends", low=number(one.low, form), high=number(one.high, form))


def interval(value: float | None, one: HasEnds, form: str = ".3f") -> str:
    """``VALUE [LOW, HIGH]``; the value alone where there is no interval."""
    if one.low is None or one.high is None:
        return number(value, form)
    return say("interval", value=number(value, form), low=number(one.low, form), high=number(one.high, form))


def short(value: float) -> str:
    """A number as an axis shows it.

    >>> short(1200000.0), short(0.25), short(0.0)
    ('1.2M', '0.25', '0')
    """
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.4g}"


def width(text: str) -> int:
    """Columns that a terminal gives ``text``: two for a full-width letter, none for a combining one.

    >>> width("acc"), width("正解率")
    (3, 6)
    """
    return sum(0 if combining(one) else 2 if east_asian_width(one) in "WF" else 1 for one in text)


def filled(text: str, columns: int, right: bool = False) -> str:
    """``text`` with blanks behind it, or before it where it goes to the ``right``, up to so many columns."""
    blanks = " " * (columns - width(text))
    return blanks + text if right else text + blanks


#: The core's own.
say = Catalogue(
    "e2lm",
    {
        "comma": ", ",
        "ends": "{low} to {high}",
        "interval": "{value} [{low}, {high}]",
        "no_number": "–",
        "nothing_to_show": "nothing to show",
    },
    {"ja": {"comma": "、", "ends": "{low}～{high}", "nothing_to_show": "表示するものがありません"}},
)
