"""Turns what lm-eval logs per item into Samples.

lm-eval's ``resps`` hold one (log-likelihood, greedy) pair per choice; the arguments hold (context, continuation),
where the continuation starts with the target delimiter. Lengths are of the choice itself, as ``acc_norm`` and
``acc_bytes`` count them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from e2lm.item_metric import ItemChoices
from e2lm.samples import Samples

#: Which kinds of requests give log-likelihoods of choices.
CHOICE_OUTPUTS = ("multiple_choice", "loglikelihood")


def samples_of(
    series: str,
    step: int,
    task: Any,
    logged: Sequence[dict[str, Any]],
    tokens_of: Callable[[list[tuple[str, str]]], list[int]] | None,
) -> Samples | None:
    """Samples of one task, or None where it has no choices to compare (generation, rolling log-likelihood).

    ``tokens_of`` gives the number of tokens of each (context, continuation); without it they are unknown (-1).
    """
    if task.OUTPUT_TYPE not in CHOICE_OUTPUTS or not logged:
        return None
    items = sorted({item["doc_id"]: item for item in logged}.values(), key=lambda item: int(item["doc_id"]))
    choices = [_choices_of(task, item) for item in items]
    width = max(len(texts) for texts, _, _ in choices)
    count = len(items)
    loglik_IC = np.full((count, width), np.nan)
    greedy_IC = np.zeros((count, width), dtype=np.bool_)
    bytes_IC, chars_IC, tokens_IC = (np.full((count, width), -1, dtype=np.int64) for _ in range(3))
    gold_I = np.zeros(count, dtype=np.int64)
    for row, (item, (texts, gold, pairs)) in enumerate(zip(items, choices, strict=True)):
        answers = [_answer(response) for response in item["filtered_resps"][: len(texts)]]
        here = slice(0, len(texts))
        loglik_IC[row, here] = [loglik for loglik, _ in answers]
        greedy_IC[row, here] = [greedy for _, greedy in answers]
        bytes_IC[row, here] = [len(text.encode("utf-8")) for text in texts]
        chars_IC[row, here] = [len(text) for text in texts]
        if tokens_of is not None:
            tokens_IC[row, here] = tokens_of(pairs)
        gold_I[row] = gold
    there_IC = ~np.isnan(loglik_IC)
    return Samples(
        series=series,
        step=step,
        task=str(task.task_name),
        doc_ids_I=np.array([int(item["doc_id"]) for item in items], dtype=np.int64),
        choices=ItemChoices(loglik_IC, there_IC, bytes_IC, chars_IC, tokens_IC, gold_I),
        greedy_IC=greedy_IC,
    )


def _answer(response: Any) -> tuple[float, bool]:
    while isinstance(response, list) and len(response) == 1:
        response = response[0]
    loglik, greedy = response
    # Written to a file and read back, both are strings.
    return float(loglik), greedy in (True, "True")


def _choices_of(task: Any, item: dict[str, Any]) -> tuple[list[str], int, list[tuple[str, str]]]:
    """Texts of the choices without delimiter, which is true, and the scored (context, continuation) pairs."""
    pairs = [(str(context), str(continuation)) for context, continuation in item["arguments"]]
    if task.OUTPUT_TYPE == "loglikelihood":
        return [pairs[0][1]], 0, pairs[:1]
    doc = item["doc"]
    texts = [str(choice) for choice in task.doc_to_choice(doc)]
    gold = task.doc_to_target(doc)
    if getattr(task, "multiple_input", False):
        # Winogrande style: the choices are contexts; lm-eval counts their lengths all the same.
        gold = task.doc_to_text(doc)
    if isinstance(gold, list):
        gold = gold[0]
    if isinstance(gold, str):
        gold = texts.index(gold) if gold in texts else int(gold)
    return texts, int(gold), pairs[: len(texts)]
