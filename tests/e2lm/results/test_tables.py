import json

import pandas as pd
import pytest

from e2lm import UserError
from e2lm.results import read_scores


def lm_eval_results(folder, name, model_args, acc, **more):
    """A results file as lm-eval 0.4.13 writes it (checked against its own output), cut to what matters."""
    folder.mkdir(parents=True, exist_ok=True)
    data = {
        "results": {
            "made": {"name": "made", "alias": "made", "sample_len": 20, "acc,none": acc, "acc_stderr,none": 0.1}
        },
        "n-samples": {"made": {"original": 20, "effective": 20}},
        "config": {"model": "hf", "model_args": model_args, "model_num_parameters": 1000},
        "model_name": "m",
        **more,
    }
    (folder / f"results_{name}.json").write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("model_args", "series", "step"),
    [
        ({"pretrained": "EleutherAI/pythia-70m", "revision": "step1000"}, "pythia-70m", 1000),
        ({"pretrained": "tiiuae/dense-500m-arch1", "subfolder": "iter_0002000"}, "dense-500m-arch1", 2000),
        ({"pretrained": "iter2/step3/run/checkpoint-500"}, "run", 500),
        ("pretrained=runs/wide/checkpoint-0,dtype=float32", "wide", 0),
    ],
)
def test_an_lm_eval_folder_says_series_and_step_by_its_model_arguments(tmp_path, model_args, series, step):
    lm_eval_results(tmp_path / "out", "2026-01-01", model_args, 0.7)
    [row] = read_scores(tmp_path).scores.rows()
    assert (row.series, row.step, row.task, row.metric) == (series, step, "made", "acc")
    assert (row.value, row.stderr, row.n, row.params) == (0.7, 0.1, 20, 1000.0)


def test_of_two_evaluations_of_a_checkpoint_the_newest_counts_and_it_is_said(tmp_path):
    for date, acc in (("2026-01-02", 0.8), ("2026-01-01", 0.7)):
        lm_eval_results(tmp_path, date, {"pretrained": "run/checkpoint-5"}, acc)
    source = read_scores(tmp_path)
    assert [row.value for row in source.scores.rows()] == [0.8]
    assert "more than once" in source.notes[0]


def test_a_table_reads_the_same_from_csv_and_parquet(tmp_path):
    frame = pd.DataFrame({"series": ["a", "a"], "step": [2, 1], "task": "t", "metric": "acc", "value": [0.2, 0.1]})
    frame.to_csv(tmp_path / "s.csv", index=False)
    frame.to_parquet(tmp_path / "s.parquet", index=False)
    from_csv, from_parquet = (read_scores(tmp_path / name).scores.frame for name in ("s.csv", "s.parquet"))
    pd.testing.assert_frame_equal(from_csv, from_parquet)
    assert from_csv["value"].tolist() == [0.1, 0.2]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.json", "{", "not valid JSON"),
        ("a.json", "[]", "neither lm-eval results"),
        ("a.json", '{"data": {"m": {"quiz": [1]}}}', "data.m"),
        ("a.json", '{"data": {"m": [1]}}', "data.m"),
        ("a.json", '{"data": {"m": {"iteration": [1, 2], "gtokens": [1, 2], "quiz": [0.1]}}}', "1 values for 2"),
        ("a.csv", "series,step\n", "column 'task' is missing"),
        ("a.csv", "", "cannot be read as csv"),
        ("a.parquet", "no", "cannot be read as parquet"),
        ("a.txt", "x", "unknown kind of file"),
    ],
)
def test_what_is_no_scores_file_is_named_with_its_fault(tmp_path, name, text, said):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UserError, match=said) as error:
        read_scores(path)
    assert name in str(error.value)
