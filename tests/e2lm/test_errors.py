"""Errors are one line, and offer what is allowed."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2lm import E2LMError, UserError
from e2lm.command_line import main
from e2lm.errors import MachineError, nearest_names, no_such, one_line, system_error


def test_a_mistake_of_the_user_is_one_of_our_errors() -> None:
    assert issubclass(UserError, E2LMError)


def test_the_nearest_names_come_first_and_at_most_three() -> None:
    known = ["acc", "acc_norm", "acc_bytes", "acc_mutual", "margin"]
    assert nearest_names("acc_nrom", known).startswith("Did you mean 'acc_norm'")
    assert nearest_names("acc_", known).count("'") == 6


def test_a_long_list_of_names_is_cut_and_counted() -> None:
    assert nearest_names("zzz", [f"name{index:02}" for index in range(20)]).endswith("name11 and 8 more.")


@given(st.text(), st.lists(st.text(min_size=1), max_size=20))
def test_every_name_gets_a_sentence(name: str, known: list[str]) -> None:
    said = nearest_names(name, known)
    assert said[-1] in ".?"
    if name in known:
        assert f"Did you mean {name!r}" in said


@given(st.text())
def test_one_line_is_one_line_and_loses_nothing_but_white_space(text: str) -> None:
    assert len(one_line(text).splitlines()) <= 1
    assert one_line(text).split() == text.split()


def failure(action: Callable[[], object]) -> OSError:
    with pytest.raises(OSError) as raised:  # noqa: PT011 - each test looks at what it was
        action()
    return raised.value


def test_an_error_of_the_system_names_the_place_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "afile").touch()
    told = system_error(failure((tmp_path / "afile").mkdir))
    assert str(told) == f"{tmp_path / 'afile'}: is a file; name a folder"
    told = system_error(failure((tmp_path / "afile" / "below").mkdir))
    assert str(told) == f"{tmp_path / 'afile'}: is a file; name a folder"
    told = system_error(failure(tmp_path.read_bytes))
    assert str(told) == f"{tmp_path}: is a folder; name a file, or another folder"
    told = system_error(failure((tmp_path / "nothing").read_bytes))
    assert str(told) == f"{tmp_path / 'nothing'}: No such file or directory"


@pytest.mark.parametrize("code", sorted(errno.errorcode))
def test_every_error_of_the_system_is_one_line_of_the_user_or_of_the_machine(code: int) -> None:
    told = system_error(OSError(code, "words of the system", "some/place"))
    assert str(told).startswith("some/place: ")
    assert len(str(told).splitlines()) == 1
    mine = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ENAMETOOLONG, errno.ELOOP}
    assert isinstance(told, MachineError) == (code not in mine)


def test_a_full_disk_that_names_no_place_is_told_all_the_same() -> None:
    assert str(system_error(OSError(errno.ENOSPC, "No space left on device"))).startswith(
        "No space left on device; make room"
    )


@pytest.mark.parametrize(
    "line",
    ["checkpoints FILE", "eval FILE --tasks a --out o", "train compare FILE", "predict fit --data . --columns N=a,L=c"],
)
def test_what_is_there_but_of_another_kind_is_never_said_not_to_be_there(
    line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "scores.csv"
    file.write_text("a,b\n1,2\n", encoding="utf-8")
    assert main([str(file) if word == "FILE" else word for word in line.split()]) == 2
    told = capsys.readouterr().err
    assert ("a folder, not a file" if "--data" in line else "a file, not a folder") in told
    assert "no such" not in told


def test_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    assert no_such(tmp_path / "link", "folder") == "a link to nothing"
    assert no_such(tmp_path / "gone", "file") == "no such file"
