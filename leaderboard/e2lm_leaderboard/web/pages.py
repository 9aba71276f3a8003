"""The pages of a season as HTML: pure functions of the store, the same on the server and in an export."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from http import HTTPStatus
from itertools import pairwise
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from e2lm.chart import CATEGORIES, Chart, Line, Mark
from e2lm.messages import Html, ends, escaped, number, short
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
from e2lm_leaderboard.ranking.removal import RemovalShares
from e2lm_leaderboard.ranking.table import Numbers, SeasonTable, missing_numbers, other_scores, visible_results
from e2lm_leaderboard.season.season import Season
from e2lm_leaderboard.store.store import Entry, Result, Store


def team_key(name: str) -> str:
    """A name of a team as an address has it: names hold whatever can be printed.

    >>> team_key("Blue / Team")
    '680479736dc942cf'
    """
    return sha256(name.encode()).hexdigest()[:16]


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

    def team(self, name: str) -> str:
        """What a team has entered."""
        return f"/teams/{team_key(name)}"

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

    def team(self, name: str) -> str:
        """What a team has entered."""
        return f"{self._up}teams/{team_key(name)}.html"

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
    environment.globals |= {"say": say, "number": number, "ends": ends, "p_value": p_value, "moment": moment}
    return environment


#: Smaller p-values are told as being below.
LEAST_P = 0.001
#: Width of the picture of an interval, and how far from its edges it keeps.
RANGE_WIDTH, RANGE_EDGE = 120, 4
SPARK_WIDTH, SPARK_HEIGHT, LEAST_POINTS = 120, 20, 2


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


def moment(text: str) -> str:
    """A time of the season, for people.

    >>> moment("2026-12-31T23:59:59+09:00")
    '2026-12-31 14:59 UTC'
    """
    return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def sparkline(curves: Sequence[Mapping[str, Any]]) -> Html:
    """The mean curve of an entry over its tasks and series, without axes: whether it rises, and how steadily."""
    own = [curve["values"] for curve in curves if not curve.get("control")]
    lengths = {len(values) for values in own}
    if len(lengths) != 1 or lengths == {0}:
        return Html()
    means = [sum(column) / len(column) for column in zip(*own, strict=True) if None not in column]
    if len(means) < LEAST_POINTS:
        return Html()
    least, across, up = min(means), SPARK_WIDTH / (len(means) - 1), (max(means) - min(means)) or 1.0
    points = " ".join(
        f"{round(place * across, 1):g},{round(SPARK_HEIGHT - 1 - (mean - least) / up * (SPARK_HEIGHT - 2), 1):g}"
        for place, mean in enumerate(means)
    )
    label = escaped(say("spark", first=number(means[0]), last=number(means[-1])))
    return Html(
        f'<svg class="spark" viewBox="0 0 {SPARK_WIDTH} {SPARK_HEIGHT}" role="img" aria-label="{label}">'
        f'<polyline points="{points}"/></svg>'
    )


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


def ranking_page(table: SeasonTable, store: Store, link: Links, page: int = 1) -> str:
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
        sparks=_sparks(table, store, rows),
        has_page=lambda team: has_team_page(table, team),
        removal=table.removal,
        smallest=lambda key: _smallest(table.removal.get(key)),
        flags=[flag for flag in ALL_FLAGS if any(row.flag == flag for row in rows) and flag],
        short=lambda name: SHORT_NAMES.get(name, name),
        missing=missing_numbers(table, rows),
    )


def _sparks(table: SeasonTable, store: Store, rows: Sequence[RankedEntry]) -> dict[str, Html]:
    """The curve of every row, as coarse as its page shows it."""
    texts = store.details_of([row.entry.id for row in rows])
    shown = {key: _shown(table, key, json.loads(text)) for key, text in texts.items()}
    return {key: sparkline(one.get("curves", [])) for key, one in shown.items()}


def _smallest(shares: RemovalShares | None) -> str:
    """The least that changes a rank."""
    axis, share = ("", None) if shares is None else shares.smallest
    if share is not None:
        return say("share_of", share=share * 100, axis=say.word("axis", axis))
    return number(None) if shares is None else say("more_than_half")


def _left_out(shares: RemovalShares | None) -> list[str]:
    """What changes a rank, by axis."""
    found = {} if shares is None else shares.by_axis
    return [
        say("removal_none", axis=say.word("axis", axis))
        if share is None
        else say("share_of", share=share * 100, axis=say.word("axis", axis))
        for axis, share in found.items()
    ]


def has_team_page(table: SeasonTable, team: str) -> bool:
    """Whether it has more than one submission: of others the page of the submission says all."""
    return table.entered.get(team, 0) > 1


def teams_with_pages(table: SeasonTable) -> list[str]:
    """All of them."""
    return [team for team in table.entered if has_team_page(table, team)]


def team_page(
    table: SeasonTable,
    name: str,
    entries: Sequence[Entry],
    history: Mapping[str, Sequence[tuple[str, str]]],
    link: Links,
) -> str:
    """What a team has entered, the numbers that may be shown of it, and how each went on its way."""
    own = [entry for entry in entries if entry.team == name]
    values = {"name": name, "entries": own[::-1], "history": history, "shown": table.shown, "row": table.row}
    return _rendered("team.html", name, table, link, **values)


def exported_pairs(table: SeasonTable) -> list[tuple[Entry, Entry]]:
    """Neighbours in the table."""
    entries = [row.entry for row in table.rows[: EXPORTED_PAIRS + 1]]
    return list(pairwise(entries))


def submission_page(table: SeasonTable, store: Numbers, entry: Entry, link: Links) -> str:
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
        removal=_left_out(table.removal.get(entry.id)),
        own_try=table.tries.get(entry.id, 0),
        about=details.get("about"),
        results=sorted(results, key=lambda one: _place_of(one, table.season)),
        details=shown,
        charts=charts,
        curves=curve_numbers(details.get("curves", [])),
        has_page=has_team_page(table, entry.team),
    )


def _place_of(result: Result, season: Season) -> tuple[int, int, list[tuple[int, str]]]:
    """The score that ranks comes first, then the season's; series by size where names are numbers."""
    first = (ABOVE_NULL, ANSWER_SHARE, NULL_SCORE, *season.all_scores)
    place = first.index(result.score) if result.score in first else len(first)
    parts = [(int(part), "") if part.isdecimal() else (-1, part) for part in NUMBERS.split(result.series) if part]
    return bool(result.series), place, parts


def shown_details(table: SeasonTable, store: Numbers, entry: Entry) -> dict[str, Any]:
    """What a page shows beside the numbers; before the end as coarse as they are, and nothing where they are hidden."""
    return _shown(table, entry.id, store.details(entry.id))


def _shown(table: SeasonTable, key: str, details: dict[str, Any]) -> dict[str, Any]:
    if table.split == "private":
        return details
    if not table.tells_numbers_of(key):
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


def curve_numbers(curves: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Per task its series, and per step the value of each: what the charts draw, for whoever reads numbers."""
    found = []
    for task in dict.fromkeys(curve["task"] for curve in curves):
        own = [curve for curve in curves if curve["task"] == task]
        values = [dict(zip(curve["steps"], curve["values"], strict=True)) for curve in own]
        steps = sorted({step for curve in own for step in curve["steps"]})
        rows = [(step, [one.get(step) for one in values]) for step in steps]
        found.append({"task": task, "series": [curve["series"] for curve in own], "rows": rows})
    return found


def _hover(curve: Mapping[str, Any], x: Sequence[float]) -> list[str]:
    """What a pointer over each point is told: numbers alone, in every language the same."""
    series, values = curve["series"], zip(x, curve["values"], curve["low"], curve["high"], strict=True)
    return [
        "" if None in (value, low, high) else f"{series}, {short(at)}: {value:.3f} [{low:.3f}, {high:.3f}]"
        for at, value, low, high in values
    ]


def _chart(name: str, task: str, curves: Sequence[Mapping[str, Any]]) -> Chart:
    has_tokens = all(token is not None for curve in curves for token in curve["tokens"])

    def across(curve: Mapping[str, Any]) -> Sequence[float]:
        found: Sequence[float] = curve["tokens" if has_tokens else "steps"]
        return found

    lines = [
        Line(
            say("control", series=curve["series"]) if curve.get("control") else curve["series"],
            across(curve),
            _finite(curve["values"]),
            _finite(curve["low"]),
            _finite(curve["high"]),
            CATEGORIES[place % len(CATEGORIES)],
            dashed=bool(curve.get("control")),
            hover=_hover(curve, across(curve)),
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
