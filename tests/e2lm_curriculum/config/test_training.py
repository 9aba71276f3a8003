from __future__ import annotations

from pathlib import Path

import pytest

from e2lm import UserError
from e2lm.command_line import main
from e2lm_curriculum.config.training import TrainingConfig, config_data

GOOD = "corpus: [{corpus}]\nout: {out}\nsizes: [1x16]\nlearning_rate: 3e-3\ntokens: 1_000\n"


def read(path: Path) -> TrainingConfig:
    return TrainingConfig.from_data(config_data(path), str(path))


def test_numbers_may_be_written_as_people_write_them(tmp_path: Path) -> None:
    file = tmp_path / "c.yml"
    file.write_text(GOOD.format(corpus="a.txt", out="o"), encoding="utf-8")
    config = read(file)
    assert config.run.learning_rate == 0.003
    assert config.data.tokens == 1000


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("learning_rat: 0.1", "unknown field 'learning_rat'.*'learning_rate'"),
        ("tokens: many", "field 'tokens': found 'many'"),
        ("tokens: 0", "field 'tokens'"),
        ("tokens: 1.5", "field 'tokens'"),
        ("schedule: lineal", "field 'schedule'.*constant"),
        ("held_out: 1.5", "field 'held_out'"),
        ("vocabulary: 10", "field 'vocabulary'"),
        ("learning_rate: .nan", "field 'learning_rate'"),
    ],
)
def test_a_bad_field_is_named_with_its_file(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "c.yml"
    good = GOOD.format(corpus="a.txt", out="o").splitlines()
    field = line.split(":", maxsplit=1)[0]
    file.write_text("\n".join([*(kept for kept in good if not kept.startswith(field + ":")), line]), encoding="utf-8")
    with pytest.raises(UserError, match=message) as caught:
        read(file)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("content", ["just words", "- a\n- b", "a: [", "\x00"])
def test_a_file_that_is_no_mapping_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "c.yml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"c\.yml"):
        config_data(file)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sizes", "1x16,gigantic"], "unknown|found 'gigantic'"),
        (["--sizes", "1x16,1x16"], "twice"),
        (["--curriculum", "shufle"], "Did you mean 'shuffle'"),
        (["--tokens", "0"], "field 'tokens'"),
        (["--sequence-length", "10000000"], "sequence_length"),
        (["--corpus", "/nowhere.txt"], r"/nowhere\.txt: no such file"),
    ],
)
def test_the_command_says_in_one_line_what_is_wrong_and_writes_nothing(
    tmp_path: Path, corpus_file: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    out = tmp_path / "out"
    assert main(["train", "--corpus", str(corpus_file), "--out", str(out), "--sizes", "1x16", *options]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    import re

    assert re.search(message, error)
    assert not out.exists()


def test_missing_fields_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train"]) == 2
    assert "field 'corpus': missing" in capsys.readouterr().err


def test_options_win_over_the_file_and_a_dry_run_writes_nothing(
    tmp_path: Path, corpus_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.yml"
    out = tmp_path / "out"
    file.write_text(GOOD.format(corpus=corpus_file, out=out), encoding="utf-8")
    assert main(["train", str(file), "--tokens", "40960", "--dry-run", "--json"]) == 0
    import json

    report = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in report["series"]] == ["1x16"]
    assert report["series"][0]["steps"] == 10
    assert not out.exists()
