"""The signal plugin on published results: Gemstones' items, Pythia's evaluations, the competition's curves."""

import gzip
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from e2lm.command_line import main
from e2lm.plugin_manager import RESTRICT_VARIABLE, plugin_manager

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "signal"
GEMSTONES = DATA / "gemstones"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the real data is not here")

#: Tokens of one Gemstones step: 2,048 sequences of 2,048 tokens.
GEMSTONES_TOKENS_PER_STEP = 2048 * 2048


@pytest.fixture(autouse=True)
def only_this_plugin(monkeypatch):
    monkeypatch.setenv(RESTRICT_VARIABLE, "signal")
    plugin_manager.cache_clear()
    yield
    plugin_manager.cache_clear()


def report(capsys, *arguments):
    assert main(["signal", *map(str, arguments), "--json"]) == 0
    captured = capsys.readouterr()
    return json.loads(captured.out), captured.err


# -- distillation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("items", "task", "snr_wanted", "snr_of_all"),
    [("arce", "arc:easy", 19.0, 8.1), ("arcc", "arc:challenge", 23.0, 9.5)],
)
def test_distilled_gemstones_items_raise_snr_on_held_out_models_and_random_ones_do_not(
    capsys, items, task, snr_wanted, snr_of_all
):
    found, _ = report(
        capsys, "distil", GEMSTONES / f"{items}_gold_loss.npz", "--keep", 0.2, "--repeats", 20,
        "--tokens-per-step", GEMSTONES_TOKENS_PER_STEP, "--early-tokens", 20e9, 80e9,
        "--target", GEMSTONES / "light_eval_acc.csv.gz", "--target-task", task,
    )  # fmt: skip
    [card] = found["tasks"]
    snr = {arm: spread["mean"] for arm, spread in card["held_out"]["SNR"].items()}
    assert (card["chosen_on"], card["tested_on"], card["splits"]) == (11, 11, 20)
    assert snr["chosen"] >= snr_wanted
    assert snr["all"] == pytest.approx(snr_of_all, rel=0.15)
    assert snr["random"] == pytest.approx(snr["all"], rel=0.03)
    assert card["gain_over_random"]["SNR"]["low"] > 5
    if items == "arce":
        assert card["held_out"]["DA at 20B tokens"]["chosen"]["mean"] >= 0.93
        assert card["held_out"]["DA at 20B tokens"]["all"]["mean"] < 0.93


# -- noise ---------------------------------------------------------------------------------------------------------


def test_gemstones_gold_loss_drifts_in_common_and_a_control_cancels_most_of_it(capsys):
    found, _ = report(capsys, "noise", GEMSTONES / "arce_gold_loss.npz", "--control", GEMSTONES / "arcc_gold_loss.npz")
    plain, controlled = found["tasks"]
    assert 17 <= plain["overall"]["drift_ratio"] <= 27
    assert plain["overall"]["common_mode"] ** 2 / plain["overall"]["total"] ** 2 > 0.99
    assert plain["advice"].startswith("common drift rules")
    assert controlled["overall"]["total"] < plain["overall"]["total"] / 5
    assert controlled["snr"] > 3 * plain["snr"]


# -- Pythia --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pythia_12b():
    """The evaluations of the two 12B models as published."""
    frame = pd.read_csv(DATA / "pythia_evals_all_steps.csv.gz")
    return frame[frame["model"].isin(["pythia-12b", "pythia-12b-deduped"]) & (frame["suite"] == "pythia-v1")]


def test_duplicate_keys_of_pythias_evaluations_are_counted_and_told(capsys):
    _, notes = report(
        capsys, DATA / "pythia_evals_all_steps.csv.gz", "--scores", "finetasks_monotonicity",
        "--tasks", "lambada_openai", "--series", "*12b*",
    )  # fmt: skip
    assert "series = suite / model / shots" in notes
    assert "7099 keys" in notes
    assert "5768 differ" in notes


def test_the_published_evaluations_hold_no_step_32000(pythia_12b):
    """The faulty checkpoint was reported by users; the published table steps from 23,000 to 33,000."""
    assert sorted(step for step in pythia_12b["step"].unique() if 20_000 < step < 40_000) == [23_000, 33_000]


def test_the_known_faulty_checkpoint_is_found_where_its_evaluation_is_there(capsys, tmp_path, pythia_12b):
    """The fault as reported: step 32,000 of 12b-deduped scores like the last checkpoints. All else is as published."""
    last = pythia_12b[(pythia_12b["model"] == "pythia-12b-deduped") & (pythia_12b["step"] == 143_000)]
    path = tmp_path / "evals.csv.gz"
    with gzip.open(path, "wt") as file:
        file.write(pd.concat([pythia_12b, last.assign(step=32_000)]).to_csv(index=False))
    found, _ = report(capsys, "outliers", path, "--metrics", "acc", "--top", 5)
    worst = found["checkpoints"][0]
    assert (worst["series"], worst["step"]) in {
        (f"pythia-v1/pythia-12b-deduped/{shots}", 32_000) for shots in ("zero", "five")
    }
    assert worst["outlier"]
    assert worst["score"] > 0
    faulty = {(one["series"], one["step"]) for one in found["checkpoints"] if one["outlier"]}
    assert {step for _, step in faulty} == {32_000}


# -- the competition -----------------------------------------------------------------------------------------------


def test_signal_quality_tells_mmlu_var_from_mmlu(capsys):
    found, _ = report(
        capsys, DATA / "e2lmc_scores.json", "--scores", "signal_quality", "--tasks", "mmlu", "mmluvar", "hellaswag"
    )
    by_task: dict[str, list[dict[str, float]]] = {}
    for row in found["rows"]:
        by_task.setdefault(row["task"], []).append(row["scores"]["signal_quality"])
    means = {task: np.mean([score["value"] for score in scores]) for task, scores in by_task.items()}
    assert means["mmluvar"] > 0.85
    assert means["hellaswag"] > 0.95
    assert means["mmlu"] < 0.5
    assert sum(score["p"] < 0.05 for score in by_task["mmlu"]) < sum(score["p"] < 0.05 for score in by_task["mmluvar"])


def test_all_scores_of_the_competition_file_are_numbers_or_reasons(capsys):
    found, _ = report(capsys, DATA / "e2lmc_scores.json", "--all-checkpoints")
    assert len(found["rows"]) == 144
    for row in [*found["rows"], *found["means"]]:
        for name, score in row["scores"].items():
            assert score["value"] is not None or score["reason"], (row["task"], name)
            if score["low"] is not None:
                assert score["low"] <= score["value"] <= score["high"]


def test_ranking_consistency_of_the_competition_file_is_one_for_hellaswag(capsys):
    found, _ = report(
        capsys, DATA / "e2lmc_scores.json", "--scores", "e2lmc_rc", "--tasks", "hellaswag", "--all-checkpoints",
        "--series", "dense-1b-*", "dense-3b-*", "dense-500m-arch2",
    )  # fmt: skip
    [mean] = found["means"]
    assert mean["scores"]["e2lmc_rc"]["value"] > 0.9
    assert "reconstructed" in mean["scores"]["e2lmc_rc"]["reason"]


def test_plots_of_real_scores_are_written(tmp_path, capsys):
    out = tmp_path / "signal.html"
    assert main(["signal", "plot", str(DATA / "e2lmc_scores.json"), "--tasks", "mmluvar", "--out", str(out)]) == 0
    assert out.read_text().count("<svg") == 3
    assert io.StringIO(capsys.readouterr().out).readlines()[-1].startswith("wrote")


def test_the_competitions_benchmarks_over_six_series_reach_one_in_sixty_four_where_they_rise(capsys):
    found, notes = report(capsys, DATA / "e2lmc_scores.json", "--scores", "benchmark_rises")
    p = {mean["task"]: mean["scores"]["benchmark_rises"]["p"] for mean in found["means"]}
    assert p["mmluvar"] == 1 / 64
    assert p["mmlu"] > 0.2
    assert sum(value == 1 / 64 for value in p.values()) == 11
    assert "1/64, is 0.375 after correction" in notes


def test_letter_format_mmlu_of_the_smallest_pythia_seldom_seems_to_rise(capsys, tmp_path):
    frame = pd.read_csv(DATA / "pythia_evals_all_steps.csv.gz")
    frame = frame[
        frame["model"].str.contains("70m") & frame["task"].str.contains("hendrycksTest") & (frame["metric"] == "acc")
    ]
    path = tmp_path / "letters.csv"
    frame.to_csv(path, index=False)
    found, _ = report(capsys, path, "--scores", "signal_quality")
    p = [row["scores"]["signal_quality"]["p"] for row in found["rows"]]
    assert len(p) >= 114
    assert np.mean([one < 0.05 for one in p if one is not None]) <= 0.07
