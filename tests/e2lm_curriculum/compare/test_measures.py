"""Measures of runs whose log-likelihoods and nats were written by hand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from e2lm import UserError
from e2lm.item_metric import ItemChoices
from e2lm.samples import Samples
from e2lm_curriculum.compare.analysis import analysed, area_weights
from e2lm_curriculum.compare.difference import Difference, paired_difference
from e2lm_curriculum.compare.held_out import HeldOutPassages, held_out_file, read_held_out, trivial_bits_per_byte
from e2lm_curriculum.compare.measures import (
    TIE,
    Measure,
    accuracy_with_ties_I,
    held_out_measure,
    shared_seeds,
    task_measures,
    tokens_of,
)
from e2lm_curriculum.compare.runs import FinishedRun, require_comparable
from tests.e2lm_curriculum.compare.conftest import STEPS, MakeRun

DRAWN = np.array([[0, 1]])
SCORES_X = np.arange(4.0)


def samples_of(loglik: list[list[float]], gold: list[int], step: int = 0, series: str = "s") -> Samples:
    """One row per item; NaN where an item has fewer choices."""
    loglik_IC = np.array(loglik)
    there_IC = ~np.isnan(loglik_IC)
    sizes_IC = np.where(there_IC, 5, -1)
    choices = ItemChoices(loglik_IC, there_IC, sizes_IC, sizes_IC, sizes_IC, np.array(gold))
    return Samples(series, step, "pairs", np.arange(len(gold)), choices, np.zeros_like(there_IC))


def test_a_tie_of_k_is_right_by_one_kth() -> None:
    nan = float("nan")
    samples = samples_of(
        [[-1.0, -2.0, -3.0], [-2.0, -1.0, nan], [-1.0, -1.0, -2.0], [-1.0, -1.0, -1.0], [-7.0, -7.0, nan]],
        [0, 0, 1, 2, 0],
    )
    assert accuracy_with_ties_I(samples).tolist() == [1.0, 0.0, 0.5, 1 / 3, 0.5]


def test_what_differs_by_less_than_a_millionth_is_a_tie() -> None:
    tied = samples_of([[-10.0, -10.0 + 9e-6], [-10.0, -10.0 + 11e-6]], [0, 0])
    assert accuracy_with_ties_I(tied).tolist() == [0.5, 0.0]
    assert TIE == 1e-6


def test_seeds_are_those_that_every_arm_of_a_schedule_has(made_run: MakeRun) -> None:
    runs = [made_run("vanilla", seed, DRAWN, SCORES_X) for seed in (0, 1, 2)]
    runs += [made_run("curriculum", seed, DRAWN, SCORES_X) for seed in (1, 2, 3)]
    runs += [made_run("vanilla", seed, DRAWN, SCORES_X, schedule="constant") for seed in (5, 7)]
    assert shared_seeds(runs) == {"cosine": (1, 2), "constant": (5, 7)}
    with pytest.raises(UserError, match=r"schedule cosine: 1 seeds are in every arm \(vanilla 3, curriculum 2\)"):
        shared_seeds([run for run in runs if (run.arm, run.seed) != ("curriculum", 2)])


def test_runs_with_checkpoints_at_other_tokens_are_refused(made_run: MakeRun) -> None:
    runs = [made_run("vanilla", 0, DRAWN, SCORES_X), made_run("vanilla", 1, DRAWN, SCORES_X, steps=(0, 2, 4))]
    assert tokens_of(runs[:1]) == (0.0, 100.0, 400.0)
    with pytest.raises(UserError, match="checkpoints at other tokens"):
        tokens_of(runs)


def passages(*sizes: int) -> HeldOutPassages:
    """Passages of tokens 0, 1, 2 ..., 2 bytes a token."""
    return HeldOutPassages(tuple(np.arange(size) for size in sizes), 2 * np.array(sizes), "key")


def write_nats(run: FinishedRun, text: HeldOutPassages, nats_KI: NDArray[np.float64]) -> None:
    np.savez(held_out_file(run, text), nats_KI=nats_KI)
    np.save(run.folder / ".prepared" / "tokens.npy", np.array([0, 0, 1, 1, 1, 1, 2, 3], dtype=np.uint16))


def test_held_out_text_is_measured_in_bits_per_byte_pooled_over_passages(made_run: MakeRun) -> None:
    text = passages(4, 2)
    runs = [made_run("vanilla", seed, DRAWN, SCORES_X) for seed in (1, 0)]
    for run in runs:
        write_nats(run, text, np.log(2) * (1 + run.seed) * np.array([[24.0, 12.0], [12.0, 12.0], [6.0, 6.0]]))
    measure = held_out_measure(runs, text)
    assert (measure.unit, measure.higher_is_better, measure.items) == ("bits per byte", False, 2)
    # 36, 24 and 12 bits over 12 bytes. Rows are by seed, whatever the order of the runs: they are paired with others'.
    scores_SK = measure.values["vanilla", "cosine"].mean(axis=2)
    assert scores_SK[0] == pytest.approx([3.0, 2.0, 1.0])
    assert scores_SK[1] == pytest.approx([6.0, 4.0, 2.0])
    np.savez(held_out_file(runs[0], text), nats_KI=np.ones((2, 2)))
    with pytest.raises(UserError, match="other checkpoints than the run has"):
        read_held_out(runs[0], text)


def test_models_that_know_no_language_are_told_in_bits_per_byte(made_run: MakeRun) -> None:
    text = passages(3, 2)
    run = made_run("vanilla", 0, DRAWN, SCORES_X)
    write_nats(run, text, np.zeros((3, 2)))
    # Eight tokens in the vocabulary: 3 bits each, 5 tokens, 10 bytes.
    # Counts with one more each: 3, 5, 2, 2, 1, 1, 1, 1 of 16; the text is 0 1 2, 0 1.
    bits = np.log2([16 / 3, 16 / 5, 16 / 2, 16 / 3, 16 / 5]).sum()
    assert trivial_bits_per_byte(run, text) == pytest.approx({"constant": 1.5, "unigram": bits / 10})


def test_windows_hold_each_token_once_after_the_token_before_it() -> None:
    inputs_WT, targets_WT, owners_W = passages(5, 2).windows(3)
    assert inputs_WT.tolist() == [[0, 0, 1], [2, 3, 0], [0, 0, 0]]
    assert targets_WT.tolist() == [[0, 1, 2], [3, 4, -1], [0, 1, -1]]
    assert owners_W.tolist() == [0, 0, 1]


def test_tasks_are_read_by_series_and_step_with_what_guessing_gets(made_run: MakeRun, tmp_path: Path) -> None:
    scores = tmp_path / "scores"
    runs = [made_run("vanilla", seed, DRAWN, SCORES_X) for seed in (0, 1)]
    nan = float("nan")
    for run in runs:
        for step in STEPS:
            # Right on the first item from step 1 on, on the second from step 4 on, for seed 1 on both throughout.
            first, second = float(step >= 1 or run.seed), float(step >= 4 or run.seed)
            loglik = [[first - 1.0, -0.5, -2.0], [second - 1.0, -0.5, nan]]
            file = scores / "samples" / run.series.name / "pairs" / f"checkpoint-{step}.parquet"
            samples_of(loglik, [0, 0], step, run.series.name).write(file)
    (measure,) = task_measures(runs, scores)
    assert (measure.name, measure.unit, measure.higher_is_better) == ("pairs", "accuracy", True)
    assert measure.values["vanilla", "cosine"].mean(axis=2).tolist() == [[0.0, 0.5, 1.0], [1.0, 1.0, 1.0]]
    assert measure.baselines == {"constant": pytest.approx((1 / 3 + 1 / 2) / 2)}


def test_runs_of_one_name_have_no_scores_of_their_own(made_run: MakeRun, tmp_path: Path) -> None:
    runs = [made_run("vanilla", seed, DRAWN, SCORES_X) for seed in (0, 1)]
    alike = [replace(run, series=run.series.model_copy(update={"name": "1x64"})) for run in runs]
    with pytest.raises(UserError, match=r"2 runs are called '1x64'.*label"):
        task_measures(alike, tmp_path)


@pytest.mark.parametrize(("dearer", "is_refused"), [(1.0099, False), (1.0101, True)])
def test_arms_may_differ_by_one_percent_in_cost(made_run: MakeRun, dearer: float, is_refused: bool) -> None:
    runs = [made_run("vanilla", 0, DRAWN, SCORES_X, flops=1e9)]
    runs.append(made_run("curriculum", 0, DRAWN, SCORES_X, flops=dearer * 1e9))
    if not is_refused:
        require_comparable(runs)
        return
    with pytest.raises(UserError, match="unequal arms are not compared"):
        require_comparable(runs)


# -- the analysis of measures ---------------------------------------------------------------------------------------

TOKENS = (0.0, 10.0, 40.0, 100.0)


def drawn_measure(seed: int, shift: float, higher_is_better: bool = True) -> Measure:
    """Three arms, five seeds, four checkpoints, six items; the curriculum is better by ``shift`` at the end."""
    rng = np.random.default_rng(seed)
    base_SKI = rng.normal(size=(5, 1, 1)) + np.linspace(0.0, 3.0, 4)[:, None] + 0.1 * rng.normal(size=(5, 4, 6))
    rise_K1 = np.array([0.0, 0.3, 0.6, 1.0])[:, None] * shift
    values = {
        ("vanilla", "cosine"): base_SKI,
        ("curriculum", "cosine"): base_SKI + rise_K1 + 0.05 * rng.normal(size=(5, 4, 6)),
        ("exposure-matched", "cosine"): base_SKI + 0.05 * rng.normal(size=(5, 4, 6)),
    }
    return Measure(f"measure {seed}", "unit", higher_is_better, TOKENS, values, {"cosine": (0, 1, 2, 3, 4)})


def numbers(differences: Iterable[Difference]) -> list[tuple[str, ...]]:
    """To be equal but for the order of additions."""
    return [tuple(f"{number:.9g}" for number in astuple(one)) for one in differences]


def test_the_effects_of_an_arm_are_its_differences_from_vanilla_at_every_checkpoint() -> None:
    measures = [drawn_measure(0, 0.5), drawn_measure(1, 0.0)]
    analysis = analysed(measures, 0.8)
    assert [(one.arm, one.measure) for one in analysis.effects] == [
        (arm, f"measure {number}") for arm in ("curriculum", "exposure-matched") for number in (0, 1)
    ]
    ends = []
    for effect, measure in zip(analysis.of_arm("curriculum", "cosine"), measures, strict=True):
        d_SKI = measure.values["curriculum", "cosine"] - measure.values["vanilla", "cosine"]
        assert numbers(effect.difference_K) == numbers(paired_difference(d_SKI[:, k]) for k in range(4))
        # The trapezoidal rule over 0, 10, 40 and 100 tokens: gaps of 10, 30 and 60.
        area_SI = (10 * (d_SKI[:, 0] + d_SKI[:, 1]) + 30 * (d_SKI[:, 1] + d_SKI[:, 2])) / 200
        area_SI += 60 * (d_SKI[:, 2] + d_SKI[:, 3]) / 200
        assert effect.area.value == pytest.approx(area_SI.mean())
        assert effect.area.stderr == pytest.approx(paired_difference(area_SI).stderr)
        ends.append(paired_difference(d_SKI[:, -1]))
    assert numbers(one.final.difference for one in analysis.of_arm("curriculum", "cosine")) == numbers(ends)
    assert analysis.verdict("curriculum", "cosine") == "better"


def test_the_curve_of_an_arm_is_its_mean_over_seeds_at_every_checkpoint() -> None:
    measure = drawn_measure(2, 0.5)
    curve = next(one for one in analysed([measure], 0.8).curves[0] if one.arm == "curriculum")
    scores_SK = measure.values["curriculum", "cosine"].mean(axis=2)
    assert numbers(curve.mean_K) == numbers(paired_difference(scores_SK[:, k : k + 1]) for k in range(4))
    assert curve.sd_of_seeds == pytest.approx(scores_SK[:, -1].std(ddof=1))
    assert curve.area.value == pytest.approx((scores_SK @ [0.05, 0.2, 0.45, 0.3]).mean())
    assert area_weights(TOKENS) == pytest.approx([0.05, 0.2, 0.45, 0.3])


def test_an_effect_is_taken_apart_at_the_end_of_training() -> None:
    measure = drawn_measure(3, -0.5, higher_is_better=False)
    ((name, schedule, found),) = analysed([measure], 0.8).explanations
    assert (name, schedule) == ("measure 3", "cosine")
    own, matched, vanilla = (
        measure.values[arm, "cosine"][:, -1] for arm in ("curriculum", "exposure-matched", "vanilla")
    )
    taken = [one.difference for one in (found.total, found.reweighting, found.order)]
    assert numbers(taken) == numbers(map(paired_difference, (own - vanilla, matched - vanilla, own - matched)))
    assert (found.total.word, found.order.word) == ("better", "better")
