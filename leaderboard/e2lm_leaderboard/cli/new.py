"""``e2lm leaderboard new-submission DIR``.

``e2lm leaderboard new-submission``: a small, valid bundle to start from.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path

import numpy as np

from e2lm.atomic_file import whole_folder
from e2lm.errors import UserError


def configure(parser: ArgumentParser) -> None:
    """Arguments of the action."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="new folder for the bundle")
    parser.add_argument("--dry-run", action="store_true", help="say what would be written, and stop")


def run(arguments: Namespace) -> int:
    """Write the sample."""
    if arguments.dry_run:
        print(f"would write {', '.join(sorted(sample_files()))} into {arguments.folder}")
        return 0
    names = write_sample(arguments.folder)
    print(f"{arguments.folder}: {', '.join(names)}")
    print(f"next: e2lm leaderboard check {arguments.folder}")
    return 0


NUMBERS = (
    *("one", "two", "three", "four", "five", "six", "seven", "eight"),
    *("nine", "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen"),
)
PEOPLE = ("Anna", "Ben", "Chen", "Dora", "Emil", "Farah", "Goran", "Hana")
THINGS = ("apples", "books", "coins", "pens", "stones", "letters", "tickets", "shells")
ITEMS = 160

SUBMISSION_YAML = """\
schema_version: 1
name: counting-in-words
title: Counting in words
description: |
  Small sums told as stories, with the result as a word. A sample to start from: replace it by your own.
language: en
license: CC0-1.0
tier: declarative
metric: acc_norm
tasks:
  - counting.yaml
sources:
  - made by rule, from no text
"""

TASK_YAML = """\
task: counting_in_words
output_type: multiple_choice
dataset_path: json
dataset_kwargs: {data_files: counting.jsonl}
test_split: test
num_fewshot: 0
doc_to_text: "{{story}} The number of {{thing}} that {{person}} has now is"
doc_to_choice: choices
doc_to_target: gold
target_delimiter: " "
"""


def sample_files(seed: int = 0) -> dict[str, str]:
    """The files of the sample by name; the same seed gives the same bytes."""
    rng = np.random.default_rng(seed)
    return {"submission.yaml": SUBMISSION_YAML, "counting.yaml": TASK_YAML, "counting.jsonl": sample_items(rng)}


def sample_items(rng: np.random.Generator) -> str:
    """JSONL of stories whose answer, as a word, is not in the story."""
    lines: dict[str, None] = {}
    while len(lines) < ITEMS:
        first, second = (int(number) for number in rng.integers(1, 8, size=2))
        if first == second:
            continue
        person, thing = str(rng.choice(PEOPLE)), str(rng.choice(THINGS))
        numbers = (NUMBERS[first - 1], NUMBERS[second - 1])
        story = f"{person} had {numbers[0]} {thing} in the morning and was given {numbers[1]} more of them at noon."
        answer = NUMBERS[first + second - 1]
        wrong = [word for word in NUMBERS if word not in (answer, *numbers)]
        choices = [answer, *(str(word) for word in rng.choice(wrong, size=3, replace=False))]
        order = rng.permutation(4).tolist()
        row = {
            "story": story,
            "person": person,
            "thing": thing,
            "choices": [choices[place] for place in order],
            "gold": order.index(0),
        }
        lines.setdefault(json.dumps(row), None)
    return "".join(f"{line}\n" for line in lines)


def write_sample(folder: Path) -> list[str]:
    """Write the sample into ``folder``, which must be new or empty; the names of its files."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: is there already; give a new folder")
    files = sample_files()
    with whole_folder(folder) as partial:
        for name, text in files.items():
            (partial / name).write_text(text, encoding="utf-8", newline="\n")
    return sorted(files)
