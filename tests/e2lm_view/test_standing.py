"""Who leads, where, and whether beyond the interval."""

from __future__ import annotations

import math

import pytest

from e2lm.interval import normal_quantile
from e2lm.scores import ScoreRow, Scores
from e2lm_view.standing import Standing, answer, note, standings
from tests.e2lm_view.evaluations import row


def stood(rows: list[ScoreRow], **judged: tuple[str, bool]) -> list[Standing]:
    frame = Scores.from_rows(rows).frame
    return standings(frame, judged or dict.fromkeys(sorted(set(frame["task"])), ("acc", True)))


def test_a_lead_counts_where_it_is_larger_than_the_interval_of_all_comparisons_together() -> None:
    half = normal_quantile(1 - 0.1 / 2) * math.hypot(0.01, 0.01)
    for lead, beyond in ((half * 1.001, True), (half * 0.999, False)):
        rows = [row("a", 10, task, "acc", 0.5 + lead) for task in ("t", "u")]
        rows += [row("b", 10, task, "acc", 0.5) for task in ("t", "u")]
        assert [one.is_beyond for one in stood(rows)] == [beyond, beyond]
    assert "all 2 comparisons" in note(stood(rows))


def test_less_is_better_of_a_loss() -> None:
    (one,) = stood([row("a", 10, "t", "loss", 2.0), row("b", 10, "t", "loss", 3.0)], t=("loss", False))
    assert (one.scores[0].run, one.lead, one.is_beyond) == ("a", 1.0, True)


def test_runs_are_compared_at_the_last_checkpoint_that_they_share() -> None:
    rows = [row("a", step, "t", "acc", 0.4) for step in (10, 20)]
    rows += [row("b", step, "t", "acc", value) for step, value in ((10, 0.1), (20, 0.2), (30, 0.9))]
    (one,) = stood(rows)
    assert {score.run: (score.value, score.at) for score in one.scores} == {"a": (0.4, 2e4), "b": (0.2, 2e4)}
    assert "the last checkpoint that the runs share" in note([one])


def test_runs_that_share_no_checkpoint_are_told() -> None:
    one = stood([row("a", 10, "t", "acc", 0.4), row("b", 20, "t", "acc", 0.9)])
    assert not one[0].is_shared
    assert "each run's own last checkpoint for 1 task (t)" in note(one)


def test_an_unknown_error_is_no_lead() -> None:
    (one,) = stood([row("a", 10, "t", "acc", 0.9, math.nan), row("b", 10, "t", "acc", 0.1)])
    assert not one.is_beyond
    assert answer([one]) == "No run leads beyond the interval on any of 1 task; nearest is a on t, by 0.8 ± ?."


def test_an_error_of_zero_is_no_certainty() -> None:
    (one,) = stood([row("a", 10, "t", "acc", 1.0, 0.0, n=8), row("b", 10, "t", "acc", 0.8, 0.0, n=8)])
    assert one.half > 0.2
    assert not one.is_beyond
    (one,) = stood([row("a", 10, "t", "loss", 2.0, 0.0), row("b", 10, "t", "loss", 3.0, 0.0)], t=("loss", False))
    assert math.isnan(one.half)
    assert not one.is_beyond


def test_the_sentence_names_leaders_the_largest_first_and_what_is_open() -> None:
    rows = []
    for task, first, second in (("t", 0.9, 0.1), ("u", 0.9, 0.1), ("v", 0.1, 0.9), ("w", 0.5, 0.5)):
        rows += [row("a", 10, task, "acc", first), row("b", 10, task, "acc", second)]
    expected = "a leads on 2 of 4 tasks beyond the interval (t, u); b on 1 (v); on the other 1 no lead is beyond it."
    assert answer(stood(rows)) == expected


@pytest.mark.parametrize(
    ("chance", "told"),
    [
        (0.25, "a is above chance beyond the interval on 1 of 1 task (t) after 10k tokens."),
        (0.495, "a is above chance beyond the interval on 0 of 1 task after 10k tokens."),
        (math.nan, "a has been scored on 1 task after 10k tokens; no chance level is known."),
    ],
)
def test_a_run_alone_is_held_against_chance(chance: float, told: str) -> None:
    assert answer(stood([row("a", 10, "t", "acc", 0.5, chance=chance)])) == told
