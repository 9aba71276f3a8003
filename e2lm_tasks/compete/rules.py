"""The published rules of the 2025 competition, as far as a machine can check them.

Source: rules and starter kit of https://e2lmc.github.io: 100 to 15,000 samples; prompt and completion of at most 2,048
tokens each; in English; no answer within its prompt; aligned with science (judged there by a language model, here only
reminded of); runs on models small enough for a T4; ten entries a day; the code is published before the workshop.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from e2lm import UserError
from e2lm.asked_items import AskedItem
from e2lm.errors import no_such, one_line
from e2lm_tasks.compete.entry import CompetitionEntry

LEAST_ITEMS, MOST_ITEMS = 100, 15_000
MOST_TOKENS = 2048
#: Of English text in the vocabularies of today, rounded down, so that the number of tokens is rather too high.
BYTES_PER_TOKEN = 3.5
#: The commonest words of English; a quarter to a third of running text.
COMMON_TEXT = (
    "the of and to a in is it that was for on with as he she be at by i you this are or from had not have but an they "
    "which one we all there what so up out if about who when can no than how do its"
)
COMMON = frozenset(COMMON_TEXT.split())
#: Below this share of such words a text of so many words is hardly English.
LEAST_COMMON, LEAST_WORDS = 0.12, 200
WORD = re.compile(r"[^\W\d_]+")
#: Items named by number in one finding.
MOST_NAMED = 5

Level = Literal["refused", "look at"]


@dataclass(frozen=True, slots=True)
class RuleFinding:
    """What was found, where, what is allowed and what to do; ``refused`` breaks a rule, ``look at`` may."""

    level: Level
    rule: str
    where: str
    found: str
    allowed: str
    fix: str

    def __str__(self) -> str:
        return f"{self.level}: {self.where}: {self.rule}: found {self.found}; allowed: {self.allowed}; {self.fix}"


def metric_findings(entry: CompetitionEntry, metric: str) -> list[RuleFinding]:
    """Whether every task of the entry reports ``metric`` (``acc,none``)."""
    name, comma, _ = metric.partition(",")
    if not comma:
        fix = f"write {metric},none, as lm-eval's results do"
        return [RuleFinding("refused", "task_metric", METRIC, repr(metric), "METRIC,FILTER", fix)]
    found = []
    for task in entry.tasks:
        own = [str(one.get("metric")) for one in task.config.get("metric_list") or [] if isinstance(one, dict)]
        known = own or ["acc", "acc_norm"] * (task.config.get("output_type") == "multiple_choice")
        if name not in known:
            allowed = ", ".join(known) or "none"
            found.append(RuleFinding("refused", "task_metric", task.name, name, allowed, "add it to metric_list"))
    return found


METRIC = "--metric"


def item_findings(items: Sequence[AskedItem], count: Callable[[str], int]) -> list[RuleFinding]:
    """Every rule that the items break, or seem to; ``count`` gives the tokens of a text."""
    return [*_number(items), *_lengths(items, count), *_answers(items), *_choices(items), *_language(items)]


def _number(items: Sequence[AskedItem]) -> list[RuleFinding]:
    if LEAST_ITEMS <= len(items) <= MOST_ITEMS:
        return []
    allowed = f"{LEAST_ITEMS} to {MOST_ITEMS:,}"
    return [RuleFinding("refused", "samples", "all tasks", str(len(items)), allowed, "add items, or keep fewer")]


def _lengths(items: Sequence[AskedItem], count: Callable[[str], int]) -> list[RuleFinding]:
    findings = []
    for what, text in (("prompt", _prompt), ("completion", _completion)):
        # No byte-level tokenizer makes more tokens than there are bytes.
        longer = [item for item in items if len(text(item).encode()) > MOST_TOKENS and count(text(item)) > MOST_TOKENS]
        if longer:
            fix = "fewer few-shot examples, or shorter texts" if what == "prompt" else "shorten the choices"
            found = f"{len(longer)} items with more tokens ({_named(longer)})"
            findings.append(RuleFinding("refused", what, "items", found, f"at most {MOST_TOKENS:,} tokens", fix))
    return findings


def _prompt(item: AskedItem) -> str:
    return item.context


def _completion(item: AskedItem) -> str:
    return max(item.choices, key=len)


def _answers(items: Sequence[AskedItem]) -> list[RuleFinding]:
    given = [item for item in items if item.answer and _holds(item.question, item.answer)]
    if not given:
        return []
    found = f"{len(given)} of {len(items)} items whose question holds their answer ({_named(given)})"
    return [RuleFinding("look at", "answer in the prompt", "items", found, "none", "drop them, or ask otherwise")]


def _holds(question: str, answer: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(answer.casefold())}(?!\w)", question.casefold()) is not None


def _choices(items: Sequence[AskedItem]) -> list[RuleFinding]:
    unknown = [item for item in items if item.gold is None]
    twice = [item for item in items if len(set(item.choices)) < len(item.choices)]
    findings = []
    if unknown:
        found = f"{len(unknown)} items whose answer is no choice ({_named(unknown)})"
        findings.append(RuleFinding("refused", "answer", "items", found, "one of the choices", "correct doc_to_target"))
    if twice:
        found = f"{len(twice)} items with the same choice twice ({_named(twice)})"
        findings.append(RuleFinding("look at", "choices", "items", found, "each once", "drop them, or change one"))
    return findings


def _language(items: Sequence[AskedItem]) -> list[RuleFinding]:
    words = [word.lower() for item in items for word in WORD.findall(f"{item.question} {' '.join(item.choices)}")]
    if len(words) < LEAST_WORDS:
        return []
    share = sum(word in COMMON for word in words) / len(words)
    if share >= LEAST_COMMON:
        return []
    found = f"{share:.0%} of the words are among the commonest of English"
    return [RuleFinding("look at", "language", "items", found, "English", "formulas and names count too: look at them")]


def _named(items: Sequence[AskedItem]) -> str:
    shown = ", ".join(f"{item.task} {item.doc_id}" for item in items[:MOST_NAMED])
    return f"{shown}, ..." if len(items) > MOST_NAMED else shown


def token_counter(tokenizer: Path | None) -> Callable[[str], int]:
    """Tokens by a ``tokenizer.json``, or from bytes where none is given."""
    if tokenizer is None:
        return lambda text: int(len(text.encode()) / BYTES_PER_TOKEN)
    if not tokenizer.is_file():
        raise UserError(
            f"--tokenizer: {tokenizer}: {no_such(tokenizer, 'file')}; give the tokenizer.json of the models"
        )
    from tokenizers import Tokenizer

    try:
        known = Tokenizer.from_file(str(tokenizer))
    except Exception as error:  # the library raises a bare Exception
        raise UserError(f"--tokenizer: {tokenizer}: {one_line(error)}") from error
    return lambda text: len(known.encode(text).ids)
