"""The notebook of the documentation runs from its first cell to its last, offline."""

from __future__ import annotations

import ast
import json
import warnings
from pathlib import Path
from typing import Any

import pytest

import e2lm
from e2lm.answer import Answer, Picture

#: Statements a newcomer reads.
MOST_STATEMENTS = 25


def code_cells(repository: Path) -> list[str]:
    cells = json.loads((repository / "docs" / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    assert not any(cell["outputs"] for cell in cells if cell["cell_type"] == "code"), "outputs are not kept"
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def shown(cell: str, names: dict[str, Any]) -> Any:
    """What the last line of a cell gives, as a notebook shows it."""
    tree = ast.parse(cell)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), names)


def test_it_is_short(repository: Path) -> None:
    statements = [one for cell in code_cells(repository) for one in ast.parse(cell).body]
    assert len(statements) <= MOST_STATEMENTS


def test_every_cell_runs_and_shows_what_the_next_one_needs(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [shown(cell, names) for cell in code_cells(repository)]
    answers = [one for one in found if isinstance(one, Answer)]
    assert len(answers) == 3
    assert all(one._repr_html_() for one in answers)
    table = names["scores"].to_frame()
    assert set(table["series"]) == {"2x16", "2x32"}
    assert table["step"].nunique() >= 6
    assert any(isinstance(one, Picture) for one in found)
    low, middle, high, _, true = found[-1]
    assert low < middle < high
    assert low < true < high
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "runs", "tasks", "text.txt"]
    assert e2lm.read("out").json()["curves"]
