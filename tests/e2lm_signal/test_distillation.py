import json
from dataclasses import replace

import numpy as np
import pytest

from e2lm import Samples, UserError
from e2lm.command_line import main
from e2lm.item_metric import ItemChoices
from e2lm_signal.distillation import (
    METHODS,
    chosen_from,
    chosen_items,
    distilled,
    early_checkpoints,
    held_out_measures,
    irt_discrimination_I,
    item_snr_I,
    own_target,
    slope_I,
)
from e2lm_signal.distilled_files import DistilledBenchmark, DistilledTask, other_examples, write_benchmark
from e2lm_signal.item_table import ItemTable

MODELS, CHECKPOINTS, ITEMS, GOOD = 12, 20, 200, 40


def made(seed=0):
    """Items 0 .. 39 tell the models apart; the others are noise that is partly shared."""
    rng = np.random.default_rng(seed)
    skill_M = rng.normal(size=MODELS)
    growth_K = np.log1p(np.arange(CHECKPOINTS))
    values_MKI = 2.0 * rng.normal(size=(MODELS, CHECKPOINTS, ITEMS))
    values_MKI[:, :, GOOD:] += 0.5 * rng.normal(size=(MODELS, CHECKPOINTS, 1))
    values_MKI[:, :, :GOOD] += (1.0 + 0.3 * skill_M)[:, None, None] * growth_K[None, :, None]
    return ItemTable(
        "made", "margin", tuple(f"m{m}" for m in range(MODELS)), np.arange(1, CHECKPOINTS + 1) * 10,
        np.arange(1, CHECKPOINTS + 1) * 1e9, np.arange(ITEMS) + 1000, values_MKI.astype(np.float32), True,
    )  # fmt: skip


@pytest.mark.parametrize("method", [name for name in METHODS if name != "irt"])
def test_every_method_finds_the_items_that_carry_signal(method):
    found = chosen_items(made().rising_MKI, GOOD, method)
    assert np.mean(found < GOOD) > 0.5  # random items: .2


def test_chosen_items_beat_random_ones_on_models_that_had_no_say():
    table = made()
    report = distilled(table, 0.2, "group-snr", own_target(table), {"early": 3}, 10, np.random.default_rng(0))
    snr = report.measures["SNR"]
    assert snr["chosen"].mean > 2 * snr["random"].mean
    assert report.gains["SNR"].low > 0
    assert report.measures["DA at early"]["chosen"].mean > report.measures["DA at early"]["random"].mean
    assert report.chosen_on + report.tested_on == MODELS
    assert 0.5 < report.overlap <= 1.0


def test_a_spread_is_the_mean_and_the_middle_90_percent_of_the_splits_that_have_a_number(monkeypatch):
    splits = [*map(float, np.random.default_rng(0).permutation(101)), float("nan"), float("nan")]
    numbers = iter([one for one in splits for _arm in range(4)])
    monkeypatch.setattr("e2lm_signal.distillation.held_out_measures", lambda *given: {"SNR": next(numbers)})
    report = distilled(made(), 0.2, "slope", own_target(made()), {}, len(splits), np.random.default_rng(0))
    for spread in report.measures["SNR"].values():
        assert (spread.low, spread.mean, spread.high) == (5.0, 50.0, 95.0)


def test_pure_noise_gains_nothing_from_being_chosen():
    rng = np.random.default_rng(1)
    table = made()
    noise = ItemTable(
        "noise", "margin", table.series_M, table.steps_K, table.tokens_K, table.doc_ids_I,
        rng.normal(size=table.shape).astype(np.float32), True,
    )  # fmt: skip
    report = distilled(noise, 0.2, "item-snr", own_target(noise), {}, 20, rng)
    assert report.gains["SNR"].low < 0 < report.gains["SNR"].high
    assert abs(report.gains["SQ"].mean) < 0.1


def test_a_number_of_models_that_helped_to_choose_is_refused():
    table = made()
    with pytest.raises(UserError, match="refused to report an in-sample number: m1"):
        held_out_measures(table, np.arange(10), [0, 1], [1, 2], own_target(table), {})


def test_too_few_models_to_hold_some_out_are_refused():
    table = made()
    few = ItemTable(
        "few", "margin", table.series_M[:3], table.steps_K, table.tokens_K, table.doc_ids_I, table.values_MKI[:3], True
    )
    with pytest.raises(UserError, match="refused to report an in-sample number: 3 models"):
        distilled(few, 0.2, "item-snr", own_target(few), {}, 5, np.random.default_rng(0))


def test_irt_finds_the_items_with_the_steepest_answer_curves():
    # 2PL answers of 60 models at 4 checkpoints: half of the items discriminate five times as well as the others.
    rng = np.random.default_rng(2)
    ability_MK = rng.normal(size=(60, 4))
    slope_I = np.where(np.arange(40) < 20, 2.0, 0.4)
    easiness_I = rng.normal(scale=0.5, size=40)
    right_MKI = 1 / (1 + np.exp(-(slope_I * ability_MK[:, :, None] + easiness_I)))
    found = chosen_items((rng.random(right_MKI.shape) < right_MKI).astype(np.float32), 20, "irt")
    assert np.mean(found < 20) >= 0.9


def test_irt_gives_one_discrimination_per_item_whatever_the_number_of_checkpoints():
    rng = np.random.default_rng(3)
    values_MKI = (rng.random((6, 10, 7)) < np.linspace(0.3, 0.7, 7)).astype(np.float32)
    assert irt_discrimination_I(values_MKI, 3).shape == (7,)


def test_irt_needs_answers_that_are_right_or_wrong():
    with pytest.raises(UserError, match="0 or 1"):
        chosen_items(made().rising_MKI, GOOD, "irt")


def test_an_unknown_method_is_named_with_its_nearest():
    with pytest.raises(UserError, match="item-snr"):
        chosen_items(made().rising_MKI, GOOD, "item-snrr")


def test_early_checkpoints_need_tokens_only_where_tokens_are_asked_for():
    table = made()
    assert early_checkpoints(table, [5e9]) == {"5B tokens": 4}
    assert early_checkpoints(table, []) == {"10% of the run": 1}


@pytest.fixture
def npz(tmp_path):
    table = made()
    path = tmp_path / "made_margin.npz"
    np.savez(path, margin=table.values_MKI, models=np.array(table.series_M), steps=table.steps_K)
    return path


def test_the_command_writes_ids_and_card_and_prints_held_out_numbers_only(npz, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["signal", "distil", str(npz), "--out", str(out), "--repeats", "4", "--json"]) == 0
    [card] = json.loads(capsys.readouterr().out)["tasks"]
    assert card["kept"] == 40
    assert card["tested_on"] == 6
    assert set(card["held_out"]["SNR"]) == {"all", "random", "chosen", "item-snr", "slope"}
    ids = json.loads((out / "items.json").read_text())["made"]
    assert len(ids) == 40
    assert sum(i < GOOD for i in ids) > 28
    assert json.loads((out / "card.json").read_text())["held_out"] == card["held_out"]
    assert "models that did not help to choose" in (out / "card.md").read_text()


def test_a_dry_run_writes_nothing(npz, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["signal", "distil", str(npz), "--out", str(out), "--repeats", "2", "--dry-run"]) == 0
    assert "would write" in capsys.readouterr().out
    assert not out.exists()


def test_same_seed_same_bytes(npz, capsys):
    runs = []
    for _ in range(2):
        main(["signal", "distil", str(npz), "--repeats", "3", "--json", "--seed", "5"])
        runs.append(capsys.readouterr().out)
    assert runs[0] == runs[1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--keep", "1.5"], "--keep: found 1.5, expected a number above 0, below 1"),
        (["--repeats", "0"], "--repeats: found 0, expected a whole number, 1 or more"),
        (["--early-tokens", "1e9"], "--tokens-per-step"),
        (["--method", "snr"], "Known: all, discrimination, easiest, group-snr"),
        (["--target", "missing.csv"], "no such file"),
    ],
)
def test_mistakes_get_one_line(npz, capsys, options, said):
    assert main(["signal", "distil", str(npz), *options]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1


def test_a_distilled_task_without_a_base_is_ids_and_card(tmp_path):
    benchmark = DistilledBenchmark([DistilledTask("base", None, [0, 2])], "acc")
    write_benchmark(tmp_path / "out", benchmark, _card(), "the card")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["card.json", "card.md", "items.json"]
    assert json.loads((tmp_path / "out" / "items.json").read_text()) == {"base": [0, 2]}


def test_a_distilled_task_keeps_its_documents_and_those_of_another_split_whole(tmp_path):
    (tmp_path / "base.yaml").write_text("task: base\ntag: some\ntest_split: test\nfewshot_split: dev\n")
    benchmark = DistilledBenchmark([DistilledTask("base", "base", [0, 2])], "acc", shots=5)
    write_benchmark(tmp_path / "out", benchmark, _card(), "the card", str(tmp_path))
    text = (tmp_path / "out" / "base_distilled.yaml").read_text()
    assert "num_fewshot: 5" in text
    assert "tag: null" in text
    namespace = {"__file__": str(tmp_path / "out" / "kept_documents.py")}
    exec(compile((tmp_path / "out" / "kept_documents.py").read_text(), "kept_documents.py", "exec"), namespace)
    keep = namespace["keep_0_base"]

    class Documents(list):
        split = "test"

        def select(self, ids):
            return Documents(self[i] for i in ids)

    assert keep(Documents("abc")) == ["a", "c"]
    assert keep(Documents("abcd")) == ["a", "c"]  # an item was left out when it was chosen: the ids hold all the same
    with pytest.raises(ValueError, match="other data"):
        keep(Documents("ab"))
    dev = Documents("abc")
    dev.split = "dev"
    assert keep(dev) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("config", "shots", "said"),
    [
        ("fewshot_split: dev\nfewshot_config:\n  sampler: first_n\n", 5, []),
        ("fewshot_split: dev\n", 0, []),
        ("fewshot_split: dev\n", 5, ["1 of 1 tasks (base) show other examples than were logged: they are drawn"]),
        ("", 5, ["1 of 1 tasks (base) show other examples than were logged: they are taken from the items themselves"]),
        ("fewshot_split: test\nfewshot_config:\n  sampler: first_n\n", None, []),
        ("num_fewshot: 2\nfewshot_split: dev\n", None, ["1 of 1 tasks (base) show other examples"]),
    ],
)  # fmt: skip
def test_examples_that_change_with_the_items_that_are_left_are_told(config, shots, said, tmp_path):
    (tmp_path / "base.yaml").write_text(f"task: base\ntest_split: test\n{config}")
    told = other_examples(DistilledBenchmark([DistilledTask("base", "base", [0])], "acc", shots=shots), str(tmp_path))
    assert [one[: len(start)] for one, start in zip(told, said, strict=True)] == said


def test_sq_is_measured_at_the_official_checkpoints_and_the_card_says_which(tmp_path, capsys):
    rng = np.random.default_rng(1)
    steps = np.arange(2000, 66000, 2000)
    # the odd ones fall, the official ones rise
    trend_K = np.where(steps % 4000 == 0, steps, -steps) / 4000.0
    values_MKI = trend_K[None, :, None] + 0.01 * rng.normal(size=(6, 32, 10))
    np.savez(tmp_path / "made_margin.npz", margin=values_MKI, models=list("abcdef"), steps=steps)
    arguments = ("--keep", "0.5", "--repeats", "2", "--method", "slope")
    assert main(["signal", "distil", str(tmp_path / "made_margin.npz"), *arguments, "--json"]) == 0
    card = json.loads(capsys.readouterr().out)["tasks"][0]
    assert card["held_out"]["SQ"]["all"]["mean"] == pytest.approx(1.0, abs=1e-3)
    assert card["sq_over"].startswith("over 14 of 32 checkpoints")
    assert main(["signal", "distil", str(tmp_path / "made_margin.npz"), *arguments]) == 0
    assert "SQ over 14 of 32 checkpoints" in capsys.readouterr().out


def test_several_tasks_are_never_written_over_each_other(tmp_path, capsys):
    rng, ones = np.random.default_rng(0), np.ones((8, 4), np.int64)
    for task in ("one", "two"):
        for series in "abcd":
            for step in (10, 20, 30, 40):
                choices = ItemChoices(rng.normal(size=(8, 4)), ones == 1, ones, ones, ones, np.zeros(8, np.int64))
                one = Samples(series, step, task, np.arange(8), choices, np.zeros((8, 4), bool))
                one.write(tmp_path / "samples" / series / task / f"checkpoint-{step}.parquet")
    arguments = ["signal", "distil", str(tmp_path / "samples"), "--metric", "acc", "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    assert "2 tasks; give --group NAME" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def _card():
    return {
        "task": "base", "metric": "m", "items": 3, "kept": 2, "method": "item-snr", "target": "t", "chosen_on": 2,
        "tested_on": 2, "splits": 1, "held_out": {}, "gain_over_random": {}, "overlap_of_choices": None, "note": "n",
    }  # fmt: skip


def test_a_slope_is_in_standard_errors_between_models():
    position_K = np.log1p(np.arange(4))
    slopes_MI = np.array([[1.0, 2.0], [3.0, -1.0], [2.0, 5.0]])
    values_MKI = slopes_MI[:, None, :] * position_K[None, :, None] + 7.0
    expected = slopes_MI.mean(axis=0) / (slopes_MI.std(axis=0, ddof=1) / np.sqrt(3))
    assert slope_I(values_MKI.astype(np.float32), 1) == pytest.approx(expected, rel=1e-5)


def test_the_signal_to_noise_of_an_item_is_spread_between_models_over_noise_between_checkpoints():
    values_MKI = np.repeat(np.array([1.0, 2.0, 4.0])[:, None, None], 8, axis=1)
    values_MKI[:, ::2] += 0.25
    expected = np.std([1.0, 2.0, 4.0], ddof=1) / (0.25 / np.sqrt(2))
    assert item_snr_I(values_MKI.astype(np.float32), 1) == pytest.approx([expected], rel=1e-5)


def test_the_card_holds_the_chosen_items_against_one_line_baselines_and_the_users_own_better_metric(tmp_path, capsys):
    table = made()
    path, target = tmp_path / "made_margin.npz", tmp_path / "scores.csv"
    np.savez(path, margin=table.values_MKI, models=np.array(table.series_M), steps=table.steps_K)
    skill_M = table.rising_MKI[:, -5:, :GOOD].mean(axis=(1, 2))
    rng = np.random.default_rng(1)
    lines = ["series,step,task,metric,value"]
    for name, skill in zip(table.series_M, skill_M, strict=True):
        for step in table.steps_K:  # an accuracy that hardly shakes between checkpoints
            lines.append(f"{name},{step},made,acc,{0.5 + 0.1 * skill + 1e-4 * rng.normal()}")
    target.write_text("\n".join(lines))
    assert main(["signal", "distil", str(path), "--repeats", "4", "--target", str(target), "--json"]) == 0
    [card] = json.loads(capsys.readouterr().out)["tasks"]
    assert set(card["held_out"]["SNR"]) == {"all", "random", "chosen", "item-snr", "slope"}
    assert card["all_items_by"]["acc of made"]["SNR"]["mean"] > card["held_out"]["SNR"]["chosen"]["mean"]
    assert card["advice"].startswith("do not distil: all items by acc of made")
    assert main(["signal", "distil", str(path), "--repeats", "4"]) == 0
    said = capsys.readouterr().out
    assert "advice:" in said
    assert "do not distil" not in said


def test_items_may_be_chosen_from_the_first_half_of_training_alone():
    table, rng = made(), np.random.default_rng(0)
    assert chosen_from(table, 0.5).shape[1] == CHECKPOINTS // 2
    report = distilled(table, 0.2, "slope", own_target(table), {}, 3, rng, choose_until=0.5)
    late_MKI = table.values_MKI.copy()
    late_MKI[:, CHECKPOINTS // 2 :] = late_MKI[:, CHECKPOINTS // 2 :][:, :, ::-1]
    assert np.array_equal(
        chosen_items(chosen_from(table, 0.5), GOOD, "slope"),
        chosen_items(chosen_from(replace(table, values_MKI=late_MKI), 0.5), GOOD, "slope"),
    )
    assert report.measures["SNR"]["chosen"].mean > report.measures["SNR"]["random"].mean
    with pytest.raises(UserError, match="checkpoints lie in the first"):
        chosen_from(table, 0.1)


def test_ways_that_count_themselves_keep_what_rises_or_everything_and_take_no_share(npz, capsys):
    falling = made().rising_MKI.copy()
    falling[:, :, GOOD:] -= np.arange(CHECKPOINTS, dtype=np.float32)[None, :, None]
    assert chosen_items(falling, None, "rising").tolist() == list(range(GOOD))
    assert main(["signal", "distil", str(npz), "--repeats", "2", "--method", "all", "--json"]) == 0
    [card] = json.loads(capsys.readouterr().out)["tasks"]
    assert (card["kept"], card["chosen_on"], card["tested_on"]) == (ITEMS, 0, MODELS)
    assert card["held_out"]["SNR"]["chosen"] == card["held_out"]["SNR"]["all"]
    assert card["advice"].startswith("nothing was chosen")
    assert main(["signal", "distil", str(npz), "--method", "rising", "--keep", "0.5"]) == 2
    assert "--method rising says itself which items are kept" in capsys.readouterr().err
    with pytest.raises(UserError, match="0 of 2 items would be kept"):
        chosen_items(-falling[:, :, :2], None, "rising")
