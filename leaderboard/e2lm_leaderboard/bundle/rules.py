"""The rules about what items say: length, language, answers given away, repetition."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from e2lm.errors import UserError, no_such, one_line
from e2lm_leaderboard.bundle.bundle import Findings
from e2lm_leaderboard.bundle.items import TaskItem
from e2lm_leaderboard.season.season import SeasonRules

#: The commonest words of English: about a quarter to a third of the words of running text (British National Corpus).
COMMON_WORDS_TEXT = {
    "en": (
        "the of and to a in is it that was for on with as he she be at by i you this are or from had not have but "
        "an they his her which one we all there their what so up out if about who get has will more when can no "
        "then now some than how do its our these two may over my into"
    )
}
WORD = re.compile(r"[^\W\d_]+")

#: Words looked at: more say nothing new about the language.
MAX_WORDS = 20_000
#: Fewer words in all say nothing about the language.
MIN_WORDS = 200
#: By so many standard errors answers may stand in prompts more often than any choice does.
CHANCE_STDERRS = 2.5


def check_items(file: str, items: Sequence[TaskItem], rules: SeasonRules, language: str, findings: Findings) -> None:
    """Note every rule that the items of one task break."""
    _check_count(file, items, rules, findings)
    _check_lengths(file, items, rules, findings)
    _check_choices(file, items, rules, findings)
    _check_answers(file, items, rules, findings)
    _check_repetition(file, items, rules, findings)
    _check_language(file, items, rules, language, findings)


def _check_count(file: str, items: Sequence[TaskItem], rules: SeasonRules, findings: Findings) -> None:
    if not rules.min_items <= len(items) <= rules.max_items:
        allowed = f"{rules.min_items} to {rules.max_items} items"
        findings.add("item-count", file, "", f"{len(items)} items", allowed, "add items or leave some out")


def _check_lengths(file: str, items: Sequence[TaskItem], rules: SeasonRules, findings: Findings) -> None:
    count = token_counter(rules)
    for item in items:
        longest = max(item.choices, key=lambda choice: len(choice.encode("utf-8", "surrogatepass")))
        text = f"{item.context} {longest}"
        # No byte-level tokenizer makes more tokens than there are bytes, so short items need not be counted.
        if len(text) * 4 <= rules.max_tokens:
            continue
        tokens = count(text)
        if tokens > rules.max_tokens:
            place = f"line {item.line}"
            fix = "shorten the prompt or the choice"
            findings.add("tokens", file, place, f"{tokens} tokens", f"at most {rules.max_tokens} tokens", fix)


def token_counter(rules: SeasonRules) -> Callable[[str], int]:
    """Counts tokens with the season's tokenizer, or from bytes where it names none."""
    if rules.tokenizer is None:
        return lambda text: int(len(text.encode("utf-8", "surrogatepass")) / rules.bytes_per_token)
    tokenizer = _tokenizer(rules.tokenizer)
    return lambda text: len(tokenizer(text))


@cache
def _tokenizer(path: str) -> Callable[[str], Sequence[int]]:
    from tokenizers import Tokenizer

    if not Path(path).is_file():
        raise UserError(f"rules: tokenizer {path!r}: {no_such(path, 'file')}; give the path of a tokenizer.json")
    try:
        tokenizer = Tokenizer.from_file(path)
    except Exception as error:  # the library raises a bare Exception
        raise UserError(f"rules: tokenizer {path!r}: {one_line(error)}") from error
    return lambda text: list(tokenizer.encode(text).ids)


def _check_choices(file: str, items: Sequence[TaskItem], rules: SeasonRules, findings: Findings) -> None:
    for item in items:
        place = f"line {item.line}"
        if not rules.min_choices <= len(item.choices) <= rules.max_choices:
            allowed = f"{rules.min_choices} to {rules.max_choices} choices"
            findings.add("choices", file, place, f"{len(item.choices)} choices", allowed, "add or leave out choices")
        if any(not choice.strip() for choice in item.choices):
            findings.add("choices", file, place, "an empty choice", "choices with text", "write the choice out")
        if len(set(item.choices)) < len(item.choices):
            findings.add("choices", file, place, "two equal choices", "choices that differ", "leave one out")


def _check_answers(file: str, items: Sequence[TaskItem], rules: SeasonRules, findings: Findings) -> None:
    """Answers that stand in the prompt more often than they would if any choice were the true one.

    Prompts that name all choices, or hold examples, give none away; what chance makes of few items is no ground. Where
    all items have the same choices these are labels, and each is compared with itself
    in the prompts of other truths.
    """
    said = [(item, _said(item, rules.label_chars)) for item in items]
    given_away = [item for item, said_C in said if said_C[item.gold]]
    rates = _label_rates(said) if len({item.choices for item in items}) == 1 else {}
    shares = [rates.get(item.gold, sum(said_C) / len(said_C)) for item, said_C in said]
    excess = len(given_away) - sum(shares)
    chance = CHANCE_STDERRS * math.sqrt(sum(share * (1 - share) for share in shares))
    if len(given_away) > rules.max_answer_in_prompt * len(items) and excess > chance:
        found = f"{len(given_away)} of {len(items)} prompts hold their answer, first in line {given_away[0].line}"
        allowed = f"at most {rules.max_answer_in_prompt:.0%} of prompts"
        findings.add("answer-in-prompt", file, "doc_to_text", found, allowed, "take the answer out of the prompt")


def _label_rates(said: Sequence[tuple[TaskItem, Sequence[bool]]]) -> dict[int, float]:
    """Of each choice how often prompts say it whose truth is another; of one that is always true nothing is known."""
    rates = {}
    for place in {item.gold for item, _ in said}:
        others = [said_C[place] for item, said_C in said if item.gold != place]
        if others:
            rates[place] = sum(others) / len(others)
    return rates


def _said(item: TaskItem, label_chars: int) -> list[bool]:
    """Of each choice, whether the prompt says it."""
    context = item.context.casefold()
    texts = [choice.strip().casefold() for choice in item.choices]
    return [
        len(text) >= label_chars
        and text in context
        and re.search(rf"(?<!\w){re.escape(text)}(?!\w)", context) is not None
        for text in texts
    ]


def _check_repetition(file: str, items: Sequence[TaskItem], rules: SeasonRules, findings: Findings) -> None:
    repeated = len(items) - len({(item.context, item.choices) for item in items})
    if items and repeated > rules.max_duplicates * len(items):
        allowed = f"at most {rules.max_duplicates:.0%} of items"
        findings.add("repetition", file, "", f"{repeated} of {len(items)} items repeated", allowed, "leave them out")


def _check_language(
    file: str, items: Sequence[TaskItem], rules: SeasonRules, language: str, findings: Findings
) -> None:
    if language not in COMMON_WORDS_TEXT:
        return
    common = frozenset(COMMON_WORDS_TEXT[language].split())
    words: list[str] = []
    for item in items:
        words += WORD.findall(f"{item.context[:2000]} {item.answer[:500]}".casefold())
        if len(words) >= MAX_WORDS:
            break
    if len(words) < MIN_WORDS:
        return
    share = sum(word in common for word in words) / len(words)
    if share < rules.min_common_words:
        found = f"{share:.0%} of the words are among the commonest of {language!r}"
        allowed = f"at least {rules.min_common_words:.0%}, as in running text"
        findings.add("language", file, "", found, allowed, "write the prompts in the declared language")
