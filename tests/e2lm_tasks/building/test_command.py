from __future__ import annotations

import json
from pathlib import Path

import pytest

from e2lm.command_line import main
from e2lm_tasks.building.prose import CorpusText


@pytest.fixture
def corpus(tmp_path: Path, documentation: CorpusText) -> Path:
    file = tmp_path / "documentation.txt"
    file.write_text(documentation.text, encoding="utf-8")
    return file


def build(corpus: Path, out: Path, *more: str) -> int:
    return main(["tasks", "build", "--corpus", str(corpus), "--out", str(out), "--items", "100", *more])


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_built_folder_names_no_path_and_is_the_same_twice(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(corpus, tmp_path / "one") == 0
    assert "next: lm_eval run" in capsys.readouterr().out
    assert build(corpus, tmp_path / "deep" / "two") == 0
    one = content(tmp_path / "one")
    assert one == content(tmp_path / "deep" / "two")
    assert not [name for name, raw in one.items() if str(tmp_path).encode() in raw]
    assert sorted(one) == json.loads(one["card.json"])["files"]


def test_building_again_changes_nothing(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    build(corpus, out)
    before = {file: file.stat().st_mtime_ns for file in out.iterdir()}
    assert build(corpus, out) == 0
    assert "already" in capsys.readouterr().out
    assert {file: file.stat().st_mtime_ns for file in out.iterdir()} == before


def test_another_suite_takes_the_place_of_an_older_one(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(corpus, out)
    assert build(corpus, out, "--name", "other") == 0
    assert (out / "other.yaml").is_file()
    assert not (out / "e2lm_early.yaml").exists()


def test_dry_run_writes_nothing(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build(corpus, tmp_path / "out", "--dry-run") == 0
    assert "would be in" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_json_is_the_card_and_whether_it_was_written(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(corpus, tmp_path / "out", "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["written"] is True
    assert found["tasks"]["e2lm_early_cloze"]["items"] == 100
    build(corpus, tmp_path / "out", "--json", "--dry-run")
    assert json.loads(capsys.readouterr().out)["written"] is False


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (None, "no such file"),
        (b"", "is empty"),
        (b" \n\t\n", "is empty"),
        (b"caf\xe9 au lait", "is not UTF-8 (byte 3 is 0xe9)"),
        (b"import os\n" * 500, "no text is left"),
        (b"The only sentence in this file is this one here.\n", "0 items can be made"),
    ],
)
def test_bad_text_is_one_line_and_nothing_is_written(
    raw: bytes | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "text.txt"
    if raw is not None:
        file.write_bytes(raw)
    assert build(file, tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_as_corpus_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build(tmp_path, tmp_path / "out") == 2
    assert "is a folder" in capsys.readouterr().err


def test_the_same_text_twice_is_refused(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "build", "--corpus", str(corpus), str(corpus), "--out", str(tmp_path / "out")]) == 2
    assert "the same text" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["Bad Name", "../up", ""])
def test_names_that_lm_eval_could_not_use_are_refused(
    name: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(corpus, tmp_path / "out", "--name", name) == 2
    assert "--name" in capsys.readouterr().err


def test_a_folder_with_other_files_is_never_replaced(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    assert build(corpus, out) == 2
    assert "is not empty" in capsys.readouterr().err
    (out / "thesis.tex").rename(tmp_path / "thesis.tex")
    assert build(corpus, out) == 0
    (tmp_path / "thesis.tex").rename(out / "thesis.tex")
    assert build(corpus, out, "--seed", "1") == 2
    assert "'thesis.tex', which would be lost" in capsys.readouterr().err
    assert (out / "thesis.tex").read_text() == "years of work"


def test_a_file_in_the_place_of_the_folder_is_refused(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(corpus, corpus) == 2
    assert "is a file" in capsys.readouterr().err


def test_the_shipped_suite_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "list", "--json"]) == 0
    suites = {suite["name"]: suite for suite in json.loads(capsys.readouterr().out)["suites"]}
    assert (Path(suites["e2lm-early"]["folder"]) / "e2lm_early.yaml").is_file()
    assert main(["tasks", "list"]) == 0
    assert "e2lm-early" in capsys.readouterr().out
