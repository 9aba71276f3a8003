import numpy as np
import pytest

from e2lm import SeriesRoles
from e2lm_signal.curves import curve_of_values
from e2lm_signal.official_score import official_scores
from e2lm_signal.reconstructed_score import (
    RankingConsistency,
    cs_score,
    global_score,
    rc_score,
    reconstructed_scores,
)
from e2lm_signal.smoothed_scores import variant

RNG = np.random.default_rng(0)


def pair_with_agreements(late, agreeing):
    """Two series, five checkpoints before 200 B tokens at which b leads, ``late`` after it, at ``agreeing`` b leads."""
    tokens_K = np.concatenate([np.linspace(20e9, 190e9, 5), np.linspace(222.8e9, 994.5e9, late)])
    lead = np.concatenate([np.ones(5), np.where(np.arange(late) < agreeing, 1.0, -1.0)])
    return [
        curve_of_values(np.full(5 + late, 0.25), series="arch1", tokens_K=tokens_K),
        curve_of_values(0.25 + 0.01 * lead, series="arch2", tokens_K=tokens_K),
    ]


def test_ranking_consistency_of_the_published_figure_is_14_of_47():
    found = rc_score(RankingConsistency()).score(pair_with_agreements(47, 14), RNG)
    assert found.value == pytest.approx(14 / 47)
    assert found.value == pytest.approx(0.2979, abs=5e-5)
    assert "reconstructed" in (found.reason or "")


@pytest.mark.parametrize("agreement", ["pairs", "exact", "tau-b"])
def test_with_two_series_every_kind_of_agreement_is_the_same(agreement):
    how = RankingConsistency(agreement=agreement)
    assert rc_score(how).score(pair_with_agreements(47, 14), RNG).value == pytest.approx(14 / 47)


def test_the_reference_may_be_the_final_order_or_a_step():
    curves = pair_with_agreements(10, 9)  # the last checkpoint is the one that disagrees
    assert rc_score(RankingConsistency(reference="final")).score(curves, RNG).value == pytest.approx(1 / 10)
    assert rc_score(RankingConsistency(reference="last")).score(curves, RNG).value == pytest.approx(9 / 10)
    assert rc_score(RankingConsistency(reference_step=14)).score(curves, RNG).value == pytest.approx(1 / 10)
    missing = rc_score(RankingConsistency(reference_step=99)).score(curves, RNG)
    assert missing.value is None


def test_ties_count_one_half():
    tokens_K = np.array([1e11, 3e11, 4e11])
    curves = [
        curve_of_values([0.1, 0.2, 0.2], series="a", tokens_K=tokens_K),
        curve_of_values([0.2, 0.2, 0.3], series="b", tokens_K=tokens_K),
    ]
    assert rc_score(RankingConsistency()).score(curves, RNG).value == pytest.approx(0.75)


def test_a_run_that_ends_before_the_window_has_no_ranking_consistency():
    curves = [curve_of_values([0.1, 0.2], series=name, tokens_K=np.array([1e9, 2e9])) for name in "ab"]
    found = rc_score(RankingConsistency()).score(curves, RNG)
    assert found.value is None
    assert "no checkpoint after 2e+11 tokens" in (found.reason or "")


def test_science_signal_needs_a_control_and_grows_with_the_lead():
    def curves(web):
        return [
            curve_of_values([0.25, 0.327], series="science", chance=0.25),
            curve_of_values([0.25, web], series="web", chance=0.25),
        ]

    assert cs_score(None).score(curves(0.296), RNG).value is None
    assert cs_score("web").score(curves(0.296), RNG).value == pytest.approx(0.031 / 0.077)
    assert cs_score("web").score(curves(0.35), RNG).value == 0.0
    assert cs_score("none*").score(curves(0.3), RNG).value is None


def test_the_global_score_weighs_its_parts_and_is_undefined_without_one():
    tokens_K = np.linspace(20e9, 400e9, 14)
    science = [
        curve_of_values(np.linspace(0.3, 0.5 + gain, 14), series=f"s{gain}", tokens_K=tokens_K, chance=0.25)
        for gain in (0.0, 0.1)
    ]
    web = curve_of_values(np.linspace(0.25, 0.4, 14), series="web", tokens_K=tokens_K, chance=0.25)
    found = global_score(RankingConsistency(), "web").score([*science, web], RNG)
    cs = (0.55 - 0.4) / (0.55 - 0.25)
    assert found.value == pytest.approx(0.5 * 1.0 + 0.1 * 1.0 + 0.4 * cs)
    assert global_score(RankingConsistency(), None).score(science, RNG).reason == "undefined: CS"


def season_curves():
    """Two science series and a control one, 16 checkpoints; after 200 B tokens the science series swap places."""
    tokens_K = np.linspace(20e9, 320e9, 16)
    late_K = tokens_K > 200e9
    rising_K = np.linspace(0.3, 0.6, 16)
    return [
        curve_of_values(rising_K, series="a", tokens_K=tokens_K, chance=0.25),
        curve_of_values(np.where(late_K, rising_K - 0.02, rising_K + 0.02), series="b", tokens_K=tokens_K, chance=0.25),
        curve_of_values(rising_K - 0.04, series="web-a", tokens_K=tokens_K, chance=0.25),
    ]


def test_under_roles_rc_and_sq_leave_control_series_out_and_early_ends_where_the_season_says():
    roles = SeriesRoles(("web*",), 200e9)
    rc, cs, total = (score.under(roles) for score in reconstructed_scores())
    curves = season_curves()
    assert rc.score(curves, RNG).value == 0.0
    last_early = [curve.values_K[curve.tokens_K <= 200e9][-1] for curve in curves]
    expected = (np.mean(last_early[:2]) - last_early[2]) / (np.mean(last_early[:2]) - 0.25)
    assert cs.score(curves, RNG).value == pytest.approx(expected)
    assert total.score(curves, RNG).value == pytest.approx(0.5 * 1.0 + 0.4 * expected)
    sq = next(score for score in official_scores() if score.name == "e2lmc_sq")
    falls_late = curve_of_values(
        np.concatenate([np.linspace(0.3, 0.5, 10), np.linspace(0.5, 0.3, 6)]), tokens_K=curves[0].tokens_K
    )
    assert sq.under(roles).score(falls_late, RNG).value == 1.0
    assert sq.under(SeriesRoles()).score(falls_late, RNG).value == sq.score(falls_late, RNG).value < 1.0


def test_under_no_roles_cs_says_that_nobody_named_a_control_series():
    _, cs, total = (score.under(SeriesRoles()) for score in reconstructed_scores())
    assert "no control series" in cs.score(season_curves(), RNG).reason
    assert total.score(season_curves(), RNG).value is None
    named = cs.under(SeriesRoles(("nobody",))).score(season_curves(), RNG)
    assert named.reason == "control nobody: 0 control and 3 science series"


def test_a_smoothed_variant_does_not_pretend_to_know_roles():
    assert variant(cs_score(None), "mean", 3).under is None
