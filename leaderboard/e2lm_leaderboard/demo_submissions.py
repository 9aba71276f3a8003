"""The five submissions of the demo: good, noisy, letter-format, a copy, and a hostile one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from e2lm.errors import UserError
from e2lm_leaderboard.bundle import Bundle

#: Of the suite that ``e2lm demo`` builds: whole sentences against shuffled ones, and last words.
GOOD_DATA, NOISY_DATA = "shuffled.jsonl", "cloze.jsonl"

SUBMISSION = """\
schema_version: 1
name: {name}
title: {title}
description: {title}.
language: en
license: Apache-2.0
tier: declarative
metric: {metric}
tasks: [{name}.yaml]
"""

PLAIN = {"doc_to_text": "context", "doc_to_choice": "choices", "doc_to_target": "gold", "target_delimiter": ""}
SPACED = {**PLAIN, "target_delimiter": " "}
LETTERS = {
    "doc_to_text": "Which of these is written by a person?"
    "{% for choice in choices %}\n{{ ['A', 'B', 'C', 'D'][loop.index0] }}. {{ choice }}{% endfor %}\nAnswer:",
    "doc_to_choice": ["A", "B", "C", "D"],
    "doc_to_target": "gold",
    "target_delimiter": " ",
}
HOSTILE = {**SPACED, "doc_to_text": "{{ cycler.__init__.__globals__.os.popen('cat ~/.ssh/id_rsa').read() }}"}


@dataclass(frozen=True, slots=True)
class DemoSubmission:
    """A bundle and who sends it."""

    team: str
    bundle: Bundle


def demo_submissions(tasks: Path) -> list[DemoSubmission]:
    """The five, made from the data of the suite in ``tasks``."""
    good, noisy = (_data(tasks / name) for name in (GOOD_DATA, NOISY_DATA))
    return [
        _submission("astra", "sentences", "Real sentences against shuffled ones", "norm_correct_prob", PLAIN, good),
        _submission("borealis", "last-words", "The last word of a sentence, right or wrong", "acc", SPACED, noisy),
        _submission("cygnus", "letters", "Real or shuffled, asked by letter", "acc", LETTERS, good),
        _submission("draco", "my-own-idea", "Somebody else's sentences under a new name", "acc", PLAIN, good),
        _submission("eridanus", "trojan", "A template that would run a shell", "acc", HOSTILE, noisy),
    ]


def _data(path: Path) -> bytes:
    if not path.is_file():
        raise UserError(f"{path}: no such file; give the folder of a finished 'e2lm demo'")
    return path.read_bytes()


def _submission(
    team: str, name: str, title: str, metric: str, fields: Mapping[str, object], data: bytes
) -> DemoSubmission:
    task = {
        "task": name.replace("-", "_"),
        "output_type": "multiple_choice",
        "dataset_kwargs": {"data_files": f"{name}.jsonl"},
        "test_split": "test",
        **fields,
    }
    files = {
        "submission.yaml": SUBMISSION.format(name=name, title=title, metric=metric).encode(),
        f"{name}.yaml": "".join(f"{key}: {json.dumps(value)}\n" for key, value in task.items()).encode(),
        f"{name}.jsonl": data,
    }
    return DemoSubmission(team, Bundle(files))
