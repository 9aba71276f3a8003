"""What there is to look at in an evaluation: its table, curves by task, forecasts, verdicts; read again when it grows.

Shape suffix: K checkpoints of one run.
"""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd

from e2lm.errors import UserError
from e2lm.item_metric import ItemMetric
from e2lm.plugin_manager import plugin_manager
from e2lm.results import Reading, read_scores
from e2lm.results.direction import Directions
from e2lm.samples import Samples
from e2lm.scores import Scores
from e2lm_view.forecasts import fans_of
from e2lm_view.items import Items, items_of
from e2lm_view.messages import say
from e2lm_view.standing import Standing, answer, known_error, note, standings

VERDICTS_FILE = "verdicts.jsonl"
#: By which a task is judged where it has several, the first that is there; else the first that has a direction.
METRICS = ("acc", "exact_match", "f1", "loss")
#: Tasks whose items are kept in memory.
KEPT_ITEMS = 4


class ViewSource:
    """The evaluation at ``place``: a folder of ``e2lm eval``, a Scores table, or output of lm-eval."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._state = ""
        self._seen: Seen | None = None

    @property
    def title(self) -> str:
        """What the page is called."""
        return self._place.resolve().name

    def state(self) -> str:
        """Changes whenever the table or the verdicts do."""
        stamps = []
        for name in ("scores.parquet", "scores.csv", VERDICTS_FILE):
            file = self._place / name if self._place.is_dir() else self._place
            stamps.append([file.stat().st_mtime_ns, file.stat().st_size] if file.is_file() else [])
        return sha256(json.dumps(stamps).encode()).hexdigest()[:16]

    def seen(self) -> Seen:
        """What is there now."""
        state = self.state()
        if self._seen is None or state != self._state:
            self._seen, self._state = read(self._place), state
        return self._seen

    def overview(self) -> dict[str, Any]:
        """What is first on the screen: the answer, the table, names of runs, tasks and metrics, verdicts."""
        return {**self.seen().overview, "state": self._state}


@dataclass(frozen=True)
class Seen:
    """A table and what was made of it; everything but the table is made when it is asked for."""

    place: Path
    frame: pd.DataFrame
    directions: Directions
    logged: tuple[Samples, ...]

    @cached_property
    def tasks(self) -> list[str]:
        """In order of name."""
        return sorted(map(str, self.frame["task"].unique()))

    @cached_property
    def runs(self) -> list[str]:
        """In order of size, then of name."""
        params = self.frame.groupby("series")["params"].max()
        return sorted(
            map(str, params.index), key=lambda name: (params[name] if params[name] == params[name] else -1.0, name)
        )

    @cached_property
    def metrics(self) -> dict[str, list[str]]:
        """Metrics of each task, the one it is judged by first."""
        found = self.frame.groupby("task")["metric"].unique()
        return {
            task: sorted(map(str, found[task]), key=lambda one: (self._rank(task, one), one)) for task in self.tasks
        }

    def _rank(self, task: str, metric: str) -> int:
        name = metric.partition(",")[0]
        if name in METRICS:
            return METRICS.index(name)
        return len(METRICS) + (self.directions.known(task, metric) is None)

    @cached_property
    def standings(self) -> list[Standing]:
        """Where the runs stand on each task, the clearest lead first."""
        judged_by = {task: (names[0], self._is_higher(task, names[0])) for task, names in self.metrics.items()}
        return sorted(standings(self.frame, judged_by), key=lambda one: (not one.is_beyond, -one.clearness, one.task))

    def _is_higher(self, task: str, metric: str) -> bool:
        return self.directions.is_higher_better(task, metric)

    @cached_property
    def overview(self) -> dict[str, Any]:
        """See :meth:`ViewSource.overview`."""
        verdicts, unread = _verdicts(self.place)
        return {
            "answer": answer(self.standings),
            "note": note(self.standings),
            "runs": self.runs,
            "tasks": [one.task for one in self.standings],
            "metrics": self.metrics,
            "standings": [one.as_json() for one in self.standings],
            "verdicts": verdicts,
            "unread": unread,
        }

    def curves(self, task: str) -> dict[str, Any]:
        """By metric and run: steps, tokens, FLOPs, values and standard errors of the checkpoints."""
        rows = self.frame[self.frame["task"] == task]
        found: dict[str, Any] = {}
        for (metric, run), own in rows.groupby(["metric", "series"], sort=True):
            entry = found.setdefault(
                str(metric), {"higher": self._is_higher(task, str(metric)), "chance": _chance(rows, metric), "runs": {}}
            )
            columns = {"s": "step", "t": "tokens", "f": "flops", "v": "value", "e": "stderr"}
            ordered = own.sort_values("step")
            pairs = zip(ordered["value"].tolist(), ordered["stderr"].tolist(), ordered["n"].tolist(), strict=True)
            ordered = ordered.assign(stderr=[known_error(*one) for one in pairs])
            lists = {key: [_short(one) for one in ordered[name].tolist()] for key, name in columns.items()}
            entry["runs"][str(run)] = {key: one for key, one in lists.items() if any(x is not None for x in one)}
        return found

    @cached_property
    def _fans(self) -> dict[tuple[str, str], Any]:
        return {}

    def fans(self, task: str, metric: str) -> dict[str, Any]:
        """By run: where a loss is going, by a registered predictor, or why nobody says."""
        if (task, metric) not in self._fans:
            rows = self.frame[(self.frame["task"] == task) & (self.frame["metric"] == metric)]
            self._fans[task, metric] = fans_of(rows, self._is_higher(task, metric))
        return dict(self._fans[task, metric])

    @cached_property
    def _items(self) -> OrderedDict[str, Items]:
        return OrderedDict()

    def items(self, task: str) -> Items:
        """The items of ``task``, those of the tasks looked at last are kept."""
        if task not in self._items:
            self._items[task] = items_of(self.place, task, self.runs, self.logged)
            while len(self._items) > KEPT_ITEMS:
                self._items.popitem(last=False)
        self._items.move_to_end(task)
        return self._items[task]


def read(place: Path) -> Seen:
    """What is at ``place``."""
    source = read_scores(place, Reading(apart=True))
    scores: Scores = source.scores.mean_of_duplicates()
    frame = scores.frame
    if not len(frame):
        raise UserError(f"{place}: {say('nothing')}")
    metrics = plugin_manager().all("e2lm_register_metrics", ItemMetric, "item metric")
    return Seen(place, frame, Directions(told=source.directions, metrics=metrics), source.samples)


def _chance(rows: pd.DataFrame, metric: Any) -> float | None:
    if "chance" not in rows:
        return None
    known = rows.loc[rows["metric"] == metric, "chance"].dropna()
    return _short(float(known.median())) if len(known) else None


def _short(value: float) -> float | None:
    """Six digits are more than a screen shows."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return int(value) if float(value).is_integer() and abs(value) < 1e15 else float(f"{value:.6g}")


def _verdicts(place: Path) -> tuple[list[dict[str, Any]], int]:
    """What ``e2lm watch`` has said, newest first, and how many lines are none."""
    file = place / VERDICTS_FILE
    if not file.is_file():
        return [], 0
    found, unread = [], 0
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            verdict = json.loads(line)
            found.append({key: verdict.get(key) for key in VERDICT_FIELDS} if line.strip() else {})
        except (ValueError, AttributeError):
            unread += bool(line.strip())
    return [one for one in reversed(found) if one], unread


VERDICT_FIELDS = ("time", "state", "rule", "series", "step", "value", "threshold")
