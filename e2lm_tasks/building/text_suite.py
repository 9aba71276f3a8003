"""Held-out text to one suite, with the kinds of ``families``: a pure function of (texts, seed, items), then files."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np

from e2lm import UserError
from e2lm.progress import progress_bar
from e2lm_tasks.building import suite_files
from e2lm_tasks.building.families import EARLY, ChoiceKind, SuiteFamily
from e2lm_tasks.building.item import MAX_ITEM_BYTES, MAX_ITEMS, MIN_ITEMS, placed_rows, taken
from e2lm_tasks.building.prose import CorpusText, Prose, WordFrequency, lacking_words, prose_of
from e2lm_tasks.trivial_baselines import byte_frequency_bits, choice_baselines

#: Shorter passages measure the first words, which no model can know, more than the text.
MIN_PASSAGE_BYTES = 120


def passages(prose: Prose, rng: np.random.Generator) -> Iterator[str]:
    """Passages that share no sentence, in random order, each at most :data:`MAX_ITEM_BYTES` of UTF-8."""
    found: list[str] = []
    index = 0
    while index < len(prose):
        passage = prose.after(index, MAX_ITEM_BYTES)
        if len(passage.encode("utf-8")) >= MIN_PASSAGE_BYTES:
            found.append(prose.written(passage))
        index += max(1, _sentence_count(prose, index, passage))
    for place in rng.permutation(len(found)).tolist():
        yield found[place]


def _sentence_count(prose: Prose, index: int, passage: str) -> int:
    """How many sentences from ``index`` on make up ``passage``."""
    length, count = -1, 0
    while length < len(passage) and index + count < len(prose):
        length += len(prose.sentences[index + count].text) + 1
        count += 1
    return count


#: Raised whenever the same texts and seed would give other items.
BUILDER_VERSION = 1

#: Asked for beyond the mere proportion, since items are not spread evenly over a text.
TEXT_RESERVE = 1.2


HELD_OUT = "heldout"
HELD_OUT_DESCRIPTION = "Bits per byte of running text."


@dataclass(frozen=True, slots=True)
class Suite:
    """The files of a built suite by name, and its card, which is one of them."""

    files: dict[str, str]
    card: dict[str, Any]


def build_suite(
    texts: Sequence[CorpusText], seed: int, items: int, name: str, quiet: bool = True, family: SuiteFamily = EARLY
) -> Suite:
    """The suite ``name`` of ``family`` with ``items`` items in each task; the same arguments give the same bytes.

    A :class:`UserError` tells how much text is needed where ``texts`` do not suffice.
    """
    if not MIN_ITEMS <= items <= MAX_ITEMS:
        raise UserError(f"--items: found {items}; allowed are {MIN_ITEMS} to {MAX_ITEMS} items per task")
    if seed < 0:
        raise UserError(f"--seed: found {seed}; allowed are whole numbers from 0 on")
    with progress_bar(len(family.kinds) + 1 + family.held_out, "steps", "tasks build", quiet) as bar:
        if (why := lacking_words([text.text for text in texts])) is not None:
            raise UserError(f"--corpus: {why}")
        prose = prose_of([text.text for text in texts])
        if not len(prose):
            raise UserError(
                f"{', '.join(text.name for text in texts)}: no text is left without code, tables and markup; "
                "give running text with full sentences"
            )
        if not prose.has_blanks and family is not EARLY:
            raise UserError(
                f"--corpus: the suite {family.name} is made by patterns of words with blanks between them; of Japanese "
                "text build the early suite (neither --ladder nor --domain)"
            )
        frequency = WordFrequency.of(prose)
        bar.update()
        tasks = []
        for stream, kind in enumerate(family.kinds):
            # One stream of random numbers per task: a new kind of task changes none of the others.
            rng = np.random.default_rng([seed, stream])
            made = taken(kind.make(prose, frequency, rng), items)
            _check_count(f"{name}_{kind.name}", len(made), items, texts)
            rows = placed_rows([one.written(prose) for one in made], rng, kind.choices)
            tasks.append(
                _choice_task(name, kind if prose.has_blanks else replace(kind, target_delimiter=""), rows, frequency)
            )
            bar.update()
        if family.held_out:
            rng = np.random.default_rng([seed, len(family.kinds)])
            tasks.append(_held_out_task(name, prose, items, texts, rng))
            bar.update()
    return _suite(name, tasks, texts, seed, items)


@dataclass(frozen=True, slots=True)
class _Task:
    name: str
    data_name: str
    data: str
    yaml: str
    card: dict[str, Any]


def _choice_task(suite: str, kind: ChoiceKind, rows: Sequence[dict[str, Any]], frequency: WordFrequency) -> _Task:
    name, data_name, data = f"{suite}_{kind.name}", f"{kind.name}.jsonl", _jsonl(rows)
    metadata = {"version": BUILDER_VERSION, "chance": 1 / kind.choices, "choices": kind.choices, "items": len(rows)}
    card = {
        "description": kind.description,
        "items": len(rows),
        "choices": kind.choices,
        "chance": 1 / kind.choices,
        "answer_in_prompt": kind.answer_in_prompt,
        "baselines": choice_baselines(rows, frequency),
        "data_sha256": sha256(data.encode()).hexdigest(),
    }
    yaml = suite_files.choice_yaml(name, data_name, kind.target_delimiter, metadata)
    return _Task(name, data_name, data, yaml, card)


def _held_out_task(
    suite: str, prose: Prose, items: int, texts: Sequence[CorpusText], rng: np.random.Generator
) -> _Task:
    name, data_name = f"{suite}_{HELD_OUT}", f"{HELD_OUT}.jsonl"
    found = list(passages(prose, rng))
    _check_count(name, len(found), items, texts)
    kept = found[:items]
    data = _jsonl([{"text": passage} for passage in kept])
    card = {
        "description": HELD_OUT_DESCRIPTION,
        "items": items,
        "chance": None,
        "unit": "bits per byte, lower is better",
        "baselines": {"byte_frequency": byte_frequency_bits([text.text for text in texts], kept)},
        "data_sha256": sha256(data.encode()).hexdigest(),
    }
    metadata = {"version": BUILDER_VERSION, "items": items}
    return _Task(name, data_name, data, suite_files.held_out_yaml(name, data_name, metadata), card)


def _check_count(task: str, made: int, items: int, texts: Sequence[CorpusText]) -> None:
    if made >= items:
        return
    chars = sum(len(text.text) for text in texts)
    needed = math.ceil(chars * items / made * TEXT_RESERVE) if made else None
    whole = "it needs whole sentences of running text with many different words"
    more = f"about {needed:,} characters are needed" if needed else whole
    fewer = f", or ask for --items {made}" if made >= MIN_ITEMS else ""
    raise UserError(
        f"{task}: {made} items can be made from the {chars:,} characters given, {items} are wanted; "
        f"{more}: give more text with --corpus{fewer}"
    )


def _suite(name: str, tasks: Sequence[_Task], texts: Sequence[CorpusText], seed: int, items: int) -> Suite:
    card: dict[str, Any] = {
        "name": name,
        "builder_version": BUILDER_VERSION,
        "seed": seed,
        "items_per_task": items,
        "sources": [{"file": text.name, "bytes": text.size_bytes, "sha256": text.sha256} for text in texts],
        "tasks": {task.name: task.card for task in tasks},
    }
    files = {
        suite_files.TEMPLATE: suite_files.template_yaml(),
        f"{name}.yaml": suite_files.group_yaml(name, [task.name for task in tasks], BUILDER_VERSION),
    }
    for task in tasks:
        files[task.data_name] = task.data
        files[f"{task.name}.yaml"] = task.yaml
    card["files"] = sorted([*files, suite_files.CARD])
    files[suite_files.CARD] = json.dumps(card, indent=1, ensure_ascii=False) + "\n"
    return Suite(files, card)


def _jsonl(rows: Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
