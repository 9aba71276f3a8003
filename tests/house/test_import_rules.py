"""Who may import whom: the core knows nobody, plugins and adapters know the core only."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

#: Package -> our other packages that it may import.
MAY_IMPORT: dict[str, frozenset[str]] = {
    "e2lm": frozenset(),
    "e2lm_adapters": frozenset({"e2lm"}),
    "e2lm_curriculum": frozenset({"e2lm"}),
    "e2lm_demo": frozenset({"e2lm"}),
    "e2lm_view": frozenset({"e2lm"}),
    "e2lm_leaderboard": frozenset({"e2lm"}),
    "e2lm_merge": frozenset({"e2lm"}),
    "e2lm_scaling": frozenset({"e2lm"}),
    "e2lm_signal": frozenset({"e2lm"}),
    "e2lm_tasks": frozenset({"e2lm"}),
    "e2lm_testing": frozenset({"e2lm"}),
}

ROOTS = ("plugins", "adapters", "leaderboard", ".")

#: Calls whose first argument is the name of a module.
IMPORT_CALLS = frozenset({"import_module", "__import__"})
#: ``"module:function"`` of an action, a verb, a model: imported when it is used, and so an import.
TARGET = re.compile(r"(e2lm\w*(?:\.\w+)+):\w+")


def package_folders(root: Path) -> dict[str, Path]:
    """Every package of ours in the source roots, by name."""
    return {
        file.parent.name: file.parent for place in ROOTS for file in sorted((root / place).glob("e2lm*/__init__.py"))
    }


def imported_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything a module imports, at whatever depth, by statement, call or target."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module if not node.level and node.module else "." * node.level
        elif isinstance(node, ast.Call) and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            first = node.args[0]
            if called in IMPORT_CALLS and isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield node.lineno, first.value
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and TARGET.fullmatch(node.value):
            yield node.lineno, node.value.partition(":")[0]


def broken_rules(root: Path) -> list[str]:
    """Every import between our packages that is not allowed, and every relative one."""
    broken = []
    for package, folder in package_folders(root).items():
        allowed = MAY_IMPORT.get(package, frozenset()) | {package}
        for file in sorted(folder.rglob("*.py")):
            for line, name in imported_names(ast.parse(file.read_text(encoding="utf-8"))):
                top = name.partition(".")[0]
                if name.startswith(".") or (top in MAY_IMPORT and top not in allowed):
                    broken.append(f"{file.relative_to(root)}:{line} imports {name}")
    return broken


def test_every_package_has_a_rule_and_every_rule_a_package(repository: Path) -> None:
    assert set(package_folders(repository)) == set(MAY_IMPORT)


def test_no_package_imports_another_that_it_must_not_know(repository: Path) -> None:
    assert broken_rules(repository) == []


@pytest.mark.parametrize(
    "statement",
    [
        "import e2lm_merge.methods.linear",
        "from e2lm_merge import linear",
        "def f():\n    from e2lm_merge.methods.linear import merged",
        "import importlib\nimportlib.import_module('e2lm_merge')",
        "__import__('e2lm_merge.methods.linear')",
        "RUN = 'e2lm_merge.cli.command:run'",
        "from . import other",
    ],
)
def test_a_forbidden_import_is_found_wherever_it_stands(statement: str, tmp_path: Path) -> None:
    folder = tmp_path / "plugins" / "e2lm_signal"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("from e2lm import hookimpl\nimport e2lm_signal.plugin\n", encoding="utf-8")
    (folder / "plugin.py").write_text(statement, encoding="utf-8")
    (found,) = broken_rules(tmp_path)
    assert found.startswith("plugins/e2lm_signal/plugin.py:")


def test_the_core_names_no_plugin_at_all(repository: Path) -> None:
    others = set(MAY_IMPORT) - {"e2lm"}
    named = [
        f"{file.name}:{node.lineno}"
        for file in sorted((repository / "plugins" / "e2lm").rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Name | ast.Attribute)
        and (getattr(node, "id", None) or getattr(node, "attr", None)) in others
    ]
    assert named == []
