"""Numbers of a submission: intervals for all, reasons where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from e2lm import Curve, ScoreValue, SeriesRoles, SignalScore
from e2lm.plugin_manager import plugin_manager
from e2lm_leaderboard.bundle.items import TaskItem
from e2lm_leaderboard.season.alignment import known_sequences, share_found, shingles
from e2lm_leaderboard.season.curves import cut, with_items
from e2lm_leaderboard.season.scores import submission_results
from e2lm_leaderboard.season.season import is_public, new_salt

GAIN = SignalScore("gain", "Last minus first.", lambda curve, rng: ScoreValue(float(np.ptp(curve.values_K[[0, -1]]))))
OWN = SignalScore("own", "With an interval.", lambda curve, rng: ScoreValue(0.5, 0.4, 0.7))
BROKEN = SignalScore("broken", "Fails.", lambda curve, rng: ScoreValue(1 / 0))
NONE = SignalScore("none", "Undefined.", lambda curves, rng: ScoreValue(None, reason="why not"), "family")
SPREAD = SignalScore(
    "spread",
    "Range of ends.",
    lambda curves, rng: ScoreValue(float(np.ptp([c.values_K[-1] for c in curves]))),
    "family",
)


def curve(series: str, final: float, items: int = 400, seed: int = 0) -> Curve:
    rng = np.random.default_rng([seed, len(series)])
    rate_K = np.linspace(0.25, final, 10)
    empty = np.zeros(10)
    return with_items(
        Curve(series, "t", "acc", np.arange(10), np.arange(10) * 1e6, empty, empty, empty.astype(np.int64)),
        (rng.random((10, items)) < rate_K[:, None]).astype(float),
    )


def test_every_score_comes_over_all_series_and_for_each() -> None:
    curves = [curve("a", 0.5), curve("bb", 0.7)]
    results = submission_results("public", curves, [GAIN, OWN, NONE, SPREAD, BROKEN], 0)
    told = {(one.score, one.series): one for one in results}
    assert set(told) == {
        *((name, series) for name in ("gain", "own", "broken") for series in ("", "a", "bb")),
        ("none", ""),
        ("spread", ""),
    }
    overall = told["gain", ""]
    assert overall.value == pytest.approx((told["gain", "a"].value + told["gain", "bb"].value) / 2)  # type: ignore[operator]
    for key in (("gain", ""), ("gain", "a"), ("spread", "")):
        one = told[key]
        assert one.low is not None
        assert one.high is not None
        assert one.value is not None
        assert one.low < one.value < one.high
    assert (told["own", ""].low, told["own", ""].high) == (0.4, 0.7)
    assert told["none", ""].reason == "why not"
    assert "ZeroDivisionError" in told["broken", ""].reason
    assert told["broken", ""].value is None


def test_control_series_are_seen_by_scores_that_know_roles_only() -> None:
    seen: dict[str, list[str]] = {}

    def note(name: str) -> SignalScore:
        return SignalScore(name, "Notes whom it sees.", lambda curves, rng: see(name, curves), "family")

    def see(name: str, curves: list[Curve]) -> ScoreValue:
        seen[name] = [one.series for one in curves]
        return ScoreValue(None, reason="none")

    knowing = SignalScore("knowing", "Knows.", note("never").score, "family", under=lambda roles: note("knowing"))
    curves = [curve("a", 0.5), curve("web", 0.4)]
    results = submission_results("public", curves, [GAIN, note("plain"), knowing], 0, roles=SeriesRoles(("web",)))
    assert seen == {"plain": ["a"], "knowing": ["a", "web"]}
    assert {one.series for one in results if one.score == "gain"} == {"", "a"}


def test_the_official_scores_of_a_season_come_with_intervals() -> None:
    curves = [curve("a", 0.6, seed=1), curve("bb", 0.7, seed=2), curve("web", 0.3, seed=3)]
    names = ("e2lmc_sq", "e2lmc_rc", "e2lmc_cs", "e2lmc_global")
    scores = [plugin_manager().find("e2lm_register_signal_scores", SignalScore, name, "score") for name in names]
    roles = SeriesRoles(("web",), 7e6)
    told = {one.score: one for one in submission_results("x", curves, scores, 0, roles=roles) if not one.series}
    for name in names:
        assert told[name].value is not None, told[name].reason
        assert told[name].low is not None
    assert "from 2 checkpoints after 7e+06 tokens and 1 pair of series" in told["e2lmc_rc"].reason
    without = {one.score: one for one in submission_results("x", curves, scores, 0) if not one.series}
    assert "no control series" in without["e2lmc_cs"].reason
    assert without["e2lmc_global"].reason == "undefined: RC, CS"


def test_the_same_seed_gives_the_same_numbers() -> None:
    curves = [curve("a", 0.5)]
    assert submission_results("x", curves, [GAIN], 3) == submission_results("x", curves, [GAIN], 3)
    assert submission_results("x", curves, [GAIN], 3) != submission_results("x", curves, [GAIN], 4)


def test_a_redrawn_interval_covers_the_truth_as_often_as_it_says() -> None:
    slope = SignalScore("slope", "Last.", lambda curve, rng: ScoreValue(float(curve.values_K[-1] - curve.values_K[0])))
    covered, runs = 0, 300
    for seed in range(runs):
        (overall, _) = submission_results("x", [curve("a", 0.5, 150, seed)], [slope], seed)
        assert overall.low is not None
        assert overall.high is not None
        covered += overall.low <= 0.25 <= overall.high
    assert 0.84 <= covered / runs <= 0.95


def test_a_cut_hides_items_and_late_checkpoints() -> None:
    whole = curve("a", 0.5)
    wanted = np.arange(400) < 100
    part = cut(whole, wanted, 4e6)
    assert part.steps_K.tolist() == [0, 1, 2, 3, 4]
    assert part.n_items_K.tolist() == [100] * 5
    assert whole.items_KI is not None
    assert part.values_K.tolist() == whole.items_KI[:5, :100].mean(axis=1).tolist()


def test_the_split_is_by_item_and_by_salt() -> None:
    first, second = new_salt(), new_salt()
    ids = [f"item {k}" for k in range(3000)]
    public = [is_public(one, first, 0.3) for one in ids]
    assert public == [is_public(one, first, 0.3) for one in ids]
    assert public != [is_public(one, second, 0.3) for one in ids]
    assert 0.25 < np.mean(public) < 0.35


def test_copied_items_are_found_also_with_other_choices_and_case() -> None:
    items = [
        TaskItem(f"Once upon a time {k} men went to the river with {k} boats and", ("row", "sat"), 0, k)
        for k in range(50)
    ]
    copied = [TaskItem(one.context.upper(), ("row", "slept"), 0, one.line) for one in items[:20]]
    fresh = [
        TaskItem(f"In quite another story number {k} of these nobody went anywhere at all", ("x", "y"), 0, k)
        for k in range(30)
    ]
    known = known_sequences(f"{one.context} {one.answer}" for one in items)
    assert share_found([*copied, *fresh], known) == pytest.approx(0.4)
    assert shingles("") == set()
    assert share_found([], known) == 0.0


def test_the_ends_of_a_mean_over_series_are_the_means_of_their_ends() -> None:
    known = {"a": ScoreValue(0.5, 0.4, 0.7), "bb": ScoreValue(0.9, 0.6, 1.0)}
    score = SignalScore("own", "Known.", lambda curve, rng: known[curve.series])
    overall = submission_results("x", [curve("a", 0.5), curve("bb", 0.5)], [score], 0)[0]
    assert (overall.value, overall.low, overall.high) == pytest.approx((0.7, 0.5, 0.85))
