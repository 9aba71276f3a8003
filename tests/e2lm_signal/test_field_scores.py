"""Scores of the field, against values worked out by hand or taken from their sources."""

from itertools import product

import numpy as np
import pytest

from e2lm_signal.curves import curve_of_values
from e2lm_signal.signal_scores import signal_scores
from e2lm_signal.smoothed_scores import parsed_variant, variant

SCORES = {score.name: score for score in signal_scores()}


def curve_score(name, values, **fields):
    return SCORES[name].score(curve_of_values(values, **fields), np.random.default_rng(0))


def family(rows, **fields):
    return [curve_of_values(row, series=name, **fields) for name, row in rows.items()]


def family_score(name, rows, **fields):
    return SCORES[name].score(family(rows, **fields), np.random.default_rng(0))


def test_every_score_names_itself_describes_itself_and_its_source():
    assert len(SCORES) == len(signal_scores())
    assert all(score.description and score.source for score in SCORES.values())


@pytest.mark.parametrize("name", sorted(SCORES))
@pytest.mark.parametrize(
    "values", [[], [0.3], [0.25] * 14, [float("nan")] * 14, list(range(14, 0, -1)), [0.1, float("nan"), 0.3, 0.2]]
)
def test_degenerate_curves_get_a_finite_number_or_a_reason(name, values):
    score = SCORES[name]
    fields = {"n_items_K": np.full(len(values), 100)}
    data = curve_of_values(values, **fields)
    found = score.score(data if score.scope == "curve" else [data, data], np.random.default_rng(0))
    assert (found.value is not None and np.isfinite(found.value)) or found.reason


def test_fluid_total_variation_of_a_monotone_curve_is_n_over_n_minus_1():
    assert curve_score("fluid_total_variation", [1, 2, 4, 7, 8]).value == pytest.approx(5 / 4)
    assert curve_score("fluid_total_variation", [0, 2, 1, 3]).value == pytest.approx(4 / 3 * 5 / 3)
    assert curve_score("fluid_total_variation", [1, 2, 1]).value is None


def test_fluid_saturation_is_the_absolute_spearman_correlation():
    assert curve_score("fluid_saturation", [4, 3, 2, 1]).value == pytest.approx(1.0)
    assert curve_score("finetasks_monotonicity", [4, 3, 2, 1]).value == pytest.approx(-1.0)


def test_monotonicity_shares_ranks_of_ties_as_scipy_does():
    from scipy.stats import spearmanr

    values = [0.1, 0.3, 0.3, 0.2, 0.5, 0.5]
    assert curve_score("finetasks_monotonicity", values).value == pytest.approx(
        spearmanr(np.arange(6), values).statistic
    )


def test_detrended_noise_ignores_a_line_and_finds_the_noise_around_it():
    assert curve_score("detrended_noise", np.linspace(0, 1, 20)).value == pytest.approx(0.0, abs=1e-12)
    noisy = np.linspace(0, 50, 4000) + np.random.default_rng(0).normal(size=4000)
    assert curve_score("detrended_noise", noisy).value == pytest.approx(1.0, abs=0.05)


def test_gain_over_chance_needs_to_know_chance():
    rng = np.random.default_rng(1)
    values = np.linspace(0.25, 0.5, 20) + 0.01 * rng.normal(size=20)
    assert "chance level is unknown" in (curve_score("gain_over_chance", values).reason or "")
    assert curve_score("gain_over_chance", values, chance=0.25).value > 20


def test_signal_and_noise_of_two_series_by_hand():
    rows = {"a": [0, 0, 1, 3, 1, 3], "b": [0, 0, 3, 5, 3, 5]}
    # last 3 of 6 checkpoints: means 7/3 and 13/3, standard deviations 2/sqrt 3 each
    spread = np.std([3, 1, 3], ddof=1)
    assert family_score("sn_signal", rows).value == pytest.approx((13 / 3 - 7 / 3) / (10 / 3))
    noise = np.mean([spread / (7 / 3), spread / (13 / 3)])
    assert family_score("sn_snr", rows).value == pytest.approx(2 / (10 / 3) / noise)
    assert curve_score("sn_noise", rows["a"]).value == pytest.approx(spread / (7 / 3))


@pytest.mark.parametrize("name", ["sn_signal", "sn_snr"])
def test_intervals_of_signal_and_noise_are_those_of_all_redraws_of_four_series(name):
    rng = np.random.default_rng(5)
    late_MK = np.array([1.0, 2.0, 2.5, 4.0])[:, None] + 0.2 * rng.normal(size=(4, 5))
    rows = {f"s{m}": [0.0] * 5 + late_K.tolist() for m, late_K in enumerate(late_MK)}
    every = []
    for chosen in product(range(4), repeat=4):
        means = late_MK[list(chosen)].mean(axis=1)
        signal = np.ptp(means) / means.mean()
        noise = (late_MK.std(axis=1, ddof=1) / late_MK.mean(axis=1))[list(chosen)].mean()
        every.append(signal if name == "sn_signal" else signal / noise)
    half = 1.6448536 * np.std(np.log([one for one in every if one > 0]))
    found = family_score(name, rows)
    assert np.log(found.high / found.value) == pytest.approx(half, rel=0.08)
    assert np.log(found.value / found.low) == pytest.approx(half, rel=0.08)


def test_finetasks_snr_and_nonrandomness_use_the_seeds():
    rows = {"run-seed0": [0.2, 0.4], "run-seed1": [0.4, 0.6]}
    found = family_score("finetasks_snr", rows, tokens_K=np.array([1.0, 30e9]))
    assert found.value == pytest.approx(0.5 / np.std([0.4, 0.6], ddof=1))
    nonrandom = family_score("finetasks_nonrandomness", rows, chance=0.25)
    assert nonrandom.value == pytest.approx((0.6 - 0.25) / np.std([0.4, 0.6], ddof=1))
    assert family_score("finetasks_snr", {"a": [0.1, 0.2], "b": [0.2, 0.3]}).value is None


def test_finetasks_ordering_is_the_mean_tau_between_neighbours_after_15_billion_tokens():
    rows = {"a": [9, 1, 1, 3], "b": [1, 2, 2, 2], "c": [0, 3, 3, 1]}
    late = family_score("finetasks_ordering", rows, tokens_K=np.array([1e9, 15e9, 20e9, 30e9]))
    assert late.value == pytest.approx((1.0 - 1.0) / 2)
    early = family_score("finetasks_ordering", rows)
    assert "all checkpoints" in (early.reason or "")


def test_decision_accuracy_counts_ties_one_half_and_has_no_false_certainty():
    from e2lm_signal.decisions import decision_accuracy

    assert decision_accuracy(np.array([1.0, 1.0]), np.array([1.0, 2.0])) == 0.5
    rows = {f"s{k}": np.linspace(0.1, 0.5 + 0.05 * k, 20) for k in range(6)}
    found = family_score("decision_accuracy", rows)
    assert found.value == 1.0
    assert found.high == 1.0
    assert 0.5 < found.low < 0.95


def test_settling_share_is_where_the_order_stays():
    rows = {
        "a": [3, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        "b": [2, 3, 2, 2, 2, 2, 2, 2, 2, 2],
        "c": [1, 2, 3, 3, 3, 3, 3, 3, 3, 3],
    }
    found = family_score("settling_share", rows, steps_K=np.arange(1, 11))
    assert found.value == pytest.approx(3 / 10)
    assert found.details["step"] == 3.0


def test_relabelling_series_changes_no_family_score():
    from e2lm_signal.cli.report import signal_report

    rng = np.random.default_rng(3)
    values = [np.sort(rng.normal(size=12)) + 0.2 * rng.normal(size=12) for _ in range(5)]

    def scored(names):
        rows = sorted(zip(names, values, strict=True), key=lambda pair: pair[0])
        curves = [curve_of_values(row, series=name) for name, row in rows]
        report = signal_report([curves], signal_scores())
        return {name: (v.value, v.low, v.high) for name, v in report.means[0].scores.items()}

    first, second = scored(list("abcde")), scored(list("ecadb"))
    for name, found in first.items():
        assert found == pytest.approx(second[name], nan_ok=True) if found[0] is not None else second[name][0] is None


# -- averaged variants ---------------------------------------------------------------------------------------------


def test_a_variant_scores_the_averaged_curve_and_withholds_p():
    rng = np.random.default_rng(2)
    values = np.linspace(0, 1, 30) + 0.5 * rng.normal(size=30)
    plain = SCORES["signal_quality"]
    averaged, ema = variant(plain, "mean", 5), variant(plain, "ema", 20)
    curve = curve_of_values(values, metric="m")
    quality = plain.score(curve, rng).value
    assert averaged.name == "signal_quality.mean5"
    assert averaged.score(curve, rng).value > quality
    assert ema.score(curve, rng).value > quality
    assert averaged.score(curve, rng).p is None
    assert plain.score(curve, rng).p is not None


def test_the_running_mean_is_the_mean_of_the_last_checkpoints_with_the_errors_of_a_mean():
    from e2lm_signal.smoothed_scores import mean_weights_KK, smoothed

    curve = curve_of_values([1.0, 2.0, 6.0], stderr_K=np.array([3.0, 3.0, 3.0]))
    smooth = smoothed(curve, mean_weights_KK(3, 2))
    assert smooth.values_K.tolist() == [1.0, 1.5, 4.0]
    assert smooth.stderr_K == pytest.approx([3.0, 3.0 / np.sqrt(2), 3.0 / np.sqrt(2)])


def test_variant_names_are_parsed_and_others_left_alone():
    assert parsed_variant("sn_snr.mean3") == ("sn_snr", "mean", 3)
    assert parsed_variant("sn_snr") is None
    assert parsed_variant("sn_snr.ema0") is None


@pytest.mark.parametrize("values", [[0.1 * k for k in range(12)], [1e-9 * k + 7.3 for k in range(12)]])
def test_a_straight_curve_has_no_noise_to_be_measured_in(values):
    assert curve_score("detrended_noise", values).value == 0
    found = curve_score("gain_over_noise", values)
    assert found.value is None
    assert found.reason == "the curve has no noise, or does not vary"


def test_noise_far_below_the_values_is_noise_all_the_same():
    values = [7.3 + 0.1 * k + 1e-9 * (-1) ** k for k in range(12)]
    assert curve_score("detrended_noise", values).value == pytest.approx(1e-9 * np.sqrt(4 / 1.5), rel=1e-4)


def test_nonrandomness_of_a_loss_is_how_far_the_lowest_is_below_chance():
    rows = {"run-seed0": [3.0, 2.6], "run-seed1": [3.0, 2.4]}
    found = family_score("finetasks_nonrandomness", rows, chance=3.1, metric="loss", higher_is_better=False)
    assert found.value == pytest.approx((3.1 - 2.4) / np.std([2.6, 2.4], ddof=1))


def test_signal_and_noise_takes_series_of_four_checkpoints_and_leaves_out_shorter_ones():
    found = family_score("sn_signal", {"a": [0, 0, 1, 3], "b": [0, 0, 3, 5]})
    assert found.value == pytest.approx((4 - 2) / 3)
    assert family_score("sn_signal", {"a": [0, 1, 3], "b": [0, 3, 5]}).value is None


def test_an_average_is_of_one_to_a_hundred():
    assert [parsed_variant(f"sn_snr.ema{number}") for number in (1, 100)] == [
        ("sn_snr", "ema", 1),
        ("sn_snr", "ema", 100),
    ]
    assert parsed_variant("sn_snr.ema101") is None
