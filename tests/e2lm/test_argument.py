"""Options are refused before any work: numbers out of bounds, places that cannot be written."""

from __future__ import annotations

import os
import subprocess
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2lm import UserError
from e2lm.argument import (
    AMOUNT,
    COUNT,
    COUNT_OR_NONE,
    PORTION,
    SEED,
    SHARE,
    Number,
    Several,
    SeveralPairs,
    Whole,
    file_to_write,
    folder_to_write,
)
from e2lm.command import CommandParser
from e2lm.errors import MachineError


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (COUNT, ["1", "7", "1_000", str(2**63 - 1)], ["0", "-1", "1.5", "nan", "inf", "", "x", "9" * 30, "9" * 5000]),
        (COUNT_OR_NONE, ["0", "1"], ["-1", "1e-3", "0.2k9"]),
        (SEED, ["0", str(2**32 - 1)], ["-1", str(2**32)]),
        (Number(), ["-1.5", "0", "1e308"], ["nan", "inf", "-inf", "1e309", "x", ""]),
        (Number(least=0), ["0", "2"], ["-0.1"]),
        (Number(above=1), ["1.01"], ["1"]),
        (SHARE, ["0.2"], ["0", "1"]),
        (PORTION, ["1"], ["0", "1.01"]),
    ],
)
def test_what_is_in_bounds_is_read_and_nothing_else(
    kind: Callable[[str], Any], good: list[str], bad: list[str]
) -> None:
    for text in good:
        assert kind(text) == (int(text) if isinstance(kind, Whole) else float(text))
    for text in bad:
        with pytest.raises(ArgumentTypeError, match=r"expected a .*number") as refused:
            kind(text)
        assert len(str(refused.value)) < 120


@pytest.mark.parametrize(
    ("text", "number"),
    [("1e3", 1000), ("1k", 1000), ("1.5M", 1_500_000), ("7B", 7 * 10**9), ("57,735,027", 57_735_027)],
)
def test_whole_numbers_are_read_as_amounts_are(text: str, number: int) -> None:
    assert COUNT(text) == number
    assert isinstance(COUNT(text), int)
    assert Number(least=0)(text) == number


@given(st.integers(-(10**20), 10**20))
def test_a_whole_number_is_kept_or_refused(number: int) -> None:
    kind = Whole(-5, 10**9)
    if -5 <= number <= 10**9:
        assert kind(str(number)) == number
    else:
        with pytest.raises(ArgumentTypeError):
            kind(str(number))


def test_a_place_that_can_be_made_passes_and_is_not_made(tmp_path: Path) -> None:
    assert folder_to_write(str(tmp_path / "a" / "b")) == tmp_path / "a" / "b"
    assert file_to_write(str(tmp_path / "a" / "b.html")) == tmp_path / "a" / "b.html"
    assert folder_to_write(str(tmp_path)) == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_a_relative_place_is_told_as_it_was_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("afile").touch()
    assert folder_to_write("out") == Path("out")
    with pytest.raises(UserError, match=r"^afile: is a file; name a folder$"):
        folder_to_write("afile/out/more")


def test_the_way_out_of_a_folder_that_is_not_there_leaves_none_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("afile").touch()
    assert folder_to_write("../out") == Path("../out")
    assert folder_to_write("nowhere/../out") == tmp_path / "here" / "out"
    assert file_to_write("nowhere/../../page.html") == tmp_path / "page.html"
    with pytest.raises(UserError, match="afile: is a file; name a folder"):
        folder_to_write("nowhere/../afile/out")


@pytest.mark.parametrize("name", ["afile", "afile/below", "afile/below/it", "link"])
def test_a_file_in_the_way_of_a_folder_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "afile").touch()
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(UserError, match="is a file; name a folder") as refused:
        folder_to_write(str(tmp_path / name))
    assert not isinstance(refused.value, MachineError)


def test_a_folder_in_the_way_of_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder; name a file"):
        file_to_write(str(tmp_path))


def test_a_folder_without_the_right_to_write_is_the_machines_fault(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    if os.access(closed, os.W_OK):
        pytest.skip("this user may write everywhere")
    with pytest.raises(MachineError, match="Permission denied"):
        folder_to_write(str(closed / "out"))


def test_a_disk_that_can_only_be_read_is_the_machines_fault(tmp_path: Path) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", tmp_path], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("only root may mount")
    try:
        with pytest.raises(MachineError, match="Read-only file system"):
            folder_to_write(str(tmp_path / "out"))
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def with_lists(parser: CommandParser) -> None:
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--tasks", action=Several, nargs=None, required=True)
    parser.add_argument("--metrics", action=Several)
    parser.add_argument("--early-tokens", action=Several, item=AMOUNT)
    parser.add_argument("--columns", action=SeveralPairs, nargs=None, default=None)


@pytest.mark.parametrize(
    "line",
    [
        "RUN --tasks arc,boolq", "RUN --tasks arc boolq", "--tasks arc,boolq RUN", "RUN --tasks arc --tasks boolq",
        "RUN --tasks arc, boolq", "--tasks arc,boolq --metrics acc RUN --early-tokens 1e9,2B",
        "RUN --metrics acc --tasks arc boolq --early-tokens 1e9,2B",
    ],
)  # fmt: skip
def test_a_list_is_typed_with_commas_or_spaces_before_or_after_the_rest(line: str) -> None:
    parser = CommandParser(prog="e2lm work")
    with_lists(parser)
    found = parser.parse_args(line.split())
    assert (found.runs, found.tasks) == (["RUN"], ["arc", "boolq"])
    assert list(found.metrics) == (["acc"] if "acc" in line else [])
    assert list(found.early_tokens) == ([1e9, 2e9] if "1e9" in line else [])


def test_what_is_wrong_with_a_line_is_told_as_it_was_typed() -> None:
    parser = CommandParser(prog="e2lm work")
    with_lists(parser)
    with pytest.raises(UserError, match=r"unrecognized arguments: --taks b"):
        parser.parse_args(["RUN", "--tasks", "a", "--taks", "b"])
    with pytest.raises(UserError, match=r"--tasks: no name given; put commas or spaces between names"):
        parser.parse_args(["RUN", "--tasks", ","])
    assert parser.parse_args(["RUN", "--tasks", "a,b"]).tasks == ["a", "b"]


@pytest.mark.parametrize("typed", [["N=params,D=tokens"], ["N=params", "D=tokens"], ["N=params,", "D=tokens"]])
def test_columns_are_one_text_however_they_are_typed(typed: list[str]) -> None:
    parser = CommandParser(prog="e2lm work")
    with_lists(parser)
    assert parser.parse_args(["RUN", "--tasks", "a", "--columns", *typed]).columns == "N=params,D=tokens"
    assert parser.given({"runs": "RUN", "tasks": "a, b", "columns": typed}).columns == "N=params,D=tokens"
    assert parser.given({"runs": "RUN", "tasks": ["a", "b,c"]}).tasks == ["a", "b", "c"]
