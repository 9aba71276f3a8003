"""The rules about what items say: length, language, answers given away, repetition."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from e2lm.errors import UserError, one_line
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
        raise UserError(f"rules: tokenizer {path!r}: no such file; give the path of a tokenizer.json")
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
    given_away = [item for item in items if _says_answer(item, rules.label_chars)]
    if items and len(given_away) > rules.max_answer_in_prompt * len(items):
        found = f"{len(given_away)} of {len(items)} prompts hold their answer, first in line {given_away[0].line}"
        allowed = f"at most {rules.max_answer_in_prompt:.0%} of prompts"
        findings.add("answer-in-prompt", file, "doc_to_text", found, allowed, "take the answer out of the prompt")


def _says_answer(item: TaskItem, label_chars: int) -> bool:
    answer = item.answer.strip().casefold()
    if len(answer) < label_chars or answer not in item.context.casefold():
        return False
    return re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", item.context.casefold()) is not None


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
