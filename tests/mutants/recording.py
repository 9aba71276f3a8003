"""A plugin of pytest for the copies of the tree: which tests run, in which order, what came out, and who called whom.

Imported by every process of a probed copy, so it imports little, and before pytest looks: PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

#: JSON lists of tests that run first, in this order, and of files and folders of which all others run after them.
FIRST = "E2LM_MUTANTS_FIRST"
WHOLE = "E2LM_MUTANTS_WHOLE"
#: Where a line is written for every test that ended, and for the first call of a function by a test.
REPORT = "E2LM_MUTANTS_REPORT"

_called: set[tuple[str, str]] = set()


def hit(function: str) -> None:
    """Record that the test which runs now has called a function; works in the processes that a test starts, too."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    if test and (function, test) not in _called:
        _called.add((function, test))
        _write({"called": function, "test": test})


def _write(told: dict[str, Any]) -> None:
    with Path(os.environ[REPORT]).open("a", encoding="utf-8") as report:
        report.write(json.dumps(told) + "\n")


def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    """Tests that are named come first, as they are named; one that is no longer there is passed over."""
    first = {test: place for place, test in enumerate(json.loads(os.environ.get(FIRST, "[]")))}
    whole = tuple(json.loads(os.environ.get(WHOLE, "[]")))
    named = sorted((item for item in items if item.nodeid in first), key=lambda item: first[item.nodeid])
    others = [item for item in items if item.nodeid not in first and item.nodeid.startswith(whole)]
    config.hook.pytest_deselected(items=[item for item in items if item not in {*named, *others}])
    items[:] = [*named, *others]


def pytest_runtest_logreport(report: Any) -> None:
    """A test that failed, in whatever phase, or passed; how long it took."""
    if report.failed or report.when == "call":
        _write({"test": report.nodeid, "outcome": report.outcome, "seconds": round(report.duration, 3)})
