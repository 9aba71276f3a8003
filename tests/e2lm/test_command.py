"""One parser of all commands: mistakes are one line, nothing is abbreviated, and a first word may choose an action."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

import pytest

from e2lm import Command, E2LMError, UserError
from e2lm.command import Action, CommandParser


def with_count(parser: CommandParser) -> None:
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--out")


def with_path(parser: CommandParser) -> None:
    parser.add_argument("path", nargs="?")
    parser.add_argument("--seed", type=int)


def told(arguments: Namespace) -> int:
    print(vars(arguments))
    return 7


ACTIONS = {"distil": Action("Distil it.", with_count, told), "noise": Action("Its noise.", with_path, told)}
STRICT = Command.with_actions("work", "Works.", ACTIONS)
LENIENT = Command.with_actions("work", "Works.", ACTIONS, Action("Works on a file.", with_path, told))


def ran(command: Command, *words: str) -> int:
    return command.run(command.parser().parse_args(words))


@pytest.mark.parametrize("command", [STRICT, LENIENT])
def test_the_first_word_chooses_the_action_and_the_rest_is_for_it_alone(command: Command, capsys) -> None:
    assert ran(command, "distil", "--count", "3") == 7
    assert capsys.readouterr().out == "{'count': 3, 'out': None, 'action': 'distil'}\n"
    assert ran(command, "noise", "distil") == 7
    assert capsys.readouterr().out == "{'path': 'distil', 'seed': None, 'action': 'noise'}\n"
    with pytest.raises(UserError, match=r"^e2lm work noise: unrecognized arguments: --count \(see e2lm work noise -"):
        ran(command, "noise", "--count", "3")


@pytest.mark.parametrize(
    ("words", "path"), [(["a.csv"], "a.csv"), (["./noise"], "./noise"), ([], None), (["--seed", "1", "noise"], "noise")]
)
def test_any_other_first_word_belongs_to_the_default_action(words: list[str], path: str | None, capsys) -> None:
    assert ran(LENIENT, *words) == 7
    assert f"'path': {path!r}" in capsys.readouterr().out


def test_without_a_default_action_one_must_be_named(capsys) -> None:
    with pytest.raises(UserError, match=r"^e2lm work: the following arguments are required: action \(distil, noise\)"):
        ran(STRICT)
    with pytest.raises(
        UserError, match=r"are required: action \(distil, noise\), before --count \(see e2lm work --help"
    ):
        ran(STRICT, "--count", "3", "distil")
    with pytest.raises(
        UserError, match=r"^e2lm work: unknown action 'a.csv'. Known: distil, noise. \(see e2lm work --he"
    ):
        ran(STRICT, "a.csv")
    with pytest.raises(UserError, match=r"unknown action 'distl'. Did you mean 'distil'\?"):
        ran(STRICT, "distl", "--count", "3")


def test_a_slip_in_an_action_is_not_taken_for_a_file_unless_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^e2lm work: unknown action 'nosie' and no file. Did you mean 'noise'\?"):
        ran(LENIENT, "nosie", "a.csv")
    (tmp_path / "nosie").touch()
    assert ran(LENIENT, "nosie") == 7
    assert ran(LENIENT, "owner/noise") == 7
    assert capsys.readouterr().out.count("\n") == 2


def test_help_of_the_command_lists_the_actions_and_help_of_an_action_its_options(capsys) -> None:
    for command, usage in (
        (STRICT, "usage: e2lm work ACTION ..."),
        (LENIENT, "usage: e2lm work [-h] [--seed SEED] [path]"),
    ):
        for words in (["--help"], ["-h"]):
            with pytest.raises(SystemExit) as ended:
                command.parser().parse_args(words)
            assert ended.value.code == 0
            printed = capsys.readouterr().out
            assert printed.startswith(usage)
            assert all(f"  {name:<6}  {action.help}\n" in printed for name, action in ACTIONS.items())
            assert printed.endswith("\ne2lm work ACTION --help tells more about one.\n")
        with pytest.raises(SystemExit) as ended:
            command.parser().parse_args(["distil", "--help"])
        printed = capsys.readouterr().out
        assert ended.value.code == 0
        assert printed.startswith("usage: e2lm work distil [-h] --count COUNT [--out OUT]")
        assert "Distil it." in printed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cuont", "1"], "the following arguments are required: --count. Did you mean '--count'? (see"),
        (["--count=1", "--ot=x"], "unrecognized arguments: --ot=x. Did you mean '--out'? (see"),
        (["--count", "1", "--cou", "2", "--otu"], "Did you mean '--count'? Did you mean '--out'? (see"),
        (["--count", "1", "--", "--ot"], "unrecognized arguments: -- --ot (see"),
        (["--count", "1", "--xyz"], "unrecognized arguments: --xyz (see"),
    ],
)
def test_a_mistyped_option_is_told_the_nearest_one(words: list[str], said: str) -> None:
    parser = CommandParser(prog="e2lm work")
    with_count(parser)
    with pytest.raises(UserError) as refused:
        parser.parse_args(words)
    assert said in str(refused.value)
    assert str(refused.value).endswith("(see e2lm work --help)")


def test_sub_parsers_of_a_stranger_abbreviate_nothing_either() -> None:
    parser = CommandParser(prog="e2lm work")
    with_count(parser.add_subparsers(dest="what").add_parser("one"))
    assert parser.parse_args(["one", "--count", "1"]).count == 1
    with pytest.raises(UserError, match="e2lm work one: the following arguments are required: --count"):
        parser.parse_args(["one", "--cou", "1"])


def test_what_an_action_names_is_imported_when_it_is_used_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    for name in ("typed_action", "other_action"):
        source = (
            "def configure(parser):\n    parser.add_argument('x')\ndef run(arguments):\n    return int(arguments.x)\n"
        )
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    actions = {
        name: Action("Does it.", f"{name}_action:configure", f"{name}_action:run") for name in ("typed", "other")
    }
    command = Command.with_actions("work", "Works.", actions)
    assert ran(command, "typed", "5") == 5
    assert ("typed_action" in sys.modules, "other_action" in sys.modules) == (True, False)
    with pytest.raises(SystemExit):
        command.parser().parse_args(["--help"])
    assert "other_action" not in sys.modules
    assert "Does it." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("target", "said"),
    [("math", "'math' is not of the form 'module:function'"), ("math:hypto", "the module math has no 'hypto'")],
)
def test_a_target_that_names_nothing_says_so(target: str, said: str) -> None:
    command = Command.with_actions("work", "Works.", {"do": Action("Does it.", lambda parser: None, target)})
    with pytest.raises(E2LMError, match=said):
        ran(command, "do")
