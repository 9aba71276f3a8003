"""Items of a task: what was asked, how the log-likelihood of every choice moved, and which items turned right or wrong.

Shape suffixes: K checkpoints, I items, C choices.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from e2lm.errors import UserError, one_line
from e2lm.samples import SAMPLES_FOLDER, Samples

COLUMNS = ["doc_id", "choice", "loglik", "gold"]
#: Letters of a question that a list shows, and that a page in a file holds.
SHOWN, KEPT = 240, 1_500
#: Items of one checkpoint: numbers of items, of choices, log-likelihoods, which are right.
_Columns = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]


@dataclass(frozen=True, slots=True)
class RunItems:
    """One run on the items: NaN where a checkpoint lacks an item, or an item a choice."""

    steps_K: list[int]
    loglik_KIC: NDArray[np.float64]
    gold_IC: NDArray[np.bool_]

    def right_KI(self) -> NDArray[np.bool_]:
        """Whether the likeliest choice, the first of several, is a right one."""
        best_KI = np.where(np.isnan(self.loglik_KIC), -np.inf, self.loglik_KIC).argmax(axis=2)
        return np.asarray(np.take_along_axis(self.gold_IC[None], best_KI[:, :, None], axis=2)[:, :, 0])

    def there_KI(self) -> NDArray[np.bool_]:
        """Which checkpoints have which items."""
        return np.asarray(~np.isnan(self.loglik_KIC).all(axis=2))


@dataclass(frozen=True, slots=True)
class Items:
    """The items of one task; ``texts`` is a question and its choices by item, as far as they were logged."""

    task: str
    ids_I: NDArray[np.int64]
    runs: dict[str, RunItems]
    texts: dict[int, tuple[str, list[str]]]

    def listed(self, letters: int = SHOWN) -> dict[str, Any]:
        """What a list of items shows: beginnings of texts; by run steps, and by item right or wrong at each of them."""
        return {
            "ids": self.ids_I.tolist(),
            "texts": [self.texts.get(one, ("", []))[0][-letters:] for one in self.ids_I.tolist()],
            "runs": {name: {"steps": own.steps_K, **_moves(own)} for name, own in self.runs.items()},
        }

    def one(self, doc_id: int) -> dict[str, Any] | None:
        """Everything of one item, None where there is none of that number."""
        place = int(np.searchsorted(self.ids_I, doc_id))
        if place == len(self.ids_I) or self.ids_I[place] != doc_id:
            return None
        text, choices = self.texts.get(doc_id, ("", []))
        return {
            "id": doc_id,
            "text": text,
            "choices": choices,
            "gold": next((own.gold_IC[place].tolist() for own in self.runs.values() if own.gold_IC[place].any()), []),
            "runs": {
                name: [
                    [None if np.isnan(value) else round(float(value), 3) for value in row]
                    for row in own.loglik_KIC[:, place]
                ]
                for name, own in self.runs.items()
            },
        }


def _moves(own: RunItems) -> dict[str, list[str]]:
    """By item: ``1`` for right, ``0`` for wrong, ``-`` for not there at each checkpoint, and what became of it."""
    marks_KI = np.where(own.there_KI(), np.where(own.right_KI(), "1", "0"), "-")
    marks = ["".join(column) for column in marks_KI.T]
    return {"marks": marks, "moves": [move(one) for one in marks]}


def move(marks: str) -> str:
    """What became of an item: the first quarter of its checkpoints against the last.

    >>> [move(one) for one in ("00011111", "1111-000", "1111", "10110101", "0")]
    ['turned_right', 'turned_wrong', 'never_moves', 'wavers', 'never_moves']
    """
    known = marks.replace("-", "")
    if len(set(known)) < 2:
        return "never_moves"
    width = max(1, len(known) // 4)
    early, late = known[:width].count("1") / width, known[-width:].count("1") / width
    if early < 0.5 < late:
        return "turned_right"
    return "turned_wrong" if early > 0.5 > late else "wavers"


def items_of(place: Path, task: str, runs: Sequence[str], logged: Sequence[Samples]) -> Items:
    """The items of ``task`` at ``place``; a :class:`UserError` where there are none."""
    found: dict[str, dict[int, _Columns]] = {}
    for run in runs:
        own = dict(_stored(place / SAMPLES_FOLDER / run / task)) or dict(_of_lm_eval(logged, run, task))
        if own:
            found[run] = own
    if not found:
        raise UserError(f"{place}: no items of task {task!r}; e2lm eval keeps them in {place / SAMPLES_FOLDER}")
    columns = [one for own in found.values() for one in own.values()]
    ids_I = np.unique(np.concatenate([one[0] for one in columns]))
    choices = 1 + max(int(one[1].max(initial=0)) for one in columns)
    made = {run: _run_items(own, ids_I, choices) for run, own in found.items()}
    return Items(task, ids_I, made, _texts(place, task, list(found)))


def _run_items(own: dict[int, _Columns], ids_I: NDArray[np.int64], choices: int) -> RunItems:
    steps = sorted(own)
    loglik_KIC = np.full((len(steps), len(ids_I), choices), np.nan)
    gold_IC = np.zeros((len(ids_I), choices), dtype=np.bool_)
    for index, step in enumerate(steps):
        ids_R, choice_R, loglik_R, gold_R = own[step]
        place_R = np.searchsorted(ids_I, ids_R)
        loglik_KIC[index, place_R, choice_R] = loglik_R
        gold_IC[place_R, choice_R] = gold_R
    return RunItems(steps, loglik_KIC, gold_IC)


def _stored(folder: Path) -> Iterator[tuple[int, _Columns]]:
    for file in sorted(folder.glob("checkpoint-*.parquet")):
        try:
            table = pq.read_table(file, columns=COLUMNS, use_threads=False)
        except (OSError, ValueError) as error:
            raise UserError(f"{file}: not a Samples file ({one_line(error)})") from error
        ids, choice, loglik, gold = (table[name].to_numpy() for name in COLUMNS)
        yield int(file.stem.rpartition("-")[2]), (ids, choice, loglik, gold)


def _of_lm_eval(logged: Sequence[Samples], run: str, task: str) -> Iterator[tuple[int, _Columns]]:
    for one in logged:
        if (one.series, one.task) == (run, task):
            items_R, choice_R = np.nonzero(one.choices.there_IC)
            gold_R = one.choices.gold_IC[items_R, choice_R]
            yield one.step, (one.doc_ids_I[items_R], choice_R, one.choices.loglik_IC[items_R, choice_R], gold_R)


def _texts(place: Path, task: str, runs: Sequence[str]) -> dict[int, tuple[str, list[str]]]:
    """Question and choices of every item by its number, from the newest file that lm-eval's writer left of the task."""
    for run in runs:
        files = sorted((place / run).glob(f"*/samples_{task}_*.jsonl"), key=lambda one: one.stat().st_mtime_ns)
        if files:
            return dict(_logged_texts(files[-1]))
    return {}


def _logged_texts(file: Path) -> Iterator[tuple[int, tuple[str, list[str]]]]:
    with open(file, encoding="utf-8") as lines:
        for line in lines:
            try:
                entry = json.loads(line)
                given = entry["arguments"]
                pairs = [list(one.values()) for one in given.values()] if isinstance(given, dict) else given
                yield int(entry["doc_id"]), (str(pairs[0][0]), [str(one[1]) for one in pairs])
            except (ValueError, LookupError, TypeError, AttributeError):
                continue  # of a release that logs otherwise: the item is shown without its text
