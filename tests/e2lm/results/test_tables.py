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


@pytest.mark.parametrize(
    ("model_args", "series", "step"),
    [
        ("pretrained=/ck/runA/global_step1000,dtype=float32", "runA", 1000),
        ("pretrained=/ck/run/epoch=16-step=16000.ckpt", "run", 16000),
        ({"pretrained": "org/base", "peft": "/ck/lora/checkpoint-8"}, "lora", 8),
        ({"pretrained": "allenai/OLMo-2-1B", "revision": "stage1-step16-tokens1B"}, "OLMo-2-1B-stage1", 16),
        ({"model": "org/tiny-step8", "base_url": "http://localhost:8000/v1"}, "tiny", 8),
        ({"pretrained": "/ck/mpt/ep0-ba16/hf"}, "mpt", 16),
        ({"pretrained": "stepfun-ai/Step-3-mini", "revision": "v1"}, "Step-3-mini", 0),
        ({"pretrained": "org/tiny"}, "tiny", 0),
    ],
)
def test_whatever_moves_with_training_says_the_step(tmp_path, model_args, series, step):
    lm_eval_results(tmp_path / "out", "2026-01-01", model_args, 0.7)
    [row] = read_scores(tmp_path).scores.rows()
    assert (row.series, row.step) == (series, step)


def test_the_name_of_the_file_or_a_folder_above_says_the_step_where_the_model_does_not(tmp_path):
    for step in (1000, 2000):
        more = {"configs": {}, "versions": {}}
        lm_eval_results(tmp_path / "flat", "2026-01-01", {"pretrained": "/data/dense/"}, step / 1e4, **more)
        (tmp_path / "flat" / "results_2026-01-01.json").rename(
            tmp_path / "flat" / f"step{step}_made_results_2026-01-01T10-00-00.1.json"
        )
        lm_eval_results(tmp_path / "deep" / "wide" / f"step{step}" / "org__m", "2026-01-01", {"pretrained": "org/m"}, 0)
    assert [(row.series, row.step, row.value) for row in read_scores(tmp_path / "flat").scores.rows()] == [
        ("dense", 1000, 0.1),
        ("dense", 2000, 0.2),
    ]
    assert [(row.series, row.step) for row in read_scores(tmp_path / "deep").scores.rows()] == [
        ("wide", 1000),
        ("wide", 2000),
    ]


def test_two_models_never_become_one_checkpoint(tmp_path):
    for step, name in ((10, "orgA/tiny"), (10, "orgB/tiny"), (20, "orgA/tiny"), (30, "orgB/tiny")):
        lm_eval_results(tmp_path / name, f"2026-01-{step}", {"pretrained": name, "revision": f"step{step}"}, step / 100)
    source = read_scores(tmp_path)
    assert [(row.series, row.step, row.value) for row in source.scores.rows()] == [
        ("orgA/tiny", 10, 0.1),
        ("orgA/tiny", 20, 0.2),
        ("orgB/tiny", 10, 0.1),
        ("orgB/tiny", 30, 0.3),
    ]
    assert source.notes == ("series 'tiny': 2 models of that name, kept apart: orgA/tiny, orgB/tiny",)


def test_a_path_may_be_written_from_the_root_or_not(tmp_path):
    for date, place in (("2026-01-01", "/data/run/checkpoint-5"), ("2026-01-02", "./run/checkpoint-5")):
        lm_eval_results(tmp_path, date, {"pretrained": place}, 0.1)
    assert "more than once" in read_scores(tmp_path).notes[0]


def test_models_without_a_step_are_said_to_stand_at_step_0(tmp_path):
    for name in ("first", "second"):
        lm_eval_results(tmp_path / name, "2026-01-01", {"pretrained": f"run/{name}"}, 0.1)
    source = read_scores(tmp_path)
    assert {(row.series, row.step) for row in source.scores.rows()} == {("first", 0), ("second", 0)}
    assert "2 models name no step (first, second ...)" in source.notes[0]


def test_tokens_in_a_name_are_those_of_its_scores(tmp_path):
    lm_eval_results(tmp_path, "2026-01-01", {"pretrained": "org/m", "revision": "step1000-tokens4B"}, 0.1)
    [row] = read_scores(tmp_path).scores.rows()
    assert row.tokens == 4e9


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
