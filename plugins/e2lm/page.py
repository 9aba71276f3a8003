"""One HTML page for every report: a shell, a style, and the parts that reports are made of.

A page is one file that loads nothing from anywhere, reads well on a telephone and on a screen, in light and dark, and
has the same bytes for the same parts. Text is escaped; only :class:`e2lm.messages.Html` is put in as it is.

>>> from e2lm.chart import Line
>>> page = Page("Which seed won?", [
...     "The second, by a hair.",
...     section("Scores"),
...     table("scores", ["seed", "accuracy"], [["1", "0.41"], ["2", "0.43"]], numbers={1}),
...     figures([Chart("accuracy", "step", "accuracy", [Line("seed 2", [1, 2], [0.40, 0.43])])]),
... ])
>>> page.html().startswith('<!doctype html>'), page.html().count("<svg")
(True, 1)
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from html import escape

from e2lm.chart import Chart, svg
from e2lm.messages import ENGLISH, Html, escaped

#: Of every report, and the first part of what our web pages are served with.
STYLE = """\
:root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e; --line: #d1d9e0; --paper: #ffffff; --band: #f6f8fa;
  --link: #0969da; --good: #1a7f37; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --soft: #9198a1; --line: #30363d; --paper: #0d1117; --band: #161b22; --link: #4493f8;
    --good: #3fb950; }
}
* { box-sizing: border-box; }
body { margin: 0; font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); }
main { max-width: 84rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0; } h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; }
h1, h2, p, li { overflow-wrap: anywhere; } p, li { max-width: 52rem; }
a { color: var(--link); } code { font-size: .9em; }
.soft, small, figcaption { color: var(--soft); } .good { color: var(--good); }
.charts, .scroll { margin: 1rem 0; } .scroll { overflow-x: auto; }
.scroll:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .7rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
thead th { border-bottom-width: 2px; vertical-align: bottom; }
td.number, th.number { text-align: right; } td.number { white-space: nowrap; } td.number wbr { white-space: normal; }
td.long { min-width: 12rem; }
pre { overflow-x: auto; font-size: .85rem; background: var(--band); padding: .6rem .8rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr)); gap: 1rem; }
figure { margin: 0; overflow-x: auto; } .charts svg { display: block; width: 100%; max-width: 34rem; height: auto; }
.drawing svg { display: block; width: 100%; min-width: 40rem; max-width: 64rem; height: auto; }
@media print { figure, tr { break-inside: avoid; } }
"""
#: Text in a cell that is longer than so many characters is given room to be read.
LONG_CELL = 30


@dataclass(frozen=True, slots=True)
class Page:
    """A report: its heading, its parts in order, the title of its tab (the heading), and the language of its texts.

    A part is :class:`Html`, such as the functions of this module give, or plain text, which is a paragraph.
    """

    heading: str
    parts: Sequence[str]
    title: str = ""
    language: str = ENGLISH

    def html(self) -> str:
        """The page as the text of a file."""
        body = "\n".join([f"<h1>{escaped(self.heading)}</h1>", *map(_block, self.parts)])
        head = Html(f"<style>\n{STYLE}</style>")
        return document(self.title or self.heading, head, Html(f"<main>\n{body}\n</main>"), self.language)


def _block(part: str) -> Html:
    return part if isinstance(part, Html) else Html(f"<p>{escape(part)}</p>")


def document(title: str, head: Html, body: Html, language: str = ENGLISH) -> str:
    """The shell of every page of ours: ``head`` (styles, scripts) and ``body`` are HTML already."""
    return (
        f'<!doctype html>\n<html lang="{escape(language)}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


# -- parts ----------------------------------------------------------------------------------------------------------


def section(heading: str) -> Html:
    """The heading of what follows."""
    return Html(f"<h2>{escaped(heading)}</h2>")


def note(text: str) -> Html:
    """A paragraph that steps back: how to read what follows, what it was made with."""
    return Html(f'<p class="soft">{escaped(text)}</p>')


def strong(text: str, good: bool = False) -> Html:
    """Words that stand out, in green where they say that something went well."""
    return Html(f'<strong class="good">{escaped(text)}</strong>' if good else f"<strong>{escaped(text)}</strong>")


def preformatted(text: str) -> Html:
    """Text whose lines and blanks are kept."""
    return Html(f"<pre>{escaped(text)}</pre>")


def table(
    label: str, head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Collection[int] = frozenset()
) -> Html:
    """A table that scrolls in a box of its own, named ``label`` for those who hear it; ``numbers`` are its columns of
    numbers, counted from 0. The last cell of a row that is short spans the rest; ``ValueError`` where one is too long.
    """
    cells = "".join(f'<th scope="col"{_kind(place in numbers)}>{escaped(one)}</th>' for place, one in enumerate(head))
    body = "\n".join(_row(row, len(head), numbers) for row in rows)
    return Html(
        f"{_scroll_box(label)}<table>\n<thead><tr>{cells}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>"
    )


def _row(cells: Sequence[str], columns: int, numbers: Collection[int]) -> str:
    if not 0 < len(cells) <= columns:
        raise ValueError(f"a row of {len(cells)} cells in a table of {columns} columns: {list(cells)}")
    spans = [1] * (len(cells) - 1) + [columns - len(cells) + 1]
    shown = [_cell(one, place in numbers, spans[place]) for place, one in enumerate(cells)]
    return f"<tr>{''.join(shown)}</tr>"


def _cell(text: str, is_number: bool, span: int) -> str:
    wide = f' colspan="{span}"' if span > 1 else ""
    if is_number and span == 1:  # a value and its interval may stand on two lines
        return f"<td{_kind(True)}>{escaped(text).replace(' [', ' <wbr>[')}</td>"
    return f"<td{wide}{_kind(False, len(_plain(text)) > LONG_CELL)}>{escaped(text)}</td>"


def _kind(is_number: bool, is_long: bool = False) -> str:
    return ' class="number"' if is_number else ' class="long"' if is_long else ""


def _plain(cell: str) -> str:
    return re.sub("<[^>]*>", "", cell) if isinstance(cell, Html) else cell


def _scroll_box(label: str) -> str:
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">'


def figures(charts: Iterable[Chart]) -> Html:
    """Charts beside each other where there is room; each says by its description or title what it shows."""
    shown = "".join(f"<figure>{svg(chart)}</figure>\n" for chart in charts)
    return Html(f'<div class="charts">\n{shown}</div>')


def drawing(svg_element: str, description: str) -> Html:
    """An ``<svg>`` that somebody else drew, across the page; ``description`` is what those are told who cannot see it.

    ``ValueError`` where the text is no such element.
    """
    if not svg_element.startswith("<svg "):
        raise ValueError(f"a drawing begins with '<svg ', found {svg_element[:20]!r}")
    named = f'<svg role="img" aria-label="{escape(description)}" {svg_element.removeprefix("<svg ")}'
    return Html(f'{_scroll_box(description)}<figure class="drawing">{named}</figure></div>')


_TOGGLES = """\
const keys = document.querySelectorAll("[data-key]");
const toggle = (key) => {
  const name = key.dataset.key, hide = key.getAttribute("aria-pressed") === "true";
  for (const one of keys) if (one.dataset.key === name) {
    one.setAttribute("aria-pressed", String(!hide)); one.style.opacity = hide ? 0.35 : 1;
  }
  for (const one of document.querySelectorAll("[data-line]"))
    if (one.dataset.line === name) one.style.display = hide ? "none" : "";
};
for (const key of keys) {
  key.setAttribute("role", "button"); key.setAttribute("tabindex", "0"); key.setAttribute("aria-pressed", "true");
  key.style.cursor = "pointer";
  key.addEventListener("click", () => toggle(key));
  key.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); toggle(key); }
  });
}
"""


def toggles() -> Html:
    """A script that makes buttons of the names in legends: each hides its lines in all charts of the page.

    Of lines with texts for pointers, and for a report on a disk: our web pages allow no script in a page. Without it
    every chart stays as it is drawn.
    """
    return Html(f"<script>\n{_TOGGLES}</script>")
