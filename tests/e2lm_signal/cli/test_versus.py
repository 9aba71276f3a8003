"""``e2lm signal versus A B`` on evaluations of two runs."""

import json

import numpy as np
import pytest

from e2lm.command_line import main
from e2lm.scores import ScoreRow, Scores
from tests.e2lm_signal.test_sample_curves import METRICS, samples_at

ITEMS = 200


def evaluation(folder, series, skills, with_samples=True, items=ITEMS):
    rows = []
    for run, skill in zip(series, skills, strict=True):
        for step in (1, 2):
            one = samples_at(run, step, np.random.default_rng([step, len(run)]), skill * step, items)
            if with_samples:
                one.write(folder / "samples" / run / "quiz" / f"checkpoint-{step}.parquet")
            for name in ("acc", "gold_loglik"):
                values_I = METRICS[name].per_item(one.choices)
                error = float(values_I.std(ddof=1) / np.sqrt(items))
                rows.append(ScoreRow(run, step, "quiz", name, float(values_I.mean()), stderr=error, n=items))
    Scores.from_rows(rows).write(folder)
    return folder


@pytest.fixture
def two(tmp_path):
    return evaluation(tmp_path / "a", ["plain"], [0.1]), evaluation(tmp_path / "b", ["other"], [0.9])


def differences(capsys, *arguments):
    assert main(["signal", "versus", *map(str, arguments), "--json"]) == 0
    captured = capsys.readouterr()
    return {one["metric"]: one for one in json.loads(captured.out)["differences"]}, captured.err


def test_the_last_checkpoints_of_two_runs_are_held_against_each_other_item_by_item(capsys, two):
    found, notes = differences(capsys, *two)
    accuracy = found["acc"]
    assert accuracy["difference"] == pytest.approx(accuracy["second"] - accuracy["first"])
    assert accuracy["low"] <= accuracy["difference"] <= accuracy["high"]
    assert (accuracy["items"], accuracy["verdict"]) == (ITEMS, "better")
    assert accuracy["p"] < 0.05
    assert "(other at step 2) minus" in notes
    assert "2 differences were tested" in notes
    back, _ = differences(capsys, *reversed(two))
    assert back["acc"]["difference"] == -accuracy["difference"]
    assert back["acc"]["verdict"] == "worse"


def test_two_checkpoints_of_one_run_are_named_by_series_and_step(capsys, tmp_path):
    folder = evaluation(tmp_path / "a", ["plain", "other"], [0.1, 0.9])
    found, _ = differences(capsys, f"{folder}@other@1", f"{folder}@other", "--metrics", "acc")
    assert list(found) == ["acc"]
    assert found["acc"]["difference"] > 0


def test_the_same_checkpoint_twice_is_not_told_apart(capsys, two):
    found, _ = differences(capsys, two[0], two[0])
    assert {(one["difference"], one["p"], one["verdict"]) for one in found.values()} == {(0.0, 1.0, "not told apart")}


def test_groups_of_items_are_read_and_counted(capsys, two, tmp_path):
    groups = tmp_path / "groups.csv"
    groups.write_text("task,doc_id,group\n" + "".join(f"quiz,{item},{item // 5}\n" for item in range(ITEMS)))
    found, _ = differences(capsys, *two, "--groups", groups)
    assert found["acc"]["groups"] == ITEMS // 5


def test_without_samples_it_is_said_that_the_difference_is_not_paired(capsys, tmp_path, two):
    bare = evaluation(tmp_path / "c", ["other"], [0.9], with_samples=False)
    found, notes = differences(capsys, two[0], bare)
    assert found["acc"]["items"] is None
    assert "not paired" in notes


def test_items_that_one_side_lacks_are_left_out_and_counted(capsys, tmp_path, two):
    fewer = evaluation(tmp_path / "c", ["other"], [0.9], items=150)
    found, notes = differences(capsys, two[0], fewer)
    assert found["acc"]["items"] == 150
    assert "50 items without a value on both sides are left out" in notes


def test_the_table_says_what_a_reader_needs(capsys, two):
    assert main(["signal", "versus", *map(str, two)]) == 0
    said = capsys.readouterr().out
    for word in ("difference", "needed", "better", "least", "no difference would look as large"):
        assert word in said


@pytest.mark.parametrize(
    ("first", "said"),
    [
        ("{a}@plan", "Did you mean 'plain'"),
        ("{a}@plain@7", "no step 7"),
        ("{a}@plain@last", "is no number"),
        ("{both}", "holds 2 series"),
        ("{a}x", "x"),
    ],
)
def test_mistakes_get_one_line(capsys, two, tmp_path, first, said):
    both = evaluation(tmp_path / "both", ["plain", "other"], [0.1, 0.9])
    assert main(["signal", "versus", first.format(a=two[0], both=both), str(two[1])]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("doc,group\n1,a\n", "columns task, doc_id and group"),
        ("task,doc_id,group\nquiz,one,a\n", "'one' is no number"),
        ("task,doc_id,group\nquiz,0,a\n", "have no group"),
        ("task,doc_id,group\n" + "".join(f"quiz,{i},a\n" for i in range(ITEMS)), "of one group"),
    ],
)
def test_groups_that_cannot_be_used_get_one_line(capsys, two, tmp_path, text, said):
    (tmp_path / "groups.csv").write_text(text)
    assert main(["signal", "versus", *map(str, two), "--groups", str(tmp_path / "groups.csv")]) == 2
    assert said in capsys.readouterr().err
