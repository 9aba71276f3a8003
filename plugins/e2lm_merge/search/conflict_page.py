"""The page of Hi-Merging: the conflicts of every layer as a picture, what was done, and what it came to elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from e2lm.chart import CATEGORIES, Chart, Line, Mark
from e2lm.interval import normal_quantile
from e2lm.page import Page, figures, note, section, table
from e2lm_merge.messages import say

#: Of the bands, as of all intervals of scores.
CONFIDENCE = 0.95


def conflict_page(report: Mapping[str, Any], z: float, config: Path) -> str:
    """The page as HTML; ``report`` is what Hi-Merging says of its search, ``z`` errors are no conflict."""
    layers, names = report["layers"], _short_names([one["task_of"] for one in report["reported"]])
    cases = [one["case"] for one in layers]
    counts = {case: cases.count(case) for case in ("severe", "partial", "none")}
    parts = [
        say("answer", layers=len(layers), z=z, **counts),
        *(_after(one, names[one["task_of"]]) for one in report["reported"]),
        figures([_conflicts(layers, names, report["unit"]), _contributions(layers, names)]),
        note(say("bands")),
        section(say("layers")),
        _layer_table(layers, names),
        section(say("reported")),
        _reported_table(report["reported"], names),
        note(say("made", evaluations=report["evaluations"], unit=report["unit"], config=config.name)),
    ]
    return Page(say("heading"), parts, language=say.language).html()


def _short_names(labels: Sequence[str]) -> dict[str, str]:
    """The last part of every path where that tells models apart."""
    short = {label: Path(label).name or label for label in labels}
    return short if len(set(short.values())) == len(labels) else {label: label for label in labels}


def _after(one: Mapping[str, Any], name: str) -> str:
    gain = one["merged_minus_own_model"]
    low, high = gain["low"], gain["high"]
    if low > 0:
        words = say("better", gain=gain["mean"], low=low, high=high)
    elif high < 0:
        words = say("worse", loss=-gain["mean"], low=-high, high=-low)
    else:
        words = say("open", low=low, high=high)
    return say("after", items=one["items"]["report"], task=name, words=words)


def _in_order(layers: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(layers, key=lambda one: one["layer"])


def _conflicts(layers: Sequence[Mapping[str, Any]], names: Mapping[str, str], unit: str) -> Chart:
    ordered, half = _in_order(layers), normal_quantile(CONFIDENCE)
    lines = []
    for index, (label, name) in enumerate(names.items()):
        gamma_L = [one["gamma"][label] for one in ordered]
        error_L = [half * one["standard_error"][label] for one in ordered]
        low_L = [gamma - error for gamma, error in zip(gamma_L, error_L, strict=True)]
        high_L = [gamma + error for gamma, error in zip(gamma_L, error_L, strict=True)]
        places = [one["layer"] for one in ordered]
        lines.append(Line(name, places, gamma_L, low_L, high_L, CATEGORIES[index % len(CATEGORIES)]))
    return Chart(
        say("conflict_title"), say("layer"), say("conflict_axis", unit=unit.partition(",")[0]), lines,
        [Mark(say("no_conflict"), 0.0)], description=say("conflict_description"),
    )  # fmt: skip


def _contributions(layers: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> Chart:
    ordered = _in_order(layers)
    lines = [
        Line(
            name, [one["layer"] for one in ordered], [one["contribution"][label] for one in ordered],
            color=CATEGORIES[index % len(CATEGORIES)],
        )
        for index, (label, name) in enumerate(names.items())
    ]  # fmt: skip
    return Chart(say("contribution_title"), say("layer"), say("contribution_axis"), lines)


def _layer_table(layers: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> str:
    half = normal_quantile(CONFIDENCE)
    head = [say("order"), say("layer"), *(say("gamma_of", task=name) for name in names.values()), say("what")]
    rows = []
    for place, one in enumerate(layers, start=1):
        gammas = [
            say("with_error", gamma=one["gamma"][label], half=half * one["standard_error"][label]) for label in names
        ]
        changed = ", ".join(names[label] for label in one["changed"]) or say("nothing")
        rows.append([str(place), str(one["layer"]), *gammas, say.word("case", one["case"]), changed])
    return table(say("layers"), [*head, say("changed")], rows, numbers=set(range(2 + len(names))))


def _reported_table(rows: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> str:
    columns = ("base", "own_model", "merged", "merged_minus_own_model")
    head = [say("task"), say("base"), say("own"), say("merged"), say("difference")]
    body = [[names[one["task_of"]], *(say("value", **one[column]) for column in columns)] for one in rows]
    return table(say("reported"), head, body, numbers={1, 2, 3, 4})
