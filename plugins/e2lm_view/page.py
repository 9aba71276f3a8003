"""The page: the answer, a picture and a table for every reader, and what the script makes of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from e2lm.chart import CATEGORIES, Chart, Line, Mark
from e2lm.errors import UserError, nearest_names
from e2lm.interval import normal_quantile
from e2lm.messages import Html, escaped, number
from e2lm.page import STYLE, document, figures, note, section, strong, table
from e2lm_view.items import KEPT
from e2lm_view.messages import say
from e2lm_view.source import Seen, ViewSource

SCRIPT, OWN_STYLE = (Path(__file__).with_name(name) for name in ("view.js", "view.css"))
#: Pictures for readers without scripts.
MOST_PICTURES = 12


def file_page(source: ViewSource, samples: Sequence[str]) -> str:
    """One file with everything in it: all curves, the forecasts of all losses, and the items of ``samples``."""
    seen = source.seen()
    for task in samples:
        if task not in seen.tasks:
            raise UserError(f"--samples {task!r}: no such task. {nearest_names(task, seen.tasks)}")
    data = {
        **source.overview(),
        "curves": {task: seen.curves(task) for task in seen.tasks},
        "fans": {task: _fans(seen, task) for task in seen.tasks},
        "items": {task: _whole_items(seen, task) for task in samples},
    }
    head = Html(f"<style>\n{STYLE}{OWN_STYLE.read_text(encoding='utf-8')}</style>")
    script = Html(f"<script>\n{SCRIPT.read_text(encoding='utf-8')}</script>")
    return document(_title(source), head, Html(_body(seen, _data(data)) + script), say.language)


def served_page(source: ViewSource) -> str:
    """The same for a server: the script asks for what is looked at."""
    links = '<link rel="stylesheet" href="/style.css">\n<link rel="icon" href="data:,">\n'
    head = Html(f'{links}<script src="/view.js" defer></script>')
    return document(
        _title(source), head, Html(_body(source.seen(), _data({**source.overview(), "served": True}))), say.language
    )


def served_style() -> str:
    """The style sheet of the served page."""
    return STYLE + OWN_STYLE.read_text(encoding="utf-8")


def _title(source: ViewSource) -> str:
    return f"{source.title} · {say('heading')}"


def _fans(seen: Seen, task: str) -> dict[str, Any]:
    """Of the metric that the task is judged by: a fit takes a while, and a server makes one when it is looked at."""
    metric = seen.metrics[task][0]
    fans = seen.fans(task, metric)
    return {metric: fans} if fans else {}


def _whole_items(seen: Seen, task: str) -> dict[str, Any]:
    items = seen.items(task)
    return {**items.listed(KEPT), "each": {one: items.one(one) for one in items.ids_I.tolist()}}


def _data(data: dict[str, Any]) -> str:
    own = {**data, "words": _words(), "colors": CATEGORIES, "quantile": normal_quantile()}
    text = json.dumps(own, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" id="data">{text}</script>'


def _words() -> dict[str, str]:
    """What the script says; where a value belongs stands its name in braces."""
    keys = [key.removeprefix("ui.") for key in say.fields if key.startswith("ui.")]
    return {key: say.word("ui", key, **{name: f"{{{name}}}" for name in say.fields[f"ui.{key}"]}) for key in keys}


# -- what needs no script -------------------------------------------------------------------------------------------


def _body(seen: Seen, data: str) -> str:
    told = seen.overview
    first, *others = _charts(seen)
    parts = [
        f'<h1 id="answer">{escaped(told["answer"])}</h1>',
        f'<div id="app" data-ready="">{figures([first])}</div>',
        f'<div id="table">{_standing_table(seen)}</div>',
        note(told["note"]).replace("<p ", '<p id="note" ', 1),
        f'<div id="verdicts">{_verdict_table(told)}</div>',
        '<div id="items"></div>',
        f"<noscript>{figures(others)}</noscript>" if others else "",
    ]
    return "<main>\n" + "\n".join(parts) + f"\n</main>\n{data}\n"


def _charts(seen: Seen) -> list[Chart]:
    """The task that says most first."""
    return [_chart(seen, one.task, one.metric) for one in seen.standings[:MOST_PICTURES]]


def _chart(seen: Seen, task: str, metric: str) -> Chart:
    found = seen.curves(task)[metric]
    has_tokens = all("t" in own for own in found["runs"].values())
    lines = []
    for run, own in found["runs"].items():
        color = CATEGORIES[seen.runs.index(run) % len(CATEGORIES)]
        x = [float("nan") if one is None else float(one) for one in own["t" if has_tokens else "s"]]
        y = [float("nan") if one is None else float(one) for one in own.get("v", ())]
        half = [float("nan") if one is None else normal_quantile() * one for one in own.get("e", [None] * len(y))]
        low, high = ([a + sign * b for a, b in zip(y, half, strict=True)] for sign in (-1, 1))
        lines.append(Line(run, x, y, low, high, color))
    marks = () if found["chance"] is None else (Mark(say("chance"), found["chance"]),)
    axis = say("tokens" if has_tokens else "steps")
    return Chart(say("curves_title", task=task, metric=metric), axis, metric, lines, marks)


def _standing_table(seen: Seen) -> Html:
    head = [say("task"), say("leads"), *seen.runs, say("chance")]
    rows = [_standing_row(one, seen.runs) for one in seen.overview["standings"]]
    numbers = set(range(2, 3 + len(seen.runs)))
    return Html(section(say("scores_table")) + table(say("scores_table"), head, rows, numbers))


def _standing_row(one: dict[str, Any], runs: Sequence[str]) -> list[str]:
    cells = [_score(one["runs"].get(run)) for run in runs]
    leader = next(iter(one["runs"])) if len(one["runs"]) > 1 else ""
    verdict = Html(f"<small>{escaped(say('beyond' if one['beyond'] else 'not_beyond'))}</small>")
    lead = Html(f"{strong(leader, good=one['beyond'])}<br>{verdict}") if leader else verdict
    task = Html(f"{escaped(one['task'])}<br><small>{escaped(one['metric'])}</small>")
    return [task, lead, *cells, number(one["chance"])]


def _score(own: dict[str, Any] | None) -> str:
    if own is None or own["value"] is None or own["half"] is None:
        return number(None if own is None else own["value"])
    return say("score", value=own["value"], half=own["half"])


def _verdict_table(told: dict[str, Any]) -> str:
    if not (told["verdicts"] or told["unread"]):
        return ""
    names = ("time", "state", "rule", "series", "step", "value", "threshold")
    rows = [["" if one[name] is None else str(one[name]) for name in names] for one in told["verdicts"]]
    unread = note(say("unread_verdicts", count=told["unread"])) if told["unread"] else ""
    shown = table(say("verdicts_table"), [say.word("verdict", name) for name in names], rows) if rows else ""
    return f"{section(say('verdicts_table'))}{shown}{unread}"
