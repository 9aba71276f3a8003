"""What lm-eval knows of every item, as Samples: from a live evaluation and from the files it left, read in one way.

lm-eval keeps one (log-likelihood, greedy) pair for each choice of an item, the (context, continuation) that was scored,
and what it makes of them. What it does not keep is told by the task: the live one by itself (:class:`LiveTask`), a
logged one by its configuration and by the values beside each item (:class:`LoggedTask`).

Lengths are of the text that is scored without the delimiter before it, as ``acc_norm`` and ``acc_bytes`` count them. In
tasks of Winogrande's kind, whose choices are contexts, that is the common ending.

Shape suffixes: I items, C choices.
"""

from __future__ import annotations

import json
import re
from ast import literal_eval
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from e2lm.errors import UserError, one_line
from e2lm.item_metric import ItemChoices, require_finite
from e2lm.samples import Samples

#: Which kinds of requests give log-likelihoods of choices.
CHOICE_OUTPUTS = ("multiple_choice", "loglikelihood")
DEFAULT_DELIMITER = " "
#: The metric for which every choice is scored once more, without its context.
MUTUAL_INFORMATION = "acc_mutual_info"

#: What is logged of one item.
Record = dict[str, Any]
Pair = tuple[str, str]
#: Positions of the right choices of an item; None where nobody knows.
Golds = tuple[int, ...] | None


class TaskFacts(Protocol):
    """What the records of a task do not say."""

    @property
    def output_type(self) -> str:
        """Which kind of requests it makes."""

    @property
    def delimiter(self) -> str:
        """What stands between context and choice."""

    @property
    def asks_again(self) -> bool:
        """Whether every choice is scored a second time, without its context."""

    def golds(self, record: Record) -> Golds:
        """The right choices of an item; none for a label that is no choice."""


@dataclass(frozen=True, slots=True)
class ItemSamples:
    """The Samples of one task, None where there are none, and a line for each thing that could not be used."""

    samples: Samples | None
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Item:
    doc_id: int
    pairs: list[Pair]
    loglik_C: list[float]
    greedy_C: list[bool]
    golds: Golds
    acc: Any

    @property
    def agrees(self) -> bool:
        """Whether lm-eval, too, counted the most likely choice as right or wrong."""
        if self.acc is None or self.golds is None or len(self.pairs) < 2:
            return True
        return float(int(np.argmax(self.loglik_C)) in self.golds) == float(self.acc)


def item_samples(
    series: str,
    step: int,
    task: str,
    facts: TaskFacts,
    records: Sequence[Record],
    tokens_of: Callable[[list[Pair]], list[int]] | None = None,
) -> ItemSamples:
    """The Samples of what was logged of ``task``, without the items of which nobody knows what is right.

    Several right choices, and a label that is no choice, are kept as they are: lm-eval counts any of them, or none.
    None where it has no choices (generation), and where lm-eval counts something else as right than the task says.
    ``tokens_of`` gives the number of tokens of each (context, continuation); without it they are unknown (-1).
    Raises :class:`NotFiniteError` where a log-likelihood is NaN or infinite.
    """
    if facts.output_type == "loglikelihood_rolling":
        _require_finite([(int(one["doc_id"]), _numbers(one["filtered_resps"])) for one in records])
    if facts.output_type not in CHOICE_OUTPUTS or not records:
        return ItemSamples(None)
    ordered = sorted({int(one["doc_id"]): one for one in records}.values(), key=lambda one: int(one["doc_id"]))
    items, unscored = _without_unscored([_item(one, facts) for one in ordered], tokens_of)
    _require_finite([(one.doc_id, one.loglik_C) for one in items])
    if not all(one.agrees for one in items):
        return ItemSamples(None, ("lm-eval counts other choices as right than the task names: no item metrics",))
    one_text = facts.output_type == "loglikelihood"
    delimiter = "" if one_text else used_delimiter(facts.delimiter, [one.pairs for one in items])
    left_out = (*unscored, *_left_out(items, delimiter))
    usable = [one for one in items if one.golds is not None]
    if not any(one.golds for one in usable):
        return ItemSamples(None, left_out)
    return ItemSamples(_samples(series, step, task, usable, delimiter, tokens_of), left_out)


def _without_unscored(
    items: list[_Item], tokens_of: Callable[[list[Pair]], list[int]] | None
) -> tuple[list[_Item], tuple[str, ...]]:
    """The items whose choices all have tokens, and a line that names the others: their model could not score them."""
    lacking = {one.doc_id for one in items if tokens_of is not None and 0 in tokens_of(one.pairs)}
    if not lacking:
        return items, ()
    shown = ", ".join(map(str, sorted(lacking)[:3])) + (" ..." if len(lacking) > 3 else "")
    line = (
        f"{len(lacking)} of {len(items)} items without item metrics, a choice has no tokens, or more than the model "
        f"takes (doc_id {shown})"
    )
    return [one for one in items if one.doc_id not in lacking], (line,)


def _item(record: Record, facts: TaskFacts) -> _Item:
    one_text = facts.output_type == "loglikelihood"
    return _item_of(record, facts.asks_again, (0,) if one_text else facts.golds(record))


def _item_of(record: Record, asks_again: bool, golds: Golds) -> _Item:
    pairs = _own_pairs(record, asks_again)
    answers = [_answer(one) for one in record["filtered_resps"]][: len(pairs)]
    if len(answers) < len(pairs):
        raise ValueError(f"doc_id {record['doc_id']}: {len(answers)} answers to {len(pairs)} choices")
    logliks, greedy = [loglik for loglik, _ in answers], [flag for _, flag in answers]
    golds = golds and tuple(one for one in golds if one < len(pairs))
    return _Item(int(record["doc_id"]), pairs, logliks, greedy, golds, record.get("acc"))


def _own_pairs(record: Record, asks_again: bool) -> list[Pair]:
    """(context, continuation) of every choice, without the second time."""
    pairs = scored_pairs(record)
    return pairs[: len(pairs) // 2] if asks_again else pairs


def scored_pairs(record: Record) -> list[Pair]:
    """(context, continuation) of every request of an item, in order; a file has them as an object from 0.4.3 on."""
    arguments = record["arguments"]
    if isinstance(arguments, dict):
        ordered = sorted(arguments, key=lambda name: int(name.rpartition("_")[2]))
        arguments = [(arguments[name]["arg_0"], arguments[name]["arg_1"]) for name in ordered]
    return [(str(context), str(continuation)) for context, continuation, *_ in arguments]


def _answer(response: Any) -> tuple[float, bool]:
    while isinstance(response, list) and len(response) == 1:
        response = response[0]
    loglik, greedy = response
    # Written to a file and read back, both are strings.
    return float(loglik), greedy in (True, "True")


def _numbers(response: Any) -> list[float]:
    if isinstance(response, list | tuple):
        return [number for one in response for number in _numbers(one)]
    return [float(response)]


def _require_finite(logliks: Sequence[tuple[int, list[float]]]) -> None:
    doc_ids = [doc_id for doc_id, values in logliks for _ in values]
    numbers = np.array([value for _, values in logliks for value in values])
    require_finite(numbers, lambda row: f"doc_id {doc_ids[row]}")


def _left_out(items: Sequence[_Item], delimiter: str) -> Iterator[str]:
    def is_empty(one: _Item) -> bool:
        return any(continuation.removeprefix(delimiter) == "" for _, continuation in one.pairs)

    reasons = {
        "without item metrics, which choice is right is not logged": [one.doc_id for one in items if one.golds is None],
        "count as wrong in accuracies, as in lm-eval, and nowhere else: the right answer is none of the choices": [
            one.doc_id for one in items if one.golds == ()
        ],
        "in no metric per character, byte or token but accuracies: a choice is empty": [
            one.doc_id for one in items if one.golds is not None and is_empty(one)
        ],
    }
    for reason, doc_ids in reasons.items():
        if doc_ids:
            shown = ", ".join(map(str, doc_ids[:3])) + (" ..." if len(doc_ids) > 3 else "")
            yield f"{len(doc_ids)} of {len(items)} items {reason} (doc_id {shown})"


def used_delimiter(delimiter: str, items: Sequence[Sequence[Pair]]) -> str:
    """``delimiter``, if every continuation begins with it: chat templates and tasks of one's own do without."""
    used = all(continuation.startswith(delimiter) for pairs in items for _, continuation in pairs)
    return delimiter if used else ""


def _samples(
    series: str,
    step: int,
    task: str,
    items: Sequence[_Item],
    delimiter: str,
    tokens_of: Callable[[list[Pair]], list[int]] | None,
) -> Samples:
    shape = (len(items), max(len(one.pairs) for one in items))
    loglik_IC, greedy_IC = np.full(shape, np.nan), np.zeros(shape, dtype=np.bool_)
    bytes_IC, chars_IC, tokens_IC = (np.full(shape, -1, dtype=np.int64) for _ in range(3))
    there_IC, gold_IC = np.zeros(shape, dtype=np.bool_), np.zeros(shape, dtype=np.bool_)
    for row, one in enumerate(items):
        here = slice(0, len(one.pairs))
        texts = [continuation.removeprefix(delimiter) for _, continuation in one.pairs]
        loglik_IC[row, here], greedy_IC[row, here], there_IC[row, here] = one.loglik_C, one.greedy_C, True
        bytes_IC[row, here] = [len(text.encode("utf-8")) for text in texts]
        chars_IC[row, here] = [len(text) for text in texts]
        if tokens_of is not None:
            tokens_IC[row, here] = tokens_of(one.pairs)
        gold_IC[row, list(one.golds or ())] = True
    gold_I = np.array([min(one.golds or (), default=-1) for one in items], dtype=np.int64)
    choices = ItemChoices(loglik_IC, there_IC, bytes_IC, chars_IC, tokens_IC, gold_I, gold_IC)
    doc_ids_I = np.array([one.doc_id for one in items], dtype=np.int64)
    return Samples(series, step, task, doc_ids_I, choices, greedy_IC)


def positions(value: Any, choices: Sequence[Any]) -> tuple[int, ...]:
    """The right choices by ``value`` as a task gives it: a position, the text of a choice, or a list of such.

    What is no choice is none, as lm-eval counts it (its -100).

    >>> [positions(value, ["a", "b"]) for value in (1, "b", [0, 1], 7, "x")]
    [(1,), (1,), (0, 1), (), ()]
    """
    if isinstance(value, list | tuple):
        return tuple(dict.fromkeys(one for part in value for one in positions(part, choices)))
    if isinstance(value, Real):
        number = float(value)
        return (int(number),) if number.is_integer() and 0 <= number < len(choices) else ()
    return (list(choices).index(value),) if value in choices else ()


def _asks_again(metric_list: Any) -> bool:
    return any(isinstance(one, Mapping) and one.get("metric") == MUTUAL_INFORMATION for one in metric_list or ())


@dataclass(frozen=True)
class LiveTask:
    """The facts as lm-eval's task object tells them."""

    task: Any

    @property
    def output_type(self) -> str:
        """Which kind of requests it makes."""
        return str(self.task.OUTPUT_TYPE)

    @property
    def delimiter(self) -> str:
        """What stands between context and choice."""
        return str(getattr(self._config, "target_delimiter", DEFAULT_DELIMITER))

    @property
    def asks_again(self) -> bool:
        """Whether every choice is scored a second time, without its context."""
        return self.output_type == "multiple_choice" and _asks_again(getattr(self._config, "metric_list", None))

    def golds(self, record: Record) -> Golds:
        """The right choices of an item; none for a label that is no choice."""
        doc = record["doc"]
        if hasattr(self.task, "_multiple_inputs"):  # 0.5: a position always, None for a label that is no choice
            told, texts = self.task.doc_to_target(doc), scored_pairs(record)
            return () if told is None else positions(told, [None] * len(texts))
        chooses_contexts = getattr(self.task, "multiple_input", False)
        told = self.task.doc_to_text(doc) if chooses_contexts else self.task.doc_to_target(doc)
        return positions(told, self.task.doc_to_choice(doc))

    @property
    def _config(self) -> Any:
        return getattr(self.task, "config", None)


#: A template that is one field of the item, and what begins the source of a function in a logged configuration.
_FIELD = re.compile(r"\s*\{\{\s*(\w+)\s*\}\}\s*")
_SOURCE = re.compile(r"\s*(?:@|def |lambda|functools\.|<)|.*=\s*lambda")


class LoggedTask:
    """The facts as they are in lm-eval's files: ``config`` is the task's, ``records`` what was logged of it.

    A target is logged as text, so ``1`` may be a position or the text of a choice. Where the configuration does not
    tell, that reading is taken which no logged accuracy contradicts; where both may be, neither. In tasks of
    Winogrande's kind the target is the common ending: the right context is named by the item, or, of two, told by the
    accuracy.
    """

    def __init__(self, config: Mapping[str, Any], records: Sequence[Record]) -> None:
        self._config = config
        self._records = records

    @property
    def output_type(self) -> str:
        """Which kind of requests it makes."""
        return str(self._config.get("output_type"))

    @property
    def delimiter(self) -> str:
        """What stands between context and choice."""
        return str(self._config.get("target_delimiter", DEFAULT_DELIMITER))

    @cached_property
    def asks_again(self) -> bool:
        """Whether every choice is scored a second time, without its context."""
        logged = any(MUTUAL_INFORMATION in one for one in self._records)
        return self.output_type == "multiple_choice" and (logged or _asks_again(self._config.get("metric_list")))

    def golds(self, record: Record) -> Golds:
        """The right choices of an item; none for a label that is no choice, None where the files do not tell."""
        return self._reading(record)

    @cached_property
    def _reading(self) -> Callable[[Record], Golds]:
        if self._chooses_contexts:
            readings = [self._by_field] if self._golds_by(self._by_field) else [self._by_accuracy]
        elif self._golds_by(self._by_configuration):
            readings = [self._by_configuration]
        else:
            readings = [self._by_position, self._by_text]
        known = [(reading, golds) for reading in readings if (golds := self._golds_by(reading)) is not None]
        possible = known if len(known) < 2 else [(one, golds) for one, golds in known if self._agree(golds)]
        if possible and all(golds == possible[0][1] for _, golds in possible):
            return possible[0][0]
        return lambda record: None

    def _golds_by(self, reading: Callable[[Record], Golds]) -> list[Golds] | None:
        """What ``reading`` makes of every item; None where it makes nothing of one, or of all."""
        golds = [reading(one) for one in self._records]
        return golds if any(golds) and None not in golds else None

    def _agree(self, golds: Sequence[Golds]) -> bool:
        pairs = zip(golds, self._records, strict=True)
        return all(_item_of(record, self.asks_again, own).agrees for own, record in pairs)

    @cached_property
    def _chooses_contexts(self) -> bool:
        """Whether the choices are contexts with one ending, as in Winogrande."""
        pairs = [_own_pairs(one, self.asks_again) for one in self._records]
        return any(len({context for context, _ in one}) > 1 for one in pairs) and all(
            len({ending for _, ending in one}) == 1 for one in pairs
        )

    def _by_field(self, record: Record) -> Golds:
        """By what ``doc_to_text`` names: the position of the right context."""
        named, doc = self._config.get("doc_to_text"), record.get("doc") or {}
        field = _FIELD.fullmatch(named) if isinstance(named, str) else None
        value = named
        if isinstance(named, str):
            value = doc.get(named, rendered(str(doc.get(field[1]))) if field else None)
        return positions(value, _own_pairs(record, self.asks_again)) if isinstance(value, int) else None

    def _by_accuracy(self, record: Record) -> Golds:
        acc, logliks = record.get("acc"), [loglik for loglik, _ in map(_answer, record["filtered_resps"])]
        if acc not in (0, 1) or len(_own_pairs(record, self.asks_again)) != 2:
            return None
        best = int(np.argmax(logliks[:2]))
        return (best,) if acc else (1 - best,)

    def _by_configuration(self, record: Record) -> Golds:
        """By what ``doc_to_target`` names, or a template of it gave."""
        named, target, doc = self._config.get("doc_to_target"), record["target"], record.get("doc") or {}
        if isinstance(named, int | list):
            return positions(named, self._texts(record))
        if isinstance(named, str) and named in doc:
            return positions(doc[named], self._texts(record))
        if not isinstance(target, str):  # before 0.4.3
            return positions(target, self._texts(record))
        if isinstance(named, str) and "{" in named and not _SOURCE.match(named):
            return positions(rendered(target), self._texts(record))
        return None

    def _by_position(self, record: Record) -> Golds:
        value = rendered(str(record["target"]))
        return None if isinstance(value, str) else positions(value, self._texts(record))

    def _by_text(self, record: Record) -> Golds:
        return positions(str(record["target"]), self._texts(record))

    def _texts(self, record: Record) -> list[str]:
        return [
            continuation.removeprefix(self._used_delimiter) for _, continuation in _own_pairs(record, self.asks_again)
        ]

    @cached_property
    def _used_delimiter(self) -> str:
        return used_delimiter(self.delimiter, [_own_pairs(one, self.asks_again) for one in self._records])


def rendered(text: str) -> Any:
    """What lm-eval takes the text of a template for: a position, a list, or the text.

    >>> rendered("1"), rendered("[0, 2]"), rendered("[yes"), rendered("-1")
    (1, [0, 2], '[yes', '-1')
    """
    if text.isdecimal():
        return int(text)
    if text[:1] == "[" and text[-1:] == "]":
        try:
            return literal_eval(text)
        except (SyntaxError, ValueError):
            return text
    return text


def logged_records(file: Path) -> list[Record]:
    """What was logged per item, once each, in order of ``doc_id``."""
    try:
        text = file.read_text(encoding="utf-8")
        found = json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in _lines(text)]
        return sorted({int(item["doc_id"]): item for item in found}.values(), key=lambda item: int(item["doc_id"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{file}: not lm-eval's samples ({one_line(error)}); delete it, or log them again") from error


def _lines(text: str) -> Iterator[str]:
    # Not splitlines: lm-eval writes texts as they are, and they may hold other line separators of Unicode.
    return (line for line in text.split("\n") if line.strip())


def logged_samples(
    file: Path, records: Sequence[Record], task: str, config: Mapping[str, Any], series: str, step: int
) -> ItemSamples:
    """The Samples of ``task`` in lm-eval's ``file`` of ``records``; tokens of a choice are not logged (-1)."""
    try:
        return item_samples(series, step, task, LoggedTask(config, records), records)
    except UserError:
        raise
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise UserError(f"{file}: an item is not as lm-eval writes it ({type(error).__name__}: {error})") from error
