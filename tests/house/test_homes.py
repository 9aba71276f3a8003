"""A type has one home: no two files define a public class, or alias of a type, of one name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOTS = ("plugins", "adapters", "leaderboard", "e2lm_tasks")


def types_in(source: str) -> Iterator[tuple[int, str]]:
    """Line and name of every public type at the top of a module, also under ``if`` and ``try``."""
    waiting: list[ast.stmt] = list(ast.parse(source).body)
    for node in waiting:
        if isinstance(node, ast.If | ast.Try):
            waiting += [*node.body, *node.orelse, *(node.finalbody if isinstance(node, ast.Try) else [])]
        for name in _named(node):
            if name[0].isupper() and not name.isupper():
                yield node.lineno, name


def _named(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def homes(root: Path) -> dict[str, list[str]]:
    """Every public type and where it is defined."""
    found: dict[str, list[str]] = {}
    for place in ROOTS:
        for file in sorted((root / place).rglob("*.py")):
            for line, name in types_in(file.read_text(encoding="utf-8")):
                found.setdefault(name, []).append(f"{file.relative_to(root).as_posix()}:{line}")
    return found


def test_every_type_has_one_home(repository: Path) -> None:
    found = homes(repository)
    assert len(found) > 300
    assert {name: places for name, places in found.items() if len(places) > 1} == {}


@pytest.mark.parametrize(
    "source",
    [
        "class Share: ...",
        "Share = Annotated[float, 1]",
        "Share: TypeAlias = float",
        "if TYPE_CHECKING:\n    Share = float",
        "try:\n    x = 1\nexcept ImportError:\n    pass\nelse:\n    class Share: ...",
    ],
)
def test_a_second_home_is_found_and_both_are_told(source: str, tmp_path: Path) -> None:
    (tmp_path / "plugins" / "e2lm_merge").mkdir(parents=True)
    (tmp_path / "leaderboard").mkdir()
    (tmp_path / "plugins" / "e2lm_merge" / "layers.py").write_text("\n\nclass Share: ...\n", encoding="utf-8")
    (tmp_path / "leaderboard" / "season.py").write_text(source, encoding="utf-8")
    first, second = homes(tmp_path)["Share"]
    assert first == "plugins/e2lm_merge/layers.py:3"
    assert second.startswith("leaderboard/season.py:")


@pytest.mark.parametrize(
    "source", ["SHARE = 1", "_Share = float", "share = 1", "def Share(): ...", "from x import Share"]
)
def test_constants_private_names_functions_and_imports_are_no_homes(source: str) -> None:
    assert not list(types_in(source))
