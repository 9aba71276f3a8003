"""Minimal pairs as a task: which of two sentences a model finds likelier, ties shared, beside models that know nothing.

lm-eval's own BLiMP has the right sentence always first, and its accuracy takes the first of equals: a constant model
then gets 1.0. Here the right one is first in every other pair, and ``acc_ties`` counts a tie as one half.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lm_eval.api.registry import get_aggregation

from e2lm import UserError
from e2lm.words import WORD
from e2lm_tasks.building.prose import WordFrequency
from e2lm_tasks.minimal_pair_files import MinimalPair, read_pairs
from e2lm_tasks.multiple_choice import MultipleChoice
from e2lm_tasks.trivial_baselines import tied_accuracy

#: Texts, separated as in PATH, whose word counts the unigram baseline uses; the sentences of the suite without them.
FREQUENCY_VARIABLE = "E2LM_FREQUENCY_TEXT"

TIES = "acc_ties"
CONSTANT = "acc_constant"
UNIGRAM = "acc_unigram"

#: A model that finds all sentences alike gets this.
CONSTANT_ACCURACY = 0.5

_NOT_A_NAME = re.compile(r"\W+")


class MinimalPairs(MultipleChoice):
    """A task of minimal pairs; its YAML names ``metadata.suite`` and may name ``metadata.folder``.

    Beside each accuracy stand that of a constant model and of word frequencies; ``acc_ties.PHENOMENON`` is the accuracy
    on one phenomenon. Pairs of all paradigms alternate, so the first N (``--limit N``) are a balanced sample.
    """

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        own = {TIES, CONSTANT, UNIGRAM}
        own |= {phenomenon_metric(name) for name in self.dataset["test"].unique("phenomenon")}
        for metric in sorted(own):
            self._aggregation_list.setdefault(metric, get_aggregation("mean"))
            self._higher_is_better.setdefault(metric, True)

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Fill ``self.dataset``; called by lm-eval."""
        from datasets import Dataset

        metadata = self.config.metadata or {}
        source = f"task {self.config.task!r}"
        pairs = read_pairs(str(metadata.get("suite")), metadata.get("folder"), source)
        self.dataset = {"test": Dataset.from_list(rows(pairs, word_frequency(pairs, source)))}

    def process_results(self, doc: dict[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, Any]:
        """lm-eval's metrics of one pair, accuracy with ties shared, and the two baselines."""
        values: dict[str, Any] = super().process_results(doc, results)
        values[TIES] = pair_accuracy([loglik for loglik, _ in results[:2]], doc["gold"])
        values[phenomenon_metric(doc["phenomenon"])] = values[TIES]
        values[CONSTANT] = CONSTANT_ACCURACY
        values[UNIGRAM] = doc["unigram"]
        return values


def phenomenon_metric(phenomenon: str) -> str:
    """Name of the accuracy on one phenomenon.

    >>> phenomenon_metric("island effects")
    'acc_ties.island_effects'
    """
    return f"{TIES}.{_NOT_A_NAME.sub('_', phenomenon)}"


#: Sums of float32 log-likelihoods closer than this, relatively, would change places with the order of additions.
TIE = 1e-6


def pair_accuracy(logliks: Sequence[float], gold: int) -> float:
    """1, one half for a tie, or 0.

    >>> pair_accuracy([-3.0, -4.0], 0), pair_accuracy([-3.0, -3.0000001], 1), pair_accuracy([-3.0, -4.0], 1)
    (1.0, 0.5, 0.0)
    """
    right, wrong = logliks[gold], logliks[1 - gold]
    if abs(right - wrong) <= TIE * max(abs(right), abs(wrong)):
        return 0.5
    return float(right > wrong)


def rows(pairs: Sequence[MinimalPair], frequency: WordFrequency) -> list[dict[str, Any]]:
    """One row per pair, paradigms in turn, each in a fixed random order; gold is first in every other row."""
    by_paradigm: dict[str, list[MinimalPair]] = {}
    for pair in pairs:
        by_paradigm.setdefault(pair.paradigm, []).append(pair)
    shuffled = {}
    for place, paradigm in enumerate(sorted(by_paradigm)):
        members = by_paradigm[paradigm]
        order = np.random.default_rng([0, place]).permutation(len(members))
        shuffled[paradigm] = [members[at] for at in order]
    found = []
    for turn in range(max(map(len, shuffled.values()))):
        found += [
            _row(members[turn], (turn + place) % 2, frequency)
            for place, members in enumerate(shuffled.values())
            if turn < len(members)
        ]
    return found


def _row(pair: MinimalPair, gold: int, frequency: WordFrequency) -> dict[str, Any]:
    choices = [pair.bad, pair.bad]
    choices[gold] = pair.good
    return {
        "choices": choices,
        "gold": gold,
        "paradigm": pair.paradigm,
        "phenomenon": pair.phenomenon,
        "number": pair.number,
        "unigram": tied_accuracy([frequency.log_probability(choice) for choice in choices], gold),
    }


def word_frequency(pairs: Sequence[MinimalPair], source: str) -> WordFrequency:
    """Word counts of the texts that E2LM_FREQUENCY_TEXT names, or of both sentences of every pair."""
    counts: Counter[str] = Counter()
    named = os.environ.get(FREQUENCY_VARIABLE, "")
    if named:
        for file in map(Path, named.split(os.pathsep)):
            if not file.is_file():
                raise UserError(f"{source}: {FREQUENCY_VARIABLE}: {file} is no file; give text files")
            counts.update(WORD.findall(file.read_text(encoding="utf-8").casefold()))
    else:
        for pair in pairs:
            counts.update(WORD.findall(f"{pair.good} {pair.bad}".casefold()))
    return WordFrequency(counts, sum(counts.values()))
