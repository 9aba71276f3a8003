"""One set of numbers gives one official score, whatever file it comes in; and what is reconstructed says so."""

import json

import numpy as np
import pytest

from e2lm.command_line import main

STEPS = np.arange(2000, 56000, 2000)
VALUES = np.round(0.25 + 0.05 * np.log(STEPS / 1000) / 4 + 0.006 * np.random.default_rng(7).normal(size=27), 6)


def official(values):
    """The notebook's SQ of the checkpoints at every 4,000th iteration."""
    y = np.asarray(values)[STEPS % 4000 == 0]
    n, rank = len(y), np.argsort(np.argsort(y))
    mono = max(0, 1 - 6 * np.sum((np.arange(n) - rank) ** 2) / (n * (n**2 - 1)))
    return (mono + np.mean([abs(np.corrcoef(y[k:], y[:-k])[0, 1]) for k in range(1, n // 4)])) / 2


def lm_eval_folder(tmp_path):
    for step, value in zip(STEPS, VALUES, strict=True):
        folder = tmp_path / f"iter_{step:07d}"
        folder.mkdir()
        data = {
            "results": {"quiz": {"alias": "quiz", "acc,none": value, "acc_stderr,none": 0.004}},
            "configs": {"quiz": {"task": "quiz"}}, "versions": {"quiz": 1}, "n-shot": {"quiz": 0},
            "config": {"model": "hf", "model_args": f"pretrained=tiiuae/dense-500m-arch1,subfolder=iter_{step:07d}"},
        }  # fmt: skip
        (folder / "results_2025-08-01T00-00-00.json").write_text(json.dumps(data))
    return tmp_path


def kit_json(tmp_path):
    path = tmp_path / "kit.json"
    columns = {"iteration": STEPS.tolist(), "model_type": ["P"] * 27, "quiz": VALUES.tolist()}
    path.write_text(json.dumps({"data": {"dense-500m-arch1": columns}}))
    return path


def csv(tmp_path):
    path = tmp_path / "own.csv"
    lines = [f"m,{step},quiz,acc,{value}" for step, value in zip(STEPS, VALUES, strict=True)]
    path.write_text("\n".join(["series,step,task,metric,value", *lines]))
    return path


def scored(capsys, path, *options):
    assert main(["signal", str(path), "--json", "--scores", "e2lmc_sq", *options]) == 0
    captured = capsys.readouterr()
    return json.loads(captured.out)["rows"][0]["scores"]["e2lmc_sq"], captured.err


@pytest.mark.parametrize("written", [lm_eval_folder, kit_json, csv])
def test_27_checkpoints_give_the_notebooks_score_from_any_kind_of_file(capsys, tmp_path, written):
    value, _ = scored(capsys, written(tmp_path))
    assert value["value"] == pytest.approx(official(VALUES), abs=1e-12)
    assert "13 of" in value["reason"]
    everything, _ = scored(capsys, tmp_path if written is lm_eval_folder else written(tmp_path), "--all-checkpoints")
    assert abs(everything["value"] - value["value"]) > 1e-3


def test_the_competitions_runs_get_their_tokens_by_its_batch_ramp_and_others_as_they_are_told(capsys, tmp_path):
    _, said = scored(capsys, lm_eval_folder(tmp_path))
    assert "tokens of 27 rows follow from the step by the competition's batch ramp" in said
    own = csv(tmp_path)
    assert "ramp" not in scored(capsys, own)[1]
    ramp = ("start=256", "increment=256", "samples=4882812", "batch=1024", "length=4096")
    by_name = scored(capsys, own, "--batch-ramp", "e2lmc")
    assert scored(capsys, own, "--batch-ramp", *ramp) == by_name
    assert "--batch-ramp: tokens of 27 rows" in by_name[1]
    assert "10 of 27 checkpoints" in scored(capsys, own, "--tokens-per-step", "5000000")[0]["reason"]


@pytest.mark.parametrize(
    "options",
    [("start=256",), ("e2lm",), ("start=0", "increment=1", "samples=1", "batch=2", "length=1"),
     ("start=3", "increment=2", "samples=1", "batch=4", "length=1"), ("e2lmc", "--tokens-per-step", "1")],
)  # fmt: skip
def test_a_batch_ramp_that_is_none_is_one_line(capsys, tmp_path, options):
    assert main(["signal", str(csv(tmp_path)), "--batch-ramp", *options]) == 2
    assert "--batch-ramp" in capsys.readouterr().err


def three_runs(tmp_path):
    """Two runs that change places after 206 billion tokens, and one on web data."""
    steps = list(range(4000, 84000, 4000))
    late = np.asarray(steps) > 56000
    rising = 0.26 + np.arange(20) * 0.006
    columns = {"a": rising, "b": np.where(late, rising + 0.01, rising - 0.01), "web": rising - 0.03}
    path = tmp_path / "three.json"
    path.write_text(
        json.dumps({"data": {name: {"iteration": steps, "quiz": list(values)} for name, values in columns.items()}})
    )
    return path


def test_ranking_consistency_sees_the_checkpoints_after_the_official_ones(capsys, tmp_path):
    options = ("--series", "a", "b", "--scores", "e2lmc_rc", "e2lmc_sq")
    assert main(["signal", str(three_runs(tmp_path)), "--json", *options]) == 0
    scores = json.loads(capsys.readouterr().out)["means"][0]["scores"]
    # one checkpoint, at 206.0 billion tokens, still has the early order; the six after it have the other
    assert scores["e2lmc_rc"]["value"] == pytest.approx(1 / 7)
    assert "reconstructed, from 7 checkpoints after 2e+11 tokens and 1 pair" in scores["e2lmc_rc"]["reason"]


def test_options_of_reconstructed_scores_hold_for_their_averaged_variants_too(capsys, tmp_path):
    options = ("--scores", "e2lmc_cs.mean1", "e2lmc_cs", "--control", "web", "--chance", "quiz=0.25")
    assert main(["signal", str(three_runs(tmp_path)), "--json", *options]) == 0
    scores = json.loads(capsys.readouterr().out)["means"][0]["scores"]
    assert scores["e2lmc_cs.mean1"]["value"] == scores["e2lmc_cs"]["value"] > 0
