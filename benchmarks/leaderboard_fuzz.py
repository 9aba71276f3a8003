"""Mutates bundles, YAML, rows and templates, and counts what the check does with them; any exception is a crash.

python benchmarks/leaderboard_fuzz.py [--cases 1000000] [--seconds 600] [--seed 0]
"""

from __future__ import annotations

import argparse
import json
import random
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence

from e2lm_leaderboard.bundle.bundle import Bundle
from e2lm_leaderboard.bundle.check import check_archive
from e2lm_leaderboard.bundle.rows import RowError, data_rows
from e2lm_leaderboard.bundle.task_file import YamlError, parsed_yaml
from e2lm_leaderboard.bundle.template import SafeTemplate, TemplateError
from e2lm_leaderboard.cli.entrant import SUBMISSION_YAML, TASK_YAML, sample_files
from e2lm_leaderboard.season.season import SeasonRules

FILES = {name: text.encode() for name, text in sample_files().items()}
SMALL = {**FILES, "counting.jsonl": b"\n".join(FILES["counting.jsonl"].splitlines()[:3])}
ARCHIVE = Bundle(SMALL).packed()
ROW = FILES["counting.jsonl"].splitlines()[0]
TEMPLATE = b"{% for c in choices %}{{ c|upper }}{{ loop.index }} {% endfor %}{{ story.strip() ~ 'x' if gold else '' }}"
PIECES = (
    b"{{",
    b"}}",
    b"{%",
    b"%}",
    b"[",
    b"]",
    b"{",
    b"}",
    b":",
    b"- ",
    b"&a ",
    b"*a",
    b"!!",
    b"\x00",
    b"\xff",
    b"'",
    b'"',
)
RULES = SeasonRules()
FIELDS = json.loads(ROW)


def mutated(data: bytes, chance: random.Random) -> bytes:
    """``data`` with some bytes changed, cut out, repeated or put in."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(changed) + 1)
        kind = chance.randrange(4)
        if kind == 0 and place < len(changed):
            changed[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del changed[place : place + chance.randint(1, 8)]
        elif kind == 2:
            changed[place:place] = changed[place : place + chance.randint(1, 16)]
        else:
            changed[place:place] = chance.choice(PIECES)
    return bytes(changed)


def archive_case(chance: random.Random) -> str:
    return "accepted" if check_archive(mutated(ARCHIVE, chance), RULES).accepted else "refused"


def yaml_case(chance: random.Random) -> str:
    text = mutated(chance.choice((SUBMISSION_YAML, TASK_YAML)).encode(), chance).decode("utf-8", "replace")
    try:
        parsed_yaml(text)
    except YamlError:
        return "refused"
    return "accepted"


def row_case(chance: random.Random) -> str:
    try:
        list(data_rows("a.jsonl", mutated(ROW, chance), RULES))
    except RowError:
        return "refused"
    return "accepted"


def template_case(chance: random.Random) -> str:
    try:
        SafeTemplate(mutated(TEMPLATE, chance).decode("utf-8", "replace")).render(FIELDS)
    except TemplateError:
        return "refused"
    return "accepted"


#: How often each is drawn: YAML and templates cost most time a case.
CASES: tuple[tuple[Callable[[random.Random], str], int], ...] = (
    (archive_case, 30),
    (row_case, 60),
    (yaml_case, 4),
    (template_case, 6),
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    chance, told, crashes = random.Random(options.seed), Counter[str](), 0
    kinds, weights = zip(*CASES, strict=True)
    started, done = time.monotonic(), 0
    while done < options.cases and time.monotonic() - started < options.seconds:
        for kind in chance.choices(kinds, weights, k=1000):
            try:
                told[f"{kind.__name__} {kind(chance)}"] += 1
            except Exception:
                crashes += 1
                traceback.print_exc()
        done += 1000
    print(f"{done} cases in {time.monotonic() - started:.0f} s, {crashes} crashes")
    for name, count in sorted(told.items()):
        print(f"  {name:<28} {count}")


if __name__ == "__main__":
    main()
