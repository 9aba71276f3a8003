"""The code behind a task counts wherever it lies, and nothing else does."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from e2lm_adapters.lm_eval.task_code import code_of

PACKAGE = {
    "judging/__init__.py": "",
    "judging/main.py": (
        "import re\nfrom judging.constants import FACTOR\nfrom .help import helped\n\n\n"
        "def judge(x):\n    from judging import late\n    return late.last(helped(x) * FACTOR)\n\n\n"
        "class Judge:\n    def __call__(self, x):\n        return judge(x)\n\n\n"
        "def scaled(factor):\n    def inner(x):\n        return x * factor\n    return inner\n"
    ),
    "judging/constants.py": "FACTOR = 3\n",
    "judging/help.py": "import numpy as np\n\n\ndef helped(x):\n    return np.float64(x)\n",
    "judging/late.py": "def last(x):\n    return x\n",
    "judging/unrelated.py": "VALUE = 1\n",
}


@pytest.fixture
def judging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], ModuleType]]:
    """Imports the package of a judge anew, as a new process would."""
    for name, text in PACKAGE.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def forget() -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == "judging"]:
            del sys.modules[name]

    def imported() -> ModuleType:
        forget()
        importlib.invalidate_caches()
        return importlib.import_module("judging.main")

    yield imported
    forget()


def bound(module: ModuleType) -> Callable[..., object]:
    return functools.partial(module.judge, 3)


ROOTS: dict[str, Callable[[ModuleType], object]] = {
    "function": lambda module: module.judge,
    "class": lambda module: module.Judge,
    "instance": lambda module: module.Judge(),
    "method": lambda module: module.Judge().__call__,
    "partial": bound,
    "closure": lambda module: module.scaled(2),
    "lambda": lambda module: functools.wraps(module.judge)(lambda x: x),
}


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("file", [name for name in PACKAGE if "__init__" not in name and "unrelated" not in name])
def test_a_change_anywhere_behind_a_callable_is_a_change(
    file: str, root: str, judging: Callable[[], ModuleType], tmp_path: Path
) -> None:
    before = code_of([ROOTS[root](judging())]).parts
    (tmp_path / file).write_text(PACKAGE[file] + "\nADDED = 1\n", encoding="utf-8")
    after = code_of([ROOTS[root](judging())]).parts
    assert [name for name in {**before, **after} if before.get(name) != after.get(name)] == [f"code {Path(file).name}"]


@pytest.mark.parametrize("text", ["# a remark\n", "\n\n\n", "\n\nif True: pass\n"])
def test_remarks_and_layout_are_no_change_and_code_is(
    text: str, judging: Callable[[], ModuleType], tmp_path: Path
) -> None:
    before = code_of([judging().judge]).parts
    (tmp_path / "judging/help.py").write_text(PACKAGE["judging/help.py"] + text, encoding="utf-8")
    assert (code_of([judging().judge]).parts == before) == ("pass" not in text)


def test_what_nobody_imports_does_not_count(judging: Callable[[], ModuleType], tmp_path: Path) -> None:
    before = code_of([judging().judge]).parts
    (tmp_path / "judging/unrelated.py").write_text("VALUE = 2\n", encoding="utf-8")
    assert code_of([judging().judge]).parts == before


def test_a_value_that_a_function_carries_with_it_counts(judging: Callable[[], ModuleType]) -> None:
    module = judging()
    for make in (module.scaled, lambda factor: functools.partial(module.judge, factor)):
        assert code_of([make(2)]).parts == code_of([make(2)]).parts
        assert code_of([make(2)]).parts != code_of([make(3)]).parts


def test_code_without_a_file_counts_by_what_it_does() -> None:
    def made(source: str) -> object:
        names: dict[str, object] = {}
        exec(source, names)
        return names["judge"]

    first, second = "def judge(x):\n    return x + 1\n", "def judge(x):\n    return x + 2\n"
    assert code_of([made(first)]).parts == code_of([made(first)]).parts
    assert code_of([made(first)]).parts != code_of([made(second)]).parts


def test_packages_count_by_version_ours_and_pythons_own_not_at_all(judging: Callable[[], ModuleType]) -> None:
    from importlib.metadata import version

    code = code_of([judging().judge])
    assert {name: value for name, value in code.parts.items() if name.startswith("package ")} == {
        "package numpy": f"numpy {version('numpy')}"
    }
    assert "numpy" in code.distributions
