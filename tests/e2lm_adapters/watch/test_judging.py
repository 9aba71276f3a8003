"""Rules over what a watch has on disk: each kind holds where it should, and where it should not it does not."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from e2lm.item_metric import ItemChoices
from e2lm.samples import Samples
from e2lm.scores import ScoreRow, Scores
from e2lm_adapters.eval.store import EvaluationStore, Unit
from e2lm_adapters.watch.finished import Look
from e2lm_adapters.watch.judging import RuleJudge
from e2lm_adapters.watch.rule import VerdictState, parsed

ITEMS = 200
PER_STEP = 1e6


def samples(series: str, step: int, gold_I: np.ndarray) -> Samples:
    """Two choices; the true one has the probability ``gold_I``."""
    loglik_IC = np.log(np.stack([gold_I, 1 - gold_I], axis=1))
    shape = loglik_IC.shape
    choices = ItemChoices(
        loglik_IC=loglik_IC,
        there_IC=np.ones(shape, bool),
        bytes_IC=np.ones(shape, np.int64),
        chars_IC=np.ones(shape, np.int64),
        tokens_IC=np.ones(shape, np.int64),
        gold_I=np.zeros(len(gold_I), np.int64),
        gold_IC=np.eye(2, dtype=bool)[np.zeros(len(gold_I), int)],
    )
    return Samples(series, step, "small", np.arange(len(gold_I)), choices, np.zeros(shape, bool))


def write_items(out: Path, series: str, means: dict[int, float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    easy_I = np.random.default_rng(0).uniform(-0.2, 0.2, ITEMS)
    for step, mean in means.items():
        gold_I = np.clip(mean + easy_I + rng.normal(0, 0.05, ITEMS), 0.01, 0.99)
        samples(series, step, gold_I).write(EvaluationStore(out).samples_path(series, step, "small"))


def write_log(place: Path, losses: list[float], every: int = 10) -> None:
    place.mkdir(parents=True, exist_ok=True)
    history = [{"step": (k + 1) * every, "loss": loss, "epoch": 0} for k, loss in enumerate(losses)]
    (place / "trainer_state.json").write_text(json.dumps({"global_step": 1, "log_history": history}), encoding="utf-8")


def judged(
    out: Path, *texts: str, place: Path | None = None, state: VerdictState = "alert", newest_s: float = 0.0
) -> Any:
    out.mkdir(exist_ok=True)
    look = Look(names=("run",), newest={} if place is None else {"run": place}, newest_s=newest_s)
    judge = RuleJudge([parsed(text, state) for text in texts], out, tokens_per_step=PER_STEP)
    return judge.verdicts([look])


STEPS = range(100, 1100, 100)


def test_a_run_that_ends_below_its_baseline_is_a_stop_and_an_equal_one_is_not(tmp_path: Path) -> None:
    write_items(tmp_path, "base", dict.fromkeys(STEPS, 0.5), 1)
    write_items(tmp_path, "run", dict.fromkeys(STEPS, 0.4), 2)
    rule = "P(ends below runs/base on small) > .95"
    (found,) = judged(tmp_path, rule, state="stop")
    assert (found.series, found.step, found.state, found.rule, found.threshold) == ("run", 1000, "stop", rule, 0.95)
    assert found.value > 0.95
    write_items(tmp_path, "run", dict.fromkeys(STEPS, 0.5), 3)
    assert judged(tmp_path, rule, state="stop") == []


def test_below_by_no_more_than_two_seeds_differ_is_no_stop(tmp_path: Path) -> None:
    write_items(tmp_path, "base-1", dict.fromkeys(STEPS, 0.5), 1)
    write_items(tmp_path, "base-2", dict.fromkeys(STEPS, 0.44), 2)
    write_items(tmp_path, "run", dict.fromkeys(STEPS, 0.4), 3)
    assert judged(tmp_path, "P(ends below base-1 on small) > .95")
    assert judged(tmp_path, "P(ends below base-1, base-2 on small) > .95") == []


def test_a_run_that_catches_up_is_no_stop(tmp_path: Path) -> None:
    write_items(tmp_path, "base", dict.fromkeys(range(100, 3100, 100), 0.5), 1)
    write_items(tmp_path, "run", {step: 0.3 + 0.02 * step / 100 for step in STEPS}, 2)
    assert judged(tmp_path, "P(ends below base on small) > .95") == []


def test_other_items_are_told_once_and_not_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_items(tmp_path, "base", {100: 0.5}, 1)
    samples("run", 100, np.full(7, 0.4)).write(EvaluationStore(tmp_path).samples_path("run", 100, "small"))
    assert judged(tmp_path, "P(ends below base on small) > .95") == []
    assert "not judged: small: step 100 of run and of base have other items" in capsys.readouterr().err


def test_a_forecast_past_a_loss_is_a_verdict_when_it_is_sure(tmp_path: Path) -> None:
    steps_K = np.arange(1, 301)
    losses = list(2.5 + 4 * (steps_K / 10) ** -0.5)
    write_log(tmp_path / "c", losses)
    rules = [f"P(loss at 4e9 {end}) > .95" for end in ("> 2.3", "> 3.1", "> 2.55", "< 4.5")]
    found = judged(tmp_path / "out", *rules, place=tmp_path / "c")  # 2.99 is forecast; a decay may take 5 % off
    assert [one.rule for one in found] == [rules[0], rules[3]]
    assert judged(tmp_path / "out", "P(loss at 1e6 > 2.2) > .95", place=tmp_path / "c") == []  # it is past that


def test_spikes_and_nan_in_the_log_are_told_with_their_step(tmp_path: Path) -> None:
    losses = [3.0 + 0.01 * (-1) ** k for k in range(40)]
    write_log(tmp_path / "c", losses)
    assert judged(tmp_path / "out", "loss spike", "nan", place=tmp_path / "c") == []
    write_log(tmp_path / "c", [*losses, 6.0, 3.0, float("nan"), 3.0])
    spike, nan = judged(tmp_path / "out", "loss spike", "nan", place=tmp_path / "c")
    assert (spike.step, nan.step, nan.value) == (410, 430, None)
    assert spike.value > 12


def test_checkpoints_that_are_not_finite_or_the_same_are_told(tmp_path: Path) -> None:
    store = EvaluationStore(tmp_path)
    for step, sha, why in ((10, "a", ""), (20, "b", ""), (30, "a", ""), (40, "c", "NaN in x")):
        unit = Unit(
            series="run", step=step, task="small", weights_sha256=sha, task_sha256="t", adapter="a", n=1, not_finite=why
        )
        store._record(unit)
    same, nan = judged(tmp_path, "duplicate checkpoint", "nan")
    assert (same.step, same.value, nan.step) == (30, 10.0, 40)


def test_a_signal_score_is_judged_by_the_sure_end_of_its_interval(tmp_path: Path) -> None:
    def write(values: list[float]) -> None:
        rows = [
            ScoreRow("run", 100 * k, "sciq", "acc", value, tokens=1e6 * k, stderr=0.01, n=1000, chance=0.25)
            for k, value in enumerate(values, 1)
        ]
        Scores.from_rows(rows).write(tmp_path)

    write(list(np.linspace(0.6, 0.4, 12)))
    assert [one.series for one in judged(tmp_path, "signal_quality(sciq) < .5")] == ["run"]
    write(list(np.linspace(0.3, 0.8, 12)))
    assert judged(tmp_path, "signal_quality(sciq) < .5") == []
    assert judged(tmp_path, "signal_quality(sciq) > .5")
    write(list(np.linspace(0.3, 0.8, 7)))
    assert judged(tmp_path, "signal_quality(sciq) > .5") == []  # too few to be looked at


def test_a_run_is_stalled_when_nothing_in_it_changed(tmp_path: Path) -> None:
    assert judged(tmp_path, "stalled 6h", newest_s=time.time() - 5 * 3600) == []
    (found,) = judged(tmp_path, "stalled 6h", newest_s=time.time() - 7 * 3600)
    assert found.value == pytest.approx(7 * 3600, abs=60)
    assert judged(tmp_path, "stalled 6h") == []  # an empty folder is measured from the beginning of the watch
