"""No option of any command lets every number through, and no output may be named that cannot be written.

Each action of each command is asked through its own parser, so that one added tomorrow is asked too.
"""

from __future__ import annotations

from argparse import Action
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2lm import Command, UserError
from e2lm.argument import Number, Several, Whole, file_to_write, folder_to_write
from e2lm.command import CommandParser
from e2lm.command_line import main
from e2lm.plugin_manager import plugin_manager

NOT_NUMBERS = ("nan", "inf", "-inf", "1e999", "", "many", "9" * 400)
#: What is written there is made by the system itself, or is a name: ``leaderboard init SEASON``.
OUTPUT_NAMES = frozenset({"out", "output", "hub_cache", "plot"})


def parsers() -> Iterator[CommandParser]:
    commands = plugin_manager().registered("e2lm_register_commands", Command)
    for claims in commands.values():
        parser = claims[0].item.parser()
        if not parser.actions:
            yield parser
        for name in parser.actions:
            yield parser.action_parser(name)
        if parser._default is not None:
            yield parser.action_parser(None)


def options() -> list[tuple[CommandParser, Action]]:
    return [(parser, option) for parser in parsers() for option in parser._actions]


def numbers() -> list[tuple[CommandParser, Action]]:
    """What takes a number: said by its type, or by a number as its default."""
    return [
        (parser, option)
        for parser, option in options()
        if isinstance(option.type, Whole | Number)
        or option.type in (int, float)
        or (isinstance(option.default, int | float) and not isinstance(option.default, bool))
        or getattr(option.type, "__name__", "") == "_gpus"
    ]


def label(parser: CommandParser, option: Action) -> str:
    return f"{parser.prog} {'/'.join(option.option_strings) or option.dest}"


def test_every_number_has_bounds() -> None:
    assert len(numbers()) > 60
    bare = [label(parser, option) for parser, option in numbers() if option.type in (int, float)]
    assert bare == []


@pytest.mark.parametrize("text", NOT_NUMBERS)
def test_what_is_no_number_is_one_line_in_every_command(text: str) -> None:
    let_through = []
    for parser, option in numbers():
        words = [f"{option.option_strings[0]}={text}"]
        try:
            parser.parse_args(words)
        except UserError as error:
            line = str(error)
            if f"argument {'/'.join(option.option_strings)}" in line and len(line.splitlines()) == 1:
                continue
            let_through.append(line)
        else:
            let_through.append(label(parser, option))
    assert let_through == []


def test_every_option_that_takes_names_takes_them_with_commas_and_with_spaces() -> None:
    """Names of files may have commas in them, and a shell writes several with spaces."""
    found = [(parser, option) for parser, option in options() if option.option_strings and option.nargs in ("+", "*")]
    single = [label(parser, option) for parser, option in found if not isinstance(option, Several)]
    assert {one.rpartition(" ")[2] for one in single} <= {"--corpus", "--background"}
    assert sum(isinstance(option, Several) for _, option in options()) >= 20


def test_counts_shares_and_amounts_are_never_negative() -> None:
    let_through = []
    for parser, option in numbers():
        try:
            parser.parse_args([f"{option.option_strings[0]}=-1"])
        except UserError as error:
            if f"argument {'/'.join(option.option_strings)}" in str(error):
                continue
        let_through.append(label(parser, option))
    assert let_through == []


def test_every_output_is_looked_at_before_the_work() -> None:
    outputs = [(parser, option) for parser, option in options() if option.dest in OUTPUT_NAMES]
    assert len(outputs) > 15
    unchecked = [
        label(parser, option)
        for parser, option in outputs
        if option.type not in (folder_to_write, file_to_write) and not isinstance(option.const, bool)
    ]
    assert unchecked == []


@pytest.mark.parametrize(
    "words",
    [
        ("leaderboard", "init", "OUT", "--series", "runs"),
        ("leaderboard", "new-submission", "OUT"),
        ("leaderboard", "export", "season", "OUT"),
        ("plugins", "new", "metric", "mymetric", "--out", "OUT"),
        ("tasks", "build", "--facts", "--out", "OUT"),
        ("merge", "nothing.yml", "OUT"),
        ("signal", "plot", "nothing.csv", "--out", "OUT/x.html"),
        ("predict", "fit", "--data", "nothing.csv", "--plot", "OUT/x.html"),
        ("eval", "nothing", "--tasks", "none", "--out", "OUT"),
        ("train", "--corpus", "nothing.txt", "--out", "OUT"),
        ("demo", "--out", "OUT"),
        ("hub", "pull", "owner/name", "OUT"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_a_file_where_a_folder_is_to_be_is_one_line_and_the_users_mistake(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("afile").touch()
    for place in ("afile", "afile/sub"):
        assert main([word.replace("OUT", place) for word in words]) == 2
        said = capsys.readouterr()
        assert (said.out, said.err) == ("", "e2lm: error: afile: is a file; name a folder\n")
