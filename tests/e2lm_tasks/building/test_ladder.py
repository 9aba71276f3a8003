from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from e2lm import Scores, UserError
from e2lm.command_line import main
from e2lm.scores import ScoreRow
from e2lm_tasks.building.families import LADDER
from e2lm_tasks.building.ladder import ladder_report, ladder_text, shown_by_runs, turned_on
from e2lm_tasks.building.prose import CorpusText, Prose, WordFrequency, prose_of
from e2lm_tasks.building.rungs import COUNTERPART, FREQUENT_WORDS, agreement_items, frequent_word_items, two_step_items
from e2lm_tasks.building.text_suite import build_suite


@pytest.fixture(scope="module")
def prose(documentation: CorpusText) -> Prose:
    return prose_of([documentation.text])


def test_each_form_of_agreement_is_right_as_often_as_its_counterpart(prose: Prose) -> None:
    items = [item for item in agreement_items(prose, np.random.default_rng(0)) if item is not None]
    assert len(items) > 300
    right = [item.true.split()[0] for item in items]
    for form, other in COUNTERPART.items():
        assert abs(right.count(form) - right.count(other)) <= 1
    for item in items:
        assert item.wrong == (item.true.replace(item.true.split()[0], COUNTERPART[item.true.split()[0]], 1),)


def test_the_frequent_word_is_frequent_and_the_others_are_rare(prose: Prose) -> None:
    frequency = WordFrequency.of(prose)
    items = [item for item in frequent_word_items(prose, frequency, np.random.default_rng(0)) if item is not None]
    assert len(items) > 500
    top = frequency.most_frequent(FREQUENT_WORDS)
    assert all(item.true in top for item in items)
    assert all(frequency.counts[word] <= 2 for item in items for word in item.wrong)


def test_two_steps_can_only_be_joined_to_the_right_end(prose: Prose) -> None:
    rng = np.random.default_rng(3)
    for item, _ in zip(two_step_items(WordFrequency.of(prose), rng), range(50), strict=False):
        assert item is not None
        told, _, asked = item.context.removesuffix(" is in the").partition(" So in the end the ")
        inside = dict(sentence.removeprefix("The ").split(" is in the ") for sentence in told.rstrip(".").split(". "))
        assert f"{inside[inside[asked]]}." == item.true
        assert f"{inside[asked]}." in item.wrong


def test_the_ladder_is_built_from_a_text_with_its_chances(documentation: CorpusText) -> None:
    suite = build_suite([documentation], seed=1, items=100, name="e2lm_ladder", family=LADDER)
    cards = suite.card["tasks"]
    assert list(cards) == [f"e2lm_ladder_{kind.name}" for kind in LADDER.kinds]
    assert cards["e2lm_ladder_agreement"]["chance"] == 0.5
    assert cards["e2lm_ladder_frequency"]["baselines"]["unigram_logprob"]["value"] > 0.95
    for rung in ("facts", "two-steps"):
        baselines = cards[f"e2lm_ladder_{rung}"]["baselines"]
        assert all(value["low"] < 0.25 + 0.08 for value in baselines.values()), rung


def table(values: dict[str, list[float]], series: str = "run") -> Scores:
    return Scores.from_rows(
        ScoreRow(
            series=series, params=1e6, step=step * 10, tokens=step * 1e6, flops=step * 6e12,
            task=f"e2lm_ladder_{task}", metric="acc_ties_half", value=value, stderr=0.02, n=300,
        )
        for task, curve in values.items()
        for step, value in enumerate(curve)
    )  # fmt: skip


RISING = [0.25, 0.26, 0.35, 0.5, 0.6, 0.65, 0.7, 0.72]
FLAT = [0.25, 0.26, 0.24, 0.25, 0.26, 0.24, 0.25, 0.25]


def test_a_rung_turns_on_where_it_leaves_chance_for_good_and_the_silent_ones_are_named() -> None:
    rungs = ladder_report(table({"copying": RISING, "facts": FLAT}))
    assert [(rung.rung, rung.on_step, rung.on_tokens) for rung in rungs] == [
        ("copying", 20, 2e6),
        ("facts", None, None),
    ]
    assert rungs[0].p is not None
    assert rungs[0].p < 0.05
    assert rungs[1].reason == "never above chance and step 0 to the end of the run"
    assert "run: nothing shows in facts" in ladder_text(rungs)


def test_what_the_untrained_model_gets_has_to_be_beaten_too() -> None:
    (rung,) = ladder_report(table({"frequency": [0.88, 0.9, 0.91, 0.97, 0.99, 1.0]}))
    assert (rung.chance, rung.first, rung.on_step) == (0.25, 0.88, 30)
    (without_step_0,) = ladder_report(Scores(table({"frequency": [0.88, 0.9, 0.97]}).frame.assign(step=[5, 6, 7])))
    assert without_step_0.on_step == 5


def test_a_rung_at_its_ceiling_is_judged_by_the_log_likelihoods_that_still_rise() -> None:
    known = table({"frequency": [0.8, 0.95, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]})
    (by_accuracy,) = ladder_report(known)
    gap = table({"frequency": [0.1, 0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85]}).frame.assign(
        metric="gold_minus_mean_wrong_per_byte"
    )
    (rung,) = ladder_report(Scores.from_frame(pd.concat([known.frame, gap]), "test"))
    assert (rung.first, rung.last, rung.on_step) == (by_accuracy.first, by_accuracy.last, by_accuracy.on_step)
    assert by_accuracy.signal_metric == "acc_ties_half"
    assert rung.signal_metric == "gold_minus_mean_wrong_per_byte"
    assert by_accuracy.p is not None
    assert rung.p is not None
    assert rung.p < 0.01
    assert by_accuracy.p > 0.05
    assert "signal_quality of gold_minus_mean_wrong_per_byte" in ladder_text([rung])


def test_runs_together_show_a_rung_if_the_clearest_of_them_does() -> None:
    runs = [table({"copying": RISING, "facts": FLAT}, "a"), table({"copying": RISING[::-1], "facts": FLAT}, "b")]
    rungs = ladder_report(Scores.from_frame(pd.concat([run.frame for run in runs]), "test"))
    clear = next(rung for rung in rungs if (rung.series, rung.rung) == ("a", "copying"))
    assert clear.p is not None
    assert shown_by_runs(rungs) == {"copying": 2 * clear.p}
    text = ladder_text(rungs)
    assert f"p over all runs (smallest times 2): copying {2 * clear.p:.3f}" in text
    assert "b: nothing shows in copying, facts" in text


def test_a_rung_that_falls_back_to_chance_has_not_turned_on() -> None:
    assert turned_on(np.array([0.5, 0.6, 0.25]), np.full(3, 0.02), 0.25) is None
    assert turned_on(np.array([0.5, 0.6]), np.full(2, np.nan), 0.25) is None
    assert turned_on(np.array([0.5, 0.6]), np.full(2, 0.02), 0.25) == 0


def test_scores_without_a_rung_are_refused_with_what_to_evaluate() -> None:
    with pytest.raises(UserError, match="evaluate --tasks another first"):
        ladder_report(table({"copying": RISING}), name="another")


def test_the_command_prints_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table({"copying": RISING, "agreement": [0.5 + value / 3 for value in RISING]}).write(tmp_path)
    assert main(["tasks", "ladder", str(tmp_path), "--json"]) == 0
    rungs = json.loads(capsys.readouterr().out)["rungs"]
    assert [rung["rung"] for rung in rungs] == ["agreement", "copying"]
    assert rungs[0]["chance"] == 0.5
    assert main(["tasks", "ladder", str(tmp_path)]) == 0
    assert "turns on at" in capsys.readouterr().out


@pytest.mark.parametrize(("errors_above", "is_on"), [(1.93, False), (1.99, True)])
def test_a_rung_is_on_where_chance_lies_below_its_95_percent_interval(errors_above: float, is_on: bool) -> None:
    values_K = np.array([0.25 + errors_above * 0.02])
    assert (turned_on(values_K, np.array([0.02]), 0.25) == 0) is is_on


@pytest.mark.parametrize(("errors_above", "is_on"), [(1.93, False), (1.99, True)])
def test_and_where_it_has_left_the_95_percent_interval_of_the_untrained_model(errors_above: float, is_on: bool) -> None:
    known = table({"frequency": [0.5, 0.5 + errors_above * 0.02]})
    (rung,) = ladder_report(Scores(known.frame.assign(stderr=[0.02, 1e-9])))
    assert (rung.on_step == 10) is is_on
