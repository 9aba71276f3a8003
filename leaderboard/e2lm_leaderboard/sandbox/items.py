"""Items of the code tier: functions run in the sandbox over the rows, and only what they gave comes out.

What comes out is data of the submission like any other: it is parsed with the same limits, and templates are rendered
outside, behind the same fences as in the declarative tier.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

from e2lm.errors import one_line
from e2lm_leaderboard.bundle.bundle import Bundle, Findings
from e2lm_leaderboard.bundle.check import CheckedTask
from e2lm_leaderboard.bundle.items import ItemError, ItemMaker, TaskItem
from e2lm_leaderboard.bundle.rows import RowError, data_rows
from e2lm_leaderboard.bundle.rules import check_items
from e2lm_leaderboard.bundle.task_file import beside
from e2lm_leaderboard.sandbox.sandbox import SCRIPT, SandboxError, SandboxLimits, run_in_sandbox
from e2lm_leaderboard.season.season import SeasonRules


def code_items(
    checked: CheckedTask, bundle: Bundle, rules: SeasonRules, language: str, limits: SandboxLimits, findings: Findings
) -> tuple[TaskItem, ...]:
    """The items of a task with functions; empty with the reason among the findings where there are none."""
    place = next(iter(checked.task.functions))
    try:
        answered = list(_answers(checked, bundle, rules, limits))
        rows = [(line, row["row"]) for line, row in answered]
        answers = {line: row["answers"] for line, row in answered}
        items = tuple(ItemMaker(checked.task).items(rows, answers))
    except SandboxError as error:
        findings.add("sandbox", checked.file, place, str(error), "an answer for every row", "correct the code")
        return ()
    except RowError as error:
        where = "" if error.line is None else f"row {error.line}"
        findings.add("sandbox", checked.file, where, error.found, error.expected, "correct what the code gives")
        return ()
    except ItemError as error:
        findings.add("items", checked.file, error.field, error.found, error.expected, "correct the code or template")
        return ()
    check_items(checked.data_file, items, rules, language, findings)
    return items


def _answers(
    checked: CheckedTask, bundle: Bundle, rules: SeasonRules, limits: SandboxLimits
) -> Iterator[tuple[int, dict[str, Any]]]:
    plan = {
        field: [beside(checked.file, reference.file), reference.function]
        for field, reference in checked.task.functions.items()
    }
    rows = [row for _, row in data_rows(checked.data_file, bundle.files[checked.data_file], rules)]
    job = {f"code/{name}": content for name, content in bundle.files.items() if name.endswith(".py")}
    job["rows.jsonl"] = "".join(json.dumps(row) + "\n" for row in rows).encode()
    job["plan.json"] = json.dumps({"functions": plan}).encode()
    job[SCRIPT] = (files("e2lm_leaderboard.sandbox") / "items_runner.py").read_bytes()
    done = run_in_sandbox(job, limits)
    if done.code != 0:
        last = done.errors.strip().splitlines()[-1:]  # of a traceback the last line tells what happened
        why = one_line(*last)[:300] if last else f"it ended with code {done.code}"
        raise SandboxError(why)
    for line, answer in data_rows("answers.jsonl", done.output, rules):
        if not isinstance(answer.get("row"), dict) or not isinstance(answer.get("answers"), dict):
            raise RowError(line, "something else than a row and its answers", "the runner's own format")
        if line > rules.max_items:
            raise RowError(line, "more rows", f"at most {rules.max_items}")
        yield line, answer
