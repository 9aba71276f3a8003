import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtri

from e2lm_signal.curves import curve_of_values
from e2lm_signal.signal_quality import concordance_D, pairs_of, signal_quality, signal_quality_scores


def quality(values, seed=0, **fields):
    return signal_quality(curve_of_values(values, **fields), np.random.default_rng(seed))


def test_a_rising_curve_is_one_and_a_falling_one_is_minus_one():
    assert quality(range(14)).value == pytest.approx(1.0)
    falling = quality(range(14, 0, -1))
    assert falling.value == pytest.approx(-1.0)
    assert falling.p is not None
    assert falling.p > 0.9
    assert "falls" in (falling.reason or "")


def test_a_falling_loss_is_a_rise():
    found = quality(range(14, 0, -1), metric="loss", higher_is_better=False)
    assert found.value == pytest.approx(1.0)
    assert found.p == quality(range(14)).p < 0.001


def test_an_alternating_curve_which_the_official_score_likes_is_worth_little():
    assert abs(quality([0.0, 1.0] * 7).value) < 0.15


def test_a_constant_curve_is_worth_nothing_with_p_one_and_a_reason():
    value = quality([0.25] * 14)
    assert (value.value, value.p, value.reason) == (0.0, 1.0, "all values are equal")


@pytest.mark.parametrize("n", [0, 1, 3])
def test_too_short_a_curve_is_undefined_with_a_reason(n):
    value = quality([0.1 * k for k in range(n)])
    assert value.value is None
    assert value.reason == f"{n} usable checkpoints; at least 4 are needed"


@pytest.mark.parametrize("n", [4, 5, 6, 7])
def test_short_curves_from_four_checkpoints_on_have_a_value_and_a_p(n):
    value = quality([0.1 * k for k in range(n)])
    assert value.value == pytest.approx(1.0)
    assert value.p is not None


def test_checkpoints_without_a_value_are_left_out_and_counted():
    value = quality([0.1, float("nan"), 0.2, 0.3, float("inf"), 0.4, 0.5])
    assert value.value == pytest.approx(1.0)
    assert "2 of 7 checkpoints" in (value.reason or "")
    gone = quality([float("nan")] * 14)
    assert gone.value is None
    assert "14 of 14" in (gone.reason or "")


def test_a_rise_that_the_items_cannot_resolve_is_worth_almost_nothing():
    rise = np.linspace(0.25, 0.2501, 14)
    assert quality(rise, n_items_K=np.full(14, 1000)).value < 0.02
    assert quality(rise, stderr_K=np.full(14, 0.0137)).value < 0.02
    assert quality(np.linspace(0.25, 0.55, 14), n_items_K=np.full(14, 1000)).value > 0.97


def test_a_rise_below_chance_is_no_progress():
    value = quality(np.linspace(0.20, 0.24, 14), chance=0.25)
    assert value.value == 0.0
    assert value.reason == "no value is above chance"
    assert quality(np.linspace(0.20, 0.40, 14), chance=0.25).value > 0.5


def test_without_items_the_interval_is_withheld_and_the_reason_says_what_is_missing():
    value = quality(range(14))
    assert value.low is None
    assert "no interval" in (value.reason or "")


def test_log_axis_weighs_early_training_more():
    plain, log = signal_quality_scores()
    early_only = curve_of_values([0.0, 0.2, 0.3, 0.35] + [0.36, 0.35] * 6, steps_K=np.arange(16) * 100)
    rng = np.random.default_rng(0)
    assert log.score(early_only, rng).value > plain.score(early_only, rng).value


curves = st.lists(st.integers(0, 8), min_size=4, max_size=24)


@settings(max_examples=40)
@given(curves, st.floats(0.01, 100), st.floats(-50, 50))
def test_rescaling_values_and_their_errors_changes_nothing(values, scale, shift):
    y = np.asarray(values, float)
    plain, scaled = quality(y, metric="m"), quality(np.round(y * scale + shift, 9), metric="m")
    assert scaled.value == pytest.approx(plain.value)
    assert scaled.p == plain.p
    error = np.full(len(y), 0.7)
    plain = quality(y, metric="m", stderr_K=error)
    scaled = quality(y * scale + shift, metric="m", stderr_K=error * scale)
    assert scaled.value == pytest.approx(plain.value, abs=1e-9)
    if plain.low is not None:
        assert (scaled.low, scaled.high) == pytest.approx((plain.low, plain.high), abs=1e-6)


@settings(max_examples=40)
@given(curves, st.randoms(use_true_random=False))
def test_permuting_equal_values_changes_nothing(values, random):
    """Among equal values only their identity can move, which their per-item values tell apart."""
    y = np.asarray(values, float)
    order = np.arange(len(y))
    for level in np.unique(y):
        places = np.flatnonzero(y == level)
        order[places] = random.sample(list(places), len(places))
    plain, permuted = quality(y), quality(y[order])
    assert (permuted.value, permuted.p) == (plain.value, plain.p)


def test_the_name_of_the_series_changes_nothing():
    values = [0.1, 0.3, 0.2, 0.4, 0.4, 0.5]
    assert quality(values, series="a") == quality(values, series="b")


def test_differences_far_beyond_their_error_are_sure_and_said_without_a_warning():
    rising_DK = np.array([[0.0, 1e6, 2e6, 3e6]], dtype=np.float32)
    tiny = pairs_of(np.arange(4.0), np.eye(4) * 1e-30)
    assert concordance_D(rising_DK, tiny)[0][0] == pytest.approx(1.0)


# -- the same curve seen through more checkpoints ------------------------------------------------------------------


def expected_quality(n, snr):
    """Mean quality over white checkpoint noise, exact: the mean sign of a noisy difference is that of its error."""
    tokens = np.linspace(1, 200, n)
    truth = np.log(tokens) / np.log(200)
    pairs = pairs_of(tokens / 200.0, np.eye(n) / snr**2)
    return float(concordance_D(truth[None], pairs)[0][0])


def test_the_expected_quality_is_the_mean_over_noise():
    rng = np.random.default_rng(5)
    tokens = np.linspace(1, 200, 8)
    truth = np.log(tokens) / np.log(200)
    values = [quality(truth + rng.normal(size=8) / 3, metric="m", tokens_K=tokens).value for _ in range(400)]
    assert np.mean(values) == pytest.approx(expected_quality(8, 3.0), abs=3 * np.std(values) / 20)


@pytest.mark.parametrize("snr", [1.0, 3.0, 10.0, 100.0])
def test_a_noisy_log_curve_has_the_same_quality_from_8_to_143_checkpoints(snr):
    # the official score of the curve with snr 3 falls from .471 to .343
    assert np.ptp([expected_quality(n, snr) for n in range(8, 144)]) < 0.05


@pytest.mark.parametrize("shape", ["log", "line", "late"])
@pytest.mark.parametrize("stderr", [None, 0.03])
def test_adding_a_checkpoint_to_a_fixed_curve_changes_quality_by_less_than_five_hundredths(shape, stderr):
    def curve_at(n):
        tokens = 200.0 * np.arange(1, n + 1) / 143  # the run goes on: each n adds one checkpoint at its end
        share = tokens / 200.0
        values = {"log": np.log1p(20 * share) / 3, "line": share, "late": 1 / (1 + np.exp(-10 * (share - 0.5)))}[shape]
        error = np.full(n, np.nan if stderr is None else stderr)
        return quality(values, metric="m", tokens_K=tokens, steps_K=np.arange(1, n + 1), stderr_K=error).value

    qualities = [curve_at(n) for n in (8, 9, 14, 15, 47, 48, 142, 143)]
    neighbours = [abs(qualities[i + 1] - qualities[i]) for i in (0, 2, 4, 6)]
    assert max(neighbours) < 0.05


# -- coverage ------------------------------------------------------------------------------------------------------


def shared_items(means_K, items, rng):
    """0/1 answers of one set of items at every checkpoint; an item's luck is partly its own, as in an evaluation."""
    own = np.sqrt(0.6) * rng.normal(size=(1, items)) + np.sqrt(0.4) * rng.normal(size=(len(means_K), items))
    return (own < ndtri(means_K)[:, None]).astype(float)


@pytest.mark.parametrize(
    ("n", "low", "gain", "items"),
    [(8, 0.25, 0.05, 1000), (14, 0.25, 0.3, 300), (14, 0.25, 0.0, 1000), (27, 0.3, 0.1, 500)],
)
@pytest.mark.parametrize("source", ["items", "binomial"])
def test_ninety_percent_intervals_cover_the_truth_in_86_to_94_percent(n, low, gain, items, source):
    rng = np.random.default_rng([17, n, items])
    truth_K = low + gain * np.linspace(0, 1, n)
    values, hits = [], []
    for _ in range(600):
        if source == "items":
            items_KI = shared_items(truth_K, items, rng)
            curve = curve_of_values(items_KI.mean(axis=1), items_KI=items_KI)
        else:
            curve = curve_of_values(rng.binomial(items, truth_K) / items, n_items_K=np.full(n, items))
        found = signal_quality(curve, rng)
        values.append(found.value)
        hits.append((found.low, found.high))
    expected = np.mean(values)  # the interval is for the mean over sets of as many items
    low_D, high_D = np.asarray(hits).T
    assert 0.86 <= np.mean((low_D <= expected) & (expected <= high_D)) <= 0.94
