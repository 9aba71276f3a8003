"""What lm-eval logs of every item, as Samples.

Shape suffixes: I items, C choices.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from e2lm.errors import UserError, one_line
from e2lm.item_metric import ItemChoices
from e2lm.samples import Samples

#: Which kinds of requests give log-likelihoods of choices.
CHOICE_OUTPUTS = ("multiple_choice", "loglikelihood")
DEFAULT_DELIMITER = " "


def logged_items(file: Path) -> list[dict[str, Any]]:
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


@dataclass(frozen=True, slots=True)
class _Item:
    texts: list[str]
    loglik_C: list[float]
    greedy_C: list[bool]
    gold: int


def samples_in(file: Path, task: str, config: dict[str, Any], series: str, step: int) -> Samples | None:
    """The Samples of ``task`` in ``file``; None where they are no choices, or do not say which choice is true.

    Token counts are unknown (-1). Samples whose accuracy is not the one that was logged are not believed: None.
    """
    if config.get("output_type") not in CHOICE_OUTPUTS:
        return None
    logged = logged_items(file)
    try:
        items = [_item(item, config) for item in logged]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise UserError(f"{file}: an item is not as lm-eval writes it ({type(error).__name__}: {error})") from error
    known = [item for item in items if item is not None]
    if not known or len(known) < len(items):
        return None
    if not all(_agrees(item, record) for item, record in zip(known, logged, strict=True)):
        return None
    doc_ids_I = np.array([int(record["doc_id"]) for record in logged], dtype=np.int64)
    choices, greedy = _choices(known)
    return Samples(series, step, task, doc_ids_I, choices, greedy)


def _item(record: dict[str, Any], config: dict[str, Any]) -> _Item | None:
    """One item; None where the record does not tell which choice is true."""
    arguments = record["arguments"]
    if isinstance(arguments, dict):
        ordered = sorted(arguments, key=lambda name: int(name.rpartition("_")[2]))
        arguments = [(arguments[name]["arg_0"], arguments[name]["arg_1"]) for name in ordered]
    pairs = [(str(context), str(continuation)) for context, continuation in arguments]
    answers = [_answer(one) for one in record["filtered_resps"]]
    if config["output_type"] == "loglikelihood":
        return _Item([pairs[0][1]], [answers[0][0]], [answers[0][1]], 0)
    if "acc_mutual_info" in record:  # every choice once more, without its context
        pairs = pairs[: len(pairs) // 2]
    if len({context for context, _ in pairs}) > 1:  # Winogrande style: the choices are contexts
        return None
    delimiter = str(config.get("target_delimiter", DEFAULT_DELIMITER))
    texts = [continuation.removeprefix(delimiter) for _, continuation in pairs]
    gold = _gold(record["target"], texts)
    if gold is None:
        return None
    here = answers[: len(pairs)]
    return _Item(texts, [loglik for loglik, _ in here], [greedy for _, greedy in here], gold)


def _answer(response: Any) -> tuple[float, bool]:
    while isinstance(response, list) and len(response) == 1:
        response = response[0]
    loglik, greedy = response
    return float(loglik), greedy in (True, "True")


def _gold(target: Any, texts: Sequence[str]) -> int | None:
    """Index of the true choice; None for several or none. lm-eval takes digits for an index, too."""
    text = str(target)
    if text.isdecimal():
        return int(text) if int(text) < len(texts) else None
    return texts.index(text) if text in texts else None


def _agrees(item: _Item, record: dict[str, Any]) -> bool:
    if "acc" not in record or len(item.texts) < 2:
        return True
    return float(np.argmax(item.loglik_C) == item.gold) == float(record["acc"])


def _choices(items: Sequence[_Item]) -> tuple[ItemChoices, Any]:
    shape = (len(items), max(len(item.texts) for item in items))
    loglik_IC, greedy_IC = np.full(shape, np.nan), np.zeros(shape, dtype=np.bool_)
    bytes_IC, chars_IC, tokens_IC = (np.full(shape, -1, dtype=np.int64) for _ in range(3))
    there_IC = np.zeros(shape, dtype=np.bool_)
    for row, item in enumerate(items):
        here = slice(0, len(item.texts))
        loglik_IC[row, here], greedy_IC[row, here], there_IC[row, here] = item.loglik_C, item.greedy_C, True
        bytes_IC[row, here] = [len(text.encode("utf-8")) for text in item.texts]
        chars_IC[row, here] = [len(text) for text in item.texts]
    gold_I = np.array([item.gold for item in items], dtype=np.int64)
    return ItemChoices(loglik_IC, there_IC, bytes_IC, chars_IC, tokens_IC, gold_I), greedy_IC
