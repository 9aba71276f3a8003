"""``e2lm train seen``: what a checkpoint had been shown, and which one saw a text first."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

from e2lm.errors import UserError
from e2lm_curriculum.train.seen import SeenText


def run_seen(arguments: Namespace) -> int:
    """Count what was shown up to a step, and look for texts in it."""
    seen = SeenText(arguments.run, arguments.step)
    documents_seen, documents = seen.documents()
    report: dict[str, Any] = {
        "run": str(arguments.run),
        "step": seen.step,
        "tokens": seen.tokens,
        "examples_seen": seen.examples_seen,
        "examples": seen.examples,
        "documents_seen": documents_seen,
        "documents": documents,
        "vocabulary_limited": seen.is_limited,
        "queries": [asdict(one) for one in seen.queries(queries(arguments))],
    }
    _print(report, arguments.json)
    return 0


def queries(arguments: Namespace) -> list[str]:
    """The texts to look for: those of ``--query``, then a line each of ``--queries``."""
    found: list[str] = list(arguments.query or [])
    if arguments.queries is not None:
        file: Path = arguments.queries
        try:
            found += [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        except UnicodeDecodeError as error:
            raise UserError(f"{file}: not UTF-8 at byte {error.start}; --queries takes a text on each line") from error
    return found


def _print(report: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(report, indent=1, ensure_ascii=False))
        return
    print(
        f"step {report['step']:,}: {report['tokens']:,} tokens, {report['examples_seen']:,} of {report['examples']:,} "
        f"examples, parts of {report['documents_seen']:,} of {report['documents']:,} documents"
    )
    if report["vocabulary_limited"]:
        print("note: the curriculum showed rare tokens as unknown ones at first; texts with them were seen in part")
    for one in report["queries"]:
        print(f"{one['query']!r:.60}: {_told(one)}")
    if len(report["queries"]) > 1:
        seen = sum(one["places_seen"] > 0 for one in report["queries"])
        print(f"seen by step {report['step']:,}: {seen} of {len(report['queries'])} texts")


def _told(one: dict[str, Any]) -> str:
    also = "; in the held-out text" if one["held_out"] else ""
    if not one["places"]:
        return f"not in the training text{also}"
    if not one["places_seen"]:
        return f"not seen yet, in the training text at {one['places']:,} places{also}"
    checkpoint = "no checkpoint since" if one["first_checkpoint"] is None else f"checkpoint-{one['first_checkpoint']}"
    return (
        f"seen {one['times_shown']:,} times at {one['places_seen']:,} of {one['places']:,} places, first in step "
        f"{one['first_step']:,} ({checkpoint} has it){also}"
    )
