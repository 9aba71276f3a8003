"""The rooms of the package lie in one direction, so that a reader of one need not know those above it."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.house.test_import_rules import imported_names

#: Each room may import those before it, and what lies beside the rooms: the sentences.
BESIDE = "messages"
ROOMS = ("corpus", "difficulty", "plan", "model", "config", "train", "follow", "compare", "cli")


def test_every_room_imports_only_rooms_below_it(repository: Path) -> None:
    package = repository / "plugins" / "e2lm_curriculum"
    climbing = []
    for file in sorted(package.glob("*/*.py")):
        for line, name in imported_names(ast.parse(file.read_text(encoding="utf-8"))):
            room = name.split(".")[1] if name.startswith("e2lm_curriculum.") else file.parent.name
            if room not in (BESIDE, *ROOMS[: ROOMS.index(file.parent.name) + 1]):
                climbing.append(f"{file.parent.name}/{file.name}:{line} imports {name}")
    assert climbing == []
    assert {file.parent.name for file in package.glob("*/__init__.py")} == set(ROOMS)
