"""Borders of reading scores: litter of killed commands, tables of other programs, damaged files."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from e2lm import UserError
from e2lm.results import read_scores
from e2lm.results.table_file import read_frame

RESULTS = json.dumps({"results": {"arc": {"acc,none": 0.5, "acc_stderr,none": 0.1}}, "model_name": "run/checkpoint-5"})
HEAD = "series,step,task,metric,value\n"


def test_what_a_killed_command_left_behind_is_not_read(tmp_path: Path) -> None:
    for folder, value in (("checkpoint-5", "0.5"), (".partial-0011-checkpoint-5", "0.9")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "results_2026.json").write_text(RESULTS.replace("0.5", value), encoding="utf-8")
    source = read_scores(tmp_path)
    assert [row.value for row in source.scores.rows()] == [0.5]
    assert source.notes == ()


def test_names_that_look_like_numbers_stay_as_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text(f"{HEAD}007,1,NA,None,0.5\n", encoding="utf-8")
    (row,) = read_scores(tmp_path / "scores.csv").scores.rows()
    assert (row.series, row.task, row.metric) == ("007", "NA", "None")


@pytest.mark.parametrize("unknown", ["", "NA", "nan", "NaN", "null", "None", "N/A"])
def test_every_usual_way_to_write_unknown_is_understood(tmp_path: Path, unknown: str) -> None:
    (tmp_path / "scores.csv").write_text(
        f"series,step,task,metric,value,stderr,n\na,1,t,m,0.5,{unknown},{unknown}\n", encoding="utf-8"
    )
    (row,) = read_scores(tmp_path / "scores.csv").scores.rows()
    assert row.stderr != row.stderr
    assert row.n == 0


def test_a_table_saved_by_a_spreadsheet_is_read(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_bytes(b"\xef\xbb\xbf" + f"{HEAD}ä,1,t,m,0.5\n".replace("\n", "\r\n").encode())
    (row,) = read_scores(tmp_path / "scores.csv").scores.rows()
    assert (row.series, row.value) == ("ä", 0.5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot be read as csv"),
        (f"{HEAD}a,1,t,m,high\n", "column 'value': 'high' is no number"),
        (f"{HEAD}a,one,t,m,0.5\n", "column 'step': 'one' is no number"),
        (f"{HEAD}a,1.5,t,m,0.5\n", "column 'step' holds 1.5, a whole number is expected"),
        (f"{HEAD},1,t,m,0.5\n", "column 'series' has empty cells"),
        (f"{HEAD}a,1,t,m,0.5,6,7\n", "cannot be read as csv"),
        (f"{HEAD}a,1,t,m,0.5\na,1,t,m,0.5,6\n", "cannot be read as csv"),
    ],
)
def test_a_faulty_table_is_one_line_that_names_the_file(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "scores.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=said) as caught:
        read_scores(tmp_path / "scores.csv")
    assert str(caught.value).startswith(str(tmp_path / "scores.csv"))


@pytest.mark.parametrize("name", ["scores.parquet", "scores.json", "results_1.json"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"[" * 100_000, b"PAR1PAR1"])
def test_a_damaged_file_is_one_line_that_names_the_file(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_scores(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))


SEMICOLONS = "series;step;task;metric;value;tokens\n"


@pytest.mark.parametrize(("ending", "mark"), [("csv", ";"), ("tsv", "\t")])
def test_decimal_commas_of_a_spreadsheet_are_points(tmp_path: Path, ending: str, mark: str) -> None:
    path = tmp_path / f"scores.{ending}"
    text = f"{SEMICOLONS}a,b;1000;t;m;0,25;4,125\na,b;2000;t;m;-0,5;1,5e-3\na,b;3000;t;m;;7\n"
    path.write_text(text.replace(";", mark), encoding="utf-8")
    rows = list(read_scores(path).scores.rows())
    assert [(row.series, row.step, row.value, row.tokens) for row in rows[:2]] == [
        ("a,b", 1000, 0.25, 4.125),
        ("a,b", 2000, -0.5, 0.0015),
    ]
    assert math.isnan(rows[2].value)


def test_a_comma_that_may_set_off_thousands_is_refused_between_semicolons(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text(f"{SEMICOLONS}a;1,000;t;m;2,125;\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"column 'step': '1,000' may be 1000 or 1\.000; write numbers with points"):
        read_scores(tmp_path / "scores.csv")


@pytest.mark.parametrize("other", ["3.5", "1.000", "1,000,000"])
def test_two_ways_to_write_numbers_in_one_table_are_refused(tmp_path: Path, other: str) -> None:
    (tmp_path / "scores.csv").write_text(f"{SEMICOLONS}a;1;t;m;0,25;{other}\n", encoding="utf-8")
    with pytest.raises(UserError, match=f"'0,25' has a decimal comma, and column 'tokens' has '{other}'"):
        read_scores(tmp_path / "scores.csv")


def test_an_object_with_one_list_of_objects_is_a_table(tmp_path: Path) -> None:
    state = {"epoch": 1.0, "log_history": [{"step": 1, "loss": 3.5}, {"step": 2, "eval_loss": 3.25}], "best": []}
    (tmp_path / "trainer_state.json").write_text(json.dumps(state), encoding="utf-8")
    frame = read_frame(tmp_path / "trainer_state.json")
    assert frame["step"].tolist() == [1, 2]
    assert frame["loss"].tolist()[0] == 3.5
    (tmp_path / "two.json").write_text(json.dumps({"a": [{"x": 1}], "b": [{"x": 2}]}), encoding="utf-8")
    with pytest.raises(UserError, match="an object with one such list"):
        read_frame(tmp_path / "two.json")
