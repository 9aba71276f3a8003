"""``e2lm plugins new`` writes packages that install, are found, and pass their own tests."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from pathlib import Path

import pytest

from e2lm._core.plugins_command import KINDS, free_plugin_name, package_files
from e2lm.command_line import main
from e2lm.errors import UserError
from e2lm.plugin_manager import PluginManager, PluginRecord

LONGEST_MODULE_LINES = 10


def code_lines(source: str) -> int:
    """Lines that are neither empty nor comment nor the docstring of the module."""
    docstring = ast.get_docstring(ast.parse(source), clean=False)
    if docstring is not None:
        source = source.replace(f'"""{docstring}"""', "", 1)
    return sum(1 for line in source.splitlines() if line.strip() and not line.strip().startswith("#"))


def module_path(kind: str) -> str:
    return next(path for path, template in KINDS[kind].files.items() if template == "module").replace("$module", "x_y")


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_is_ten_lines_of_code_and_four_of_pyproject(kind: str) -> None:
    files = package_files(kind, "x-y")
    assert code_lines(files[module_path(kind)]) <= LONGEST_MODULE_LINES
    core = files["pyproject.toml"].partition("\n\n")[0]
    assert len(core.splitlines()) == 4
    project = tomllib.loads(core)["project"]
    assert project["entry-points"] == {"e2lm": {"x-y": "x_y"}}
    assert not any("$" in text for text in files.values())


#: Of other programs, which are wrapped and not written anew.
WITHOUT_TEMPLATE = {"e2lm_register_models"}


def test_every_register_hook_but_that_of_models_has_a_kind() -> None:
    from e2lm._core.plugins_command import registered_kinds

    assert {kind.hook for kind in KINDS.values()} == set(registered_kinds()) - WITHOUT_TEMPLATE


@pytest.mark.slow
def test_a_package_of_every_kind_installs_is_active_and_passes_its_own_tests(
    author_environment, tmp_path: Path, capsys
) -> None:
    folders = {kind: tmp_path / kind for kind in KINDS}
    for kind, folder in folders.items():
        assert main(["plugins", "new", kind, f"baked-{kind}", "--out", str(folder)]) == 0
    author_environment.install(*folders.values())
    listed = author_environment.e2lm("plugins", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    plugins = {plugin["name"]: plugin for plugin in json.loads(listed.stdout)["plugins"]}
    for kind in KINDS:
        found = plugins[f"baked-{kind}"]
        assert (found["status"], found["hooks"], found["error"]) == ("active", [KINDS[kind].hook], None)
    tests = [folder / "tests" for folder in folders.values()]
    done = author_environment.run(author_environment.python, "-m", "pytest", "-q", "-rA", *tests)
    assert done.returncode == 0, done.stdout + done.stderr
    for kind in KINDS:
        passed = re.findall(rf"^PASSED \S*/test_baked_{kind.replace('-', '_')}\.py::", done.stdout, re.MULTILINE)
        assert len(passed) >= 2, done.stdout
    uninstalled = author_environment.run(
        *(author_environment.python, "-m", "pip", "uninstall", "--yes", *(f"baked-{kind}" for kind in KINDS))
    )
    assert uninstalled.returncode == 0, uninstalled.stderr


def test_a_dry_run_says_what_would_be_written_and_writes_nothing(tmp_path: Path, capsys) -> None:
    assert main(["plugins", "new", "signal-score", "my-gain", "--out", str(tmp_path / "new"), "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all(line.startswith(f"would write {tmp_path / 'new'}/") for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_without_out_the_folder_is_called_as_the_plugin(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plugins", "new", "predictor", "my-guess"]) == 0
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == {
        "my-guess/my_guess.py",
        "my-guess/pyproject.toml",
        "my-guess/README.md",
        "my-guess/tests/test_my_guess.py",
    }
    assert capsys.readouterr().out.splitlines()[-1].startswith("next: pip install --no-deps --editable my-guess")


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("signal-score", "My Gain", "NAME 'My Gain' is not allowed: use lower-case letters"),
        ("signal-score", "../up", "NAME '../up' is not allowed"),
        ("signal-score", "a--b", "NAME 'a--b' is not allowed"),
        ("signal-score", "a" * 61, "at most 60 characters"),
        ("signal-score", "1st", "starting with a letter"),
        ("signal-score", "class", "'class' is a word or a module of Python"),
        ("signal-score", "json", "'json' is a word or a module of Python"),
        ("signal-score", "numpy", "the installed numpy has a module 'numpy'"),
        ("signal-score", "signal-quality", ""),
        ("command", "merge", "the plugin 'merge' (e2lm 0.1.0) has a command of that name"),
        ("signal-score", "e2lmc_sq", "the plugin 'signal' (e2lm 0.1.0) has a signal-score of that name"),
        ("verb", "series", "NAME: verb name 'series' is not allowed: e2lm.series is there already; choose another"),
        ("sginal-score", "fine", "invalid choice: 'sginal-score'"),
    ],
)
def test_a_name_that_would_get_in_the_way_is_one_line_and_exit_2(
    kind: str, name: str, said: str, tmp_path: Path, capsys
) -> None:
    code = main(["plugins", "new", kind, name, "--out", str(tmp_path / "new")])
    printed = capsys.readouterr()
    if not said:  # a dash for an underscore is another name
        assert code == 0
        return
    assert code == 2
    assert said in printed.err
    assert printed.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_package_called_as_a_plugin_of_another_distribution_gets_an_entry_point_of_its_own(
    tmp_path: Path, capsys
) -> None:
    assert main(["plugins", "new", "signal-score", "demo", "--out", str(tmp_path / "demo")]) == 0
    project = tomllib.loads((tmp_path / "demo" / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (project["name"], project["entry-points"]) == ("demo", {"e2lm": {"demo-signal-score": "demo"}})

    manager = PluginManager()
    manager.records += [PluginRecord("x", "other", "1"), PluginRecord("x-task", "third", "1")]
    assert free_plugin_name("metric", "x", manager) == "x-metric"
    with pytest.raises(UserError, match=r"taken by the plugin 'x-task' \(third 1\)"):
        free_plugin_name("task", "x", manager)


def test_nothing_is_overwritten(tmp_path: Path, capsys) -> None:
    kept = tmp_path / "mine.txt"
    kept.write_text("mine", encoding="utf-8")
    for out in (tmp_path, kept):
        assert main(["plugins", "new", "command", "greet", "--out", str(out)]) == 2
    assert capsys.readouterr().err.count("\n") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    assert kept.read_text(encoding="utf-8") == "mine"
