"""Rooms import downwards only, so that the way from a config to bytes never climbs back."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import e2lm_merge

PACKAGE = Path(e2lm_merge.__file__).parent
ROOMS = ("cli", "search", "output", "methods", "plan", "numbers")


def rooms_imported(text: str) -> set[str]:
    """The rooms of this package that a module imports from, at whatever depth and for types alone too."""
    names = [
        name
        for node in ast.walk(ast.parse(text))
        for name in (
            [f"{node.module}.{alias.name}" for alias in node.names]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else []
        )
    ]
    return {name.split(".")[1] for name in names if name.startswith("e2lm_merge.")}


def test_every_room_is_known() -> None:
    assert {folder.name for folder in PACKAGE.iterdir() if (folder / "__init__.py").is_file()} == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_nothing_from_above(room: str) -> None:
    above = set(ROOMS[: ROOMS.index(room)])
    files = sorted((PACKAGE / room).glob("*.py"))
    assert len(files) > 2
    climbing = {file.name: sorted(found) for file in files if (found := rooms_imported(file.read_text()) & above)}
    assert climbing == {}


@pytest.mark.parametrize(
    "text",
    [
        "from e2lm_merge.cli.sweep import run",
        "def f():\n    import e2lm_merge.cli.sweep",
        "if TYPE_CHECKING:\n    from e2lm_merge.cli import sweep",
        "from e2lm_merge import cli",
    ],
)
def test_an_import_from_above_is_seen_wherever_it_stands(text: str) -> None:
    assert rooms_imported(text) == {"cli"}
