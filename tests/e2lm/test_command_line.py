"""The ``e2lm`` command: mistakes are one line and exit code 2, and it works with any set of plugins."""

from __future__ import annotations

import argparse
import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import e2lm
from e2lm import Command, UserError
from e2lm import command_line as command_line_module
from e2lm.command_line import EXIT_INTERRUPTED, EXIT_MACHINE_ERROR, EXIT_USER_ERROR, main, run_command
from e2lm.errors import MachineError
from e2lm.messages import wanted_language
from e2lm.plugin_manager import PluginManager, PluginRecord

HELLO = Path(__file__).parents[1] / "example_plugins" / "hello.py"


class Bringer:
    """A plugin object that brings commands."""

    def __init__(self, *commands: Command) -> None:
        self.commands = commands

    @e2lm.hookimpl
    def e2lm_register_commands(self) -> list[Command]:
        return list(self.commands)


def manager_with(*commands: Command) -> PluginManager:
    manager = PluginManager()
    manager.register(Bringer(*commands), PluginRecord("bringer", "bringer-distribution", "1"))
    return manager


def command(name: str, run: Callable[[argparse.Namespace], int], takes_rest: bool = False) -> Command:
    def configure(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--count", type=int, default=0)

    return Command(name, f"Runs {name}.", configure, run, takes_rest)


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes ``main`` see these commands and no installed plugin."""

    def set_commands(*commands: Command) -> None:
        manager = manager_with(*commands)
        monkeypatch.setattr(command_line_module, "plugin_manager", lambda: manager)

    return set_commands


def test_an_unknown_command_is_one_line_with_the_nearest_names_and_exit_2(only, capsys) -> None:
    only(command("signal", lambda arguments: 0))
    assert main(["sginal"]) == EXIT_USER_ERROR == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "e2lm: error: unknown command 'sginal'. Did you mean 'signal'?\n"


def test_an_unknown_command_mentions_plugins_that_failed(only, capsys, monkeypatch) -> None:
    manager = manager_with()
    manager.records.append(PluginRecord("late", "some-distribution", "1", status="failed", error="broken"))
    monkeypatch.setattr(command_line_module, "plugin_manager", lambda: manager)
    assert main(["anything"]) == EXIT_USER_ERROR
    assert "Failed plugins: late (e2lm plugins list)." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["work", "--count", "many"], "e2lm work: argument --count: invalid int value: 'many' (see e2lm work --help)"),
        (
            ["work", "--cout", "1"],
            "e2lm work: unrecognized arguments: --cout 1. Did you mean '--count'? (see e2lm work",
        ),
        (
            ["work", "--coun", "1"],
            "e2lm work: unrecognized arguments: --coun 1. Did you mean '--count'? (see e2lm work",
        ),
        (["--wrong", "work"], "unknown option '--wrong' before the command; see e2lm --help"),
        (["--plugin"], "--plugin: the path of a Python file is missing"),
        (["plugins", "lst"], "e2lm plugins: unknown action 'lst'. Did you mean 'list'? (see e2lm plugins --help)"),
        (["plugins"], "e2lm plugins: the following arguments are required: action"),
        (["--plugin", "nowhere.py", "work"], "--plugin: nowhere.py is not a file"),
    ],
)
def test_mistakes_on_the_command_line_are_one_line_and_exit_2(only, capsys, arguments: list[str], said: str) -> None:
    only(command("work", lambda arguments: 0))
    assert main(arguments) == EXIT_USER_ERROR
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"e2lm: error: {said}")
    assert printed.err.count("\n") == 1


def test_a_mistake_that_a_command_reports_is_one_line_even_if_its_text_is_not(only, capsys) -> None:
    def run(arguments: argparse.Namespace) -> int:
        raise UserError("first\n   second")

    only(command("work", run))
    assert main(["work"]) == EXIT_USER_ERROR
    assert capsys.readouterr().err == "e2lm: error: first second\n"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (FileExistsError(errno.EEXIST, "File exists", "x"), EXIT_USER_ERROR, "x: File exists"),
        (FileNotFoundError(errno.ENOENT, "No such file", "x"), EXIT_USER_ERROR, "x: No such file"),
        (
            OSError(errno.ENOSPC, "No space left on device", "x"),
            EXIT_MACHINE_ERROR,
            "x: No space left on device; make room",
        ),
        (
            OSError(errno.EROFS, "Read-only file system", "x"),
            EXIT_MACHINE_ERROR,
            "x: Read-only file system; name a place",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "x"),
            EXIT_MACHINE_ERROR,
            "x: Permission denied; name another",
        ),
        (ConnectionError("nobody\nthere"), EXIT_MACHINE_ERROR, "ConnectionError: nobody there"),
        (MemoryError("Unable to allocate 1 EiB"), EXIT_MACHINE_ERROR, "out of memory (Unable to allocate 1 EiB)"),
        (MachineError("no network"), EXIT_MACHINE_ERROR, "no network"),
    ],
)
def test_an_error_of_the_system_is_one_line_in_every_command(only, capsys, error, code: int, said: str) -> None:
    def run(arguments: argparse.Namespace) -> int:
        raise error

    only(command("work", run))
    assert main(["work"]) == code
    printed = capsys.readouterr().err
    assert printed.startswith(f"e2lm: error: {said}")
    assert printed.count("\n") == 1


def test_a_full_disk_behind_standard_output_is_one_line() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "e2lm", "plugins", "list", "--json"],
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "E2LM_PLUGINS": ""},
            timeout=60,
        )
    assert (done.returncode, done.stderr.count("\n")) == (EXIT_MACHINE_ERROR, 1)
    assert done.stderr.startswith("e2lm: error: No space left on device")


def test_the_exit_code_is_that_of_the_command(only) -> None:
    only(command("work", lambda arguments: arguments.count))
    assert main(["work", "--count", "1"]) == 1
    assert main(["work"]) == 0


def test_an_interrupted_command_says_that_it_can_go_on(only, capsys) -> None:
    def run(arguments: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    only(command("work", run))
    assert main(["work"]) == EXIT_INTERRUPTED
    assert "the same command goes on where it stopped" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_lists_the_commands_with_what_they_do(only, capsys, arguments: list[str]) -> None:
    only(command("work", lambda arguments: 0))
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("usage: e2lm [--plugin FILE.py] [--lang ja] COMMAND ...")
    assert "  work        Runs work." in printed
    assert "  plugins     List the installed plugins" in printed


@pytest.mark.parametrize("words", [["help"], ["help", "--help"]])
def test_help_alone_lists_the_commands(only, capsys, words: list[str]) -> None:
    only(command("work", lambda arguments: 0))
    assert main(words) == 0
    assert "  work        Runs work." in capsys.readouterr().out


@pytest.mark.parametrize("words", [["work", "--help"], ["help", "work"]])
def test_the_help_of_a_command_shows_its_options(only, capsys, words: list[str]) -> None:
    only(command("work", lambda arguments: 0))
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert printed.startswith("usage: e2lm work")
    assert "--count" in printed


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_the_version_is_printed(only, capsys, flag: str) -> None:
    only()
    assert main([flag]) == 0
    assert capsys.readouterr().out == f"e2lm {e2lm.__version__}\n"


def test_a_command_claimed_by_two_plugins_is_refused_but_the_others_work(capsys) -> None:
    manager = manager_with(command("shared", lambda arguments: 0), command("alone", lambda arguments: 0))
    manager.register(Bringer(command("shared", lambda arguments: 1)), PluginRecord("other", "other-distribution", "2"))
    assert run_command(["alone"], manager) == 0
    with pytest.raises(UserError, match=r"'bringer' \(bringer-distribution 1\) and 'other' \(other-distribution 2\)"):
        run_command(["shared"], manager)
    assert run_command([], manager) == 0
    assert "shared      (claimed by two plugins: see e2lm plugins list)" in capsys.readouterr().out


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("joined", [True, False])
def test_a_one_file_plugin_may_be_named_before_or_after_the_command(before: bool, joined: bool, capsys) -> None:
    named = [f"--plugin={HELLO}"] if joined else ["--plugin", str(HELLO)]
    work = ["hello", "world"]
    assert run_command(named + work if before else work + named, PluginManager()) == 0
    assert capsys.readouterr().out == "hello world\n"


def test_a_one_file_plugin_is_there_for_its_own_command_only(tmp_path: Path, capsys) -> None:
    faulty = tmp_path / "faulty.py"
    faulty.write_text("raise ValueError('this plugin is broken')\n", encoding="utf-8")
    manager = PluginManager()
    for _ in range(2):  # the same file again is no second claim to the name
        assert run_command(["--plugin", str(HELLO), "hello", "world"], manager) == 0
        with pytest.raises(UserError, match="this plugin is broken"):
            run_command(["--plugin", str(HELLO), "--plugin", str(faulty), "hello", "world"], manager)
        assert manager.records == []
    assert capsys.readouterr().out == "hello world\n" * 2
    with pytest.raises(UserError, match="hello"):
        run_command(["hello", "world"], manager)


def test_after_two_dashes_nothing_is_taken_for_a_plugin(capsys) -> None:
    taken: list[list[str]] = []
    manager = manager_with(command("rest", lambda arguments: taken.append(arguments.rest) or 0, takes_rest=True))
    assert run_command(["rest", "--", "--plugin", "x"], manager) == 0
    assert taken == [["--", "--plugin", "x"]]


def test_a_command_that_takes_the_rest_gets_every_argument_unparsed() -> None:
    taken: list[list[str]] = []
    manager = manager_with(command("rest", lambda arguments: taken.append(arguments.rest) or 0, takes_rest=True))
    assert run_command(["rest", "--help", "--count", "x"], manager) == 0
    assert taken == [["--help", "--count", "x"]]


def test_a_reader_that_goes_away_is_no_error() -> None:
    started = subprocess.Popen(
        [sys.executable, "-m", "e2lm", "plugins", "list", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "E2LM_PLUGINS": ""},
    )
    assert started.stdout is not None
    assert started.stderr is not None
    started.stdout.close()
    said = started.stderr.read().decode()
    started.stderr.close()
    assert (started.wait(timeout=60), said) == (0, "")


def test_without_any_plugin_the_command_still_tells_what_it_is() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "e2lm", "--help"],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "E2LM_PLUGINS": ""},
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "plugins     List the installed plugins" in done.stdout
    assert "signal" not in done.stdout.replace("early signal", "")


@pytest.mark.parametrize("line", ["--lang ja work", "work --lang=ja", "--lang en work --lang ja"])
def test_a_language_is_chosen_for_one_command_and_the_processes_it_starts(only, line: str) -> None:
    told: list[str | None] = []
    only(command("work", lambda arguments: told.extend([wanted_language(), os.environ.get("E2LM_LANGUAGE")]) or 0))
    before = os.environ.get("E2LM_LANGUAGE")
    assert main(line.split()) == 0
    assert told == ["ja", "ja"]
    assert (wanted_language(), os.environ.get("E2LM_LANGUAGE")) == ("en", before)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["work", "--lang"], "--lang: the tag of a language, such as ja is missing"),
        (["--lang", "japanese please", "work"], "expected, such as en or ja"),
    ],
)
def test_a_language_that_is_none_is_one_line(only, words: list[str], said: str, capsys) -> None:
    only(command("work", lambda arguments: 0))
    assert main(words) == EXIT_USER_ERROR
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
