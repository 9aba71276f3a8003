"""Which tests of a package run which of its functions, by a line at the head of every function of a copy."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from tests.mutants.changes import Change, places
from tests.mutants.copies import Ended, TreeCopy
from tests.mutants.drawn import PACKAGES, mentions, sources

HIT = '__import__("tests.mutants.recording", fromlist=["hit"]).hit({key!r})'

#: A change is shown to so many tests that run its function, and for so long.
MOST_TESTS = 40
MOST_S = 60.0


def probed(file: str, source: str) -> str:
    """The file with a line at the head of every function that says that it was called.

    >>> print(probed("a.py", "def f():\\n    return 1\\n").splitlines()[1][:40])
        __import__("tests.mutants.recording"
    """
    lines = source.splitlines(keepends=True)
    for where, node in reversed(list(places(ast.parse(source)))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            if body and body[0].lineno > node.lineno and not getattr(body[0], "decorator_list", ()):
                indent = " " * body[0].col_offset
                lines.insert(body[0].lineno - 1, indent + HIT.format(key=f"{file}::{where}") + "\n")
    return "".join(lines)


def functions_called(copy: TreeCopy, package: str, limit_s: float) -> dict[str, dict[str, float]]:
    """``file::function`` -> the tests that run it, with their seconds. Spoils the copy."""
    for name, text in sources(copy.folder).items():
        (copy.folder / name).write_text(probed(name, text), encoding="utf-8")
    whole = [f"{PACKAGES[package][0]}/{package}/".removeprefix("./"), f"tests/{package}/"]
    return _by_function(copy.test([], whole, limit_s, stop=False))


def _by_function(ended: Ended) -> dict[str, dict[str, float]]:
    seconds = {str(one["test"]): float(str(one["seconds"])) for one in ended.told if one.get("outcome") == "passed"}
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for one in ended.told:
        if "called" in one and str(one["test"]) in seconds:
            found[str(one["called"])][str(one["test"])] = seconds[str(one["test"])]
    return found


def noticing(
    change: Change, reached: dict[str, dict[str, float]], texts: dict[str, str], root: Path
) -> tuple[str, ...]:
    """The tests that run what is changed: its doctests and those of its own file first, then the quickest."""
    seconds: dict[str, float] = {}
    for function in mentions(texts, change):
        seconds |= reached.get(function, {})
    own = {change.file, *mirrored(change.file, root)[:1]}
    ordered = sorted(seconds, key=lambda test: (test.partition("::")[0] not in own, seconds[test], test))
    taken, total = [], 0.0
    for test in ordered[:MOST_TESTS]:
        total += seconds[test]
        if total <= MOST_S:
            taken.append(test)
    return tuple(taken)


def mirrored(file: str, root: Path) -> Sequence[str]:
    """The test file that mirrors a file, where there is one, and the others of its room, else of the package.

    >>> mirrored("tests/none/e2lm_x/a.py", Path("."))
    []
    """
    parts = file.split("/")
    package = next((place for place, part in enumerate(parts) if part in PACKAGES), None)
    if package is None:
        return []
    room = Path("tests", *parts[package:-1])
    while not any((root / room).glob("test_*.py")) and len(room.parts) > 2:
        room = room.parent
    there = [str(one.relative_to(root)) for one in (root / room).glob("test_*.py")]
    return sorted(there, key=lambda one: (not one.endswith(f"/test_{parts[-1]}"), one))
