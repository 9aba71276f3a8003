import json

import pandas as pd
import pytest

from e2lm.command_line import main


@pytest.fixture
def scores_csv(tmp_path):
    rows = [
        {"series": series, "step": step, "tokens": step * 100.0, "task": task, "metric": metric,
         "value": 0.25 + slope * step / 1400 + 0.001 * (step % 300 == 0)}
        for series, slope in (("a", 0.3), ("b", 0.2))
        for task in ("arc", "piqa")
        for metric in ("acc", "bits_per_byte")
        for step in range(100, 1500, 100)
    ]  # fmt: skip
    path = tmp_path / "scores.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def run(capsys, *arguments):
    code = main(["signal", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


OFFICIAL = ("--scores", "e2lmc_monotonicity", "e2lmc_autocorrelation", "e2lmc_sq")


def test_json_has_rows_and_means_with_every_score(capsys, scores_csv):
    code, out, _ = run(capsys, scores_csv, "--json", *OFFICIAL)
    report = json.loads(out)
    assert code == 0
    assert list(report) == ["rows", "means"]
    assert len(report["rows"]) == 8
    row = report["rows"][0]
    assert list(row) == ["series", "task", "metric", "n", "scores", "key"]
    assert row["key"] == {"task": row["task"]}
    assert row["n"] == 14
    assert set(row["scores"]) == set(OFFICIAL[1:])
    assert list(row["scores"]["e2lmc_sq"]) == ["value", "low", "high", "p", "reason"]
    assert {mean["task"] for mean in report["means"]} == {"arc", "piqa"}
    assert report["means"][0]["series"] == ["a", "b"]


def test_names_and_patterns_choose_what_is_scored(capsys, scores_csv):
    _, out, _ = run(capsys, scores_csv, "--json", *OFFICIAL, "--series", "a*", "--tasks", "arc", "--metrics", "acc")
    report = json.loads(out)
    assert [(row["series"], row["task"], row["metric"]) for row in report["rows"]] == [("a", "arc", "acc")]


def test_a_metric_of_which_less_is_better_is_turned_over_and_said_so(capsys, scores_csv):
    _, out, err = run(capsys, scores_csv, "--json", *OFFICIAL, "--tasks", "arc", "--series", "a")
    values = {row["metric"]: row["scores"]["e2lmc_monotonicity"]["value"] for row in json.loads(out)["rows"]}
    assert values["acc"] > 0.9
    assert values["bits_per_byte"] == 0.0
    assert "turned over before scoring: bits_per_byte" in err


def test_the_text_report_shows_the_tie_rule(capsys, scores_csv):
    code, out, _ = run(capsys, scores_csv, *OFFICIAL)
    assert code == 0
    assert "ranked in order of step" in out
    assert "all series" in out


def test_same_input_gives_the_same_bytes(capsys, scores_csv):
    first = run(capsys, scores_csv, "--json")
    assert run(capsys, scores_csv, "--json") == first


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("missing.csv",), "no such file"),
        (("{csv}", "--tasks", "arcc"), "Did you mean 'arc'"),
        (("{csv}", "--scores", "e2lmc_qs"), "Did you mean 'e2lmc_sq'"),
    ],
)
def test_mistakes_get_one_line_and_exit_code_2(capsys, scores_csv, arguments, said):
    code, out, err = run(capsys, *(argument.format(csv=scores_csv) for argument in arguments))
    assert code == 2
    assert out == ""
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_a_competition_json_is_cut_to_the_official_checkpoints_unless_told_otherwise(capsys, tmp_path):
    steps = list(range(2000, 66000, 2000))
    column = [0.2 + step / 1e6 for step in steps]
    data = {"data": {"m": {"iteration": steps, "gtokens": [step * 0.0037 for step in steps], "quiz": column}}}
    path = tmp_path / "scores.json"
    path.write_text(json.dumps(data))
    _, out, err = run(capsys, path, "--json", *OFFICIAL)
    assert json.loads(out)["rows"][0]["n"] == 13
    assert "13 of 32 checkpoints" in err
    _, out, _ = run(capsys, path, "--json", *OFFICIAL, "--all-checkpoints")
    assert json.loads(out)["rows"][0]["n"] == 32
