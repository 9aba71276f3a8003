"""The pages of a season as HTML: pure functions of the store, the same on the server and in an export."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from itertools import pairwise
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from e2lm.chart import CATEGORIES, Chart, Line, Mark
from e2lm.messages import Html, ends, escaped, number
from e2lm.page import document, figures
from e2lm_leaderboard.messages import say
from e2lm_leaderboard.ranking.ranking import (
    ABOVE_NULL,
    ALL_FLAGS,
    ANSWER_SHARE,
    NULL_SCORE,
    PairTest,
    RankedEntry,
    pair_test,
    rounded,
)
from e2lm_leaderboard.ranking.table import SeasonTable, missing_numbers, other_scores, visible_results
from e2lm_leaderboard.season.season import Season
from e2lm_leaderboard.store.store import Entry, Result, Store


@dataclass(frozen=True, slots=True)
class ServerLinks:
    """Paths of the server."""

    is_live: bool = True

    def ranking(self, page: int = 1) -> str:
        """The table."""
        return "/" if page == 1 else f"/?page={page}"

    def submission(self, key: str) -> str:
        """A submission."""
        return f"/submissions/{key}"

    def compare(self, a: str, b: str) -> str:
        """Two of them."""
        return f"/compare?a={a}&b={b}"

    def compare_form(self) -> str:
        """Where the form for two leads."""
        return "/compare"

    def status(self) -> str:
        """The queue."""
        return "/status"

    def submit(self) -> str:
        """The form."""
        return "/submit"

    def file(self, name: str) -> str:
        """A file beside the pages."""
        return f"/{name}"


@dataclass(frozen=True, slots=True)
class FileLinks:
    """Relative paths within an export, from a page ``depth`` folders deep: they work from file:// too."""

    depth: int = 0
    is_live: bool = False

    @property
    def _up(self) -> str:
        return "../" * self.depth

    def ranking(self, page: int = 1) -> str:
        """The table."""
        return f"{self._up}index.html" if page == 1 else f"{self._up}page-{page}.html"

    def submission(self, key: str) -> str:
        """A submission."""
        return f"{self._up}submissions/{key}.html"

    def compare(self, a: str, b: str) -> str:
        """Two of them."""
        return f"{self._up}compare/{a[:16]}-{b[:16]}.html"

    def compare_form(self) -> str:
        """There is no form in an export."""
        return self.ranking()

    def status(self) -> str:
        """The queue."""
        return f"{self._up}status.html"

    def submit(self) -> str:
        """There is no form in an export."""
        return self.ranking()

    def file(self, name: str) -> str:
        """A file beside the pages."""
        return f"{self._up}{name}"


Links = ServerLinks | FileLinks


ROWS_PER_PAGE = 200
STATUS_ROWS = 500
#: Heads of columns; other scores go by their own names.
SHORT_NAMES = {
    ANSWER_SHARE: "Answers",
    NULL_SCORE: "Null",
    "e2lmc_sq": "SQ",
    "e2lmc_rc": "RC",
    "e2lmc_cs": "CS",
    "e2lmc_global": "Global",
}
#: Pairs of neighbours in the table that an export compares.
EXPORTED_PAIRS = 20
NUMBERS = re.compile(r"(\d+)")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("e2lm_leaderboard.web", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=False,
        auto_reload=False,
    )
    environment.globals |= {"say": say, "number": number, "ends": ends, "p_value": p_value}
    return environment


#: Smaller p-values are told as being below.
LEAST_P = 0.001
#: Width of the picture of an interval, and how far from its edges it keeps.
RANGE_WIDTH, RANGE_EDGE = 120, 4


def p_value(p: float | None) -> str:
    """A p-value; none is zero.

    >>> p_value(0.25), p_value(1e-9)
    ('0.250', '< 0.001')
    """
    return say("p_below", least=number(LEAST_P)) if p is not None and p < LEAST_P else number(p)


def range_pictures(rows: Sequence[RankedEntry]) -> Callable[[Result], Html]:
    """Draws the interval of a row on the scale of all of them."""
    found = [one for row in rows for one in (row.result.low, row.result.value, row.result.high) if one is not None]
    least, most = min(found, default=0.0), max(found, default=1.0)
    scale = (RANGE_WIDTH - 2 * RANGE_EDGE) / ((most - least) or 1.0)

    def picture(result: Result) -> Html:
        if result.value is None:
            return Html()
        ends_of = (result.value if one is None else one for one in (result.low, result.value, result.high))
        low, value, high = (round(RANGE_EDGE + (one - least) * scale, 1) for one in ends_of)
        label = escaped(ends(result) if result.low is not None else number(result.value))
        return Html(
            f'<svg class="range" viewBox="0 0 {RANGE_WIDTH} 14" role="img" aria-label="{label}">'
            f'<line x1="{low}" x2="{high}" y1="7" y2="7"/><circle cx="{value}" cy="7" r="3"/></svg>'
        )

    return picture


def page_count(table: SeasonTable) -> int:
    """Pages of the ranking."""
    return max(1, -(-len(table.rows) // ROWS_PER_PAGE))


def _rendered(template: str, title: str, table: SeasonTable, link: Links, **values: Any) -> str:
    """A page of the season; ``title`` names it in its tab."""
    shown = {"split": table.split, "head": table.head, "version": table.version, "signed": table.signed, **values}
    return _document(template, title, table.season, link, shown)


def _document(template: str, title: str, season: Season, link: Links, values: Mapping[str, Any]) -> str:
    body = _environment().get_template(template).render(season=season, link=link, **values)
    head = (
        f'<link rel="icon" href="data:,">\n<link rel="stylesheet" href="{escaped(link.file("style.css"))}">\n'
        f'<script src="{escaped(link.file("sort.js"))}" defer></script>'
    )
    tab = say("tab", page=title, season=season.title) if title else season.title
    return document(tab, Html(head), Html(body), say.language)


def error_page(season: Season, link: Links, status: int, detail: str) -> str:
    """Why a page is not there; without the head of the log, which may be what cannot be read."""
    heading = say("error", status=status, phrase=say.word("phrase", HTTPStatus(status).phrase))
    values = {
        "head": None,
        "signed": None,
        "heading": heading,
        "detail": say("as_sentence", detail=f"{detail[:1].upper()}{detail[1:]}"),
    }
    return _document("error.html", heading, season, link, values)


def ranking_page(table: SeasonTable, link: Links, page: int = 1) -> str:
    """The table, :data:`ROWS_PER_PAGE` rows a page."""
    rows = table.rows[(page - 1) * ROWS_PER_PAGE : page * ROWS_PER_PAGE]
    return _rendered(
        "ranking.html",
        "",
        table,
        link,
        rows=rows,
        page=page,
        pages=page_count(table),
        pairs=exported_pairs(table),
        other=table.other,
        others=other_scores(table),
        range=range_pictures(rows),
        removal=table.removal,
        flags=[flag for flag in ALL_FLAGS if any(row.flag == flag for row in rows) and flag],
        short=lambda name: SHORT_NAMES.get(name, name),
        missing=missing_numbers(table, rows),
    )


def exported_pairs(table: SeasonTable) -> list[tuple[Entry, Entry]]:
    """Neighbours in the table."""
    entries = [row.entry for row in table.rows[: EXPORTED_PAIRS + 1]]
    return list(pairwise(entries))


def submission_page(table: SeasonTable, store: Store, entry: Entry, link: Links) -> str:
    """One submission, in whatever state."""
    details = shown_details(table, store, entry)
    results = visible_results(table, store, entry)
    shown = {"tasks": [], "samples": [], "environment": {}, **details}
    charts = task_charts({entry.name: details.get("curves", [])})
    return _rendered(
        "submission.html",
        entry.name,
        table,
        link,
        entry=entry,
        row=table.row(entry.id),
        removal=table.removal.get(entry.id),
        own_try=table.tries.get(entry.id, 0),
        about=details.get("about"),
        results=sorted(results, key=lambda one: _place_of(one, table.season)),
        details=shown,
        charts=charts,
    )


def _place_of(result: Result, season: Season) -> tuple[int, int, list[tuple[int, str]]]:
    """The score that ranks comes first, then the season's; series by size where names are numbers."""
    first = (ABOVE_NULL, ANSWER_SHARE, NULL_SCORE, *season.all_scores)
    place = first.index(result.score) if result.score in first else len(first)
    parts = [(int(part), "") if part.isdecimal() else (-1, part) for part in NUMBERS.split(result.series) if part]
    return bool(result.series), place, parts


def shown_details(table: SeasonTable, store: Store, entry: Entry) -> dict[str, Any]:
    """What a page shows beside the numbers; before the end as coarse as they are, and nothing where they are hidden."""
    details = store.details(entry.id)
    if table.split == "private":
        return details
    if not table.tells_numbers_of(entry.id):
        return {name: details[name] for name in ("environment", "about") if name in details}
    step = table.season.ladder_step
    curves = [
        {**one, **{name: [_coarse(value, step) for value in one[name]] for name in ("values", "low", "high")}}
        for one in details.get("curves", [])
    ]
    return {**details, "curves": curves}


def _coarse(value: float | None, step: float) -> float | None:
    return None if value is None else rounded(value, step)


def comparison(table: SeasonTable, store: Store, a: Entry, b: Entry) -> PairTest | None:
    """The test of two submissions on the numbers that are shown of them, and on nothing finer."""

    def by_series(entry: Entry) -> dict[str, dict[str, Result]]:
        found: dict[str, dict[str, Result]] = {}
        for one in visible_results(table, store, entry):
            found.setdefault(one.score, {})[one.series] = one
        return found

    first, second = by_series(a), by_series(b)
    score = ABOVE_NULL if ABOVE_NULL in first and ABOVE_NULL in second else table.season.ranking_score
    return pair_test(first.get(score, {}), second.get(score, {}))


def compare_page(table: SeasonTable, store: Store, a: Entry, b: Entry, link: Links) -> str:
    """Two submissions side by side."""
    curves = {
        one.name if a.name != b.name else one.id[:8]: shown_details(table, store, one).get("curves", [])
        for one in (a, b)
    }
    test = comparison(table, store, a, b)
    title = say("against", first=a.name, second=b.name)
    return _rendered("compare.html", title, table, link, a=a, b=b, test=test, charts=task_charts(curves))


def status_page(table: SeasonTable, store: Store, link: Links) -> str:
    """All submissions and where they are."""
    entries = store.entries()
    newest = entries[::-1][:STATUS_ROWS]
    counts = ", ".join(
        say("count_of_state", count=count, state=say.word("state", state))
        for state, count in Counter(entry.state for entry in entries).items()
    )
    values = {"entries": newest, "counts": counts, "shown": len(newest), "total": len(entries)}
    return _rendered("status.html", say("status"), table, link, **values)


def submit_page(table: SeasonTable, link: Links, error: str = "", findings: Sequence[str] = ()) -> str:
    """The form, with what was wrong with the last try."""
    return _rendered("submit.html", say("submit"), table, link, error=error, findings=findings)


def task_charts(curves_of: Mapping[str, Sequence[Mapping[str, Any]]]) -> Html:
    """One chart per submission and task: a line with its band per series, and the chance level; empty for none."""
    charts = [
        _chart(name, task, [curve for curve in curves if curve["task"] == task])
        for name, curves in curves_of.items()
        for task in dict.fromkeys(curve["task"] for curve in curves)
    ]
    return figures(charts) if charts else Html()


def _chart(name: str, task: str, curves: Sequence[Mapping[str, Any]]) -> Chart:
    has_tokens = all(token is not None for curve in curves for token in curve["tokens"])
    lines = [
        Line(
            say("control", series=curve["series"]) if curve.get("control") else curve["series"],
            curve["tokens"] if has_tokens else curve["steps"],
            _finite(curve["values"]),
            _finite(curve["low"]),
            _finite(curve["high"]),
            CATEGORIES[place % len(CATEGORIES)],
            dashed=bool(curve.get("control")),
        )
        for place, curve in enumerate(curves)
    ]
    chance, metric = curves[0]["chance"], curves[0]["metric"]
    marks = () if chance is None else (Mark(say("chance"), chance),)
    description = say("chart_description", name=name, task=task, metric=metric, count=len(curves))
    axis = say("tokens" if has_tokens else "step")
    return Chart(say("chart", name=name, task=task), axis, metric, lines, marks, description=description)


def _finite(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]
