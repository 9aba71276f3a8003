"""Hi-Merging on a toy whose layers have known effects: all three cases, every option, and the cost."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from e2lm.command_line import main
from e2lm_merge.output.in_memory import merged_tensors
from e2lm_merge.plan.merge_plan import find_strategy, plan_merge
from e2lm_merge.plan.recipe import recipe_from_data
from e2lm_merge.search.conflict_page import conflict_page
from e2lm_merge.search.hi_merging import HiMerging, HiOptions, hi_cost, verdict_table
from e2lm_merge.search.items import (
    paired_error,
)
from e2lm_merge.search.layers import OUTSIDE, LayerMix, Share

ITEMS = 200
OPTIONS = [one.name for one in fields(HiOptions)]
LAYERS = 4
SHARES = (Share(0.4, 0.8), Share(0.4, 0.8))


class Toy:
    """P_m = Σ over layers of effect[layer][model][task] · weight share of that model there, plus noise of the item.

    With both models in a layer, ``clash[layer][task]`` is added: what they do to each other.
    """

    def __init__(self, models: int = 2, noise: float = 0.0) -> None:
        self.effect = np.zeros((LAYERS, models, models))
        self.clash = np.zeros((LAYERS, models))
        self.noise = np.random.default_rng(0).standard_normal((LAYERS, ITEMS)) * noise
        self.calls: list[tuple[int, LayerMix]] = []

    def __call__(self, task: int, mix: LayerMix) -> Any:
        self.calls.append((task, mix))
        value = np.zeros(ITEMS)
        for layer in range(LAYERS):
            weights = np.array([share.weight for share in mix.shares[layer]])
            value += float(self.effect[layer, :, task] @ weights)
            if (weights > 0).sum() > 1:
                value += self.clash[layer, task] + self.noise[layer]
        return value


def planted() -> Toy:
    """Layer 0 hurts both tasks, layer 1 hurts task 0 only, layer 2 helps both, layer 3 is neutral."""
    toy = Toy()
    for layer in range(LAYERS):
        toy.effect[layer, 0, 0], toy.effect[layer, 1, 1] = 1.0, 1.0
    toy.effect[0, 1, 1] = 3.0
    toy.clash[0] = (-2.0, -1.0)
    toy.clash[1] = (-0.5, 0.2)
    toy.clash[2] = (0.3, 0.3)
    return toy


def test_planted_conflicts_of_all_three_kinds_are_found_and_settled() -> None:
    toy = planted()
    outcome = HiMerging(toy, SHARES, LAYERS, HiOptions(contribution_unit="raw")).run()
    cases = {one.layer: one.case for one in outcome.verdicts}
    assert cases == {0: "severe", 1: "partial", 2: "none", 3: "none"}
    # Severe: only the difference with the larger contribution stays.
    assert [share.weight for share in outcome.mix.shares[0]] == [0.0, 0.8]
    # Partial: task 0 suffers, so model 1 is the harmful one; half of its 0.4 of the tensor, half of 0.8 on top.
    harmed, harmful = outcome.mix.shares[1]
    assert harmed == SHARES[0]
    assert harmful.density == pytest.approx(0.2)
    assert harmful.weight == pytest.approx(0.8 * 0.4)
    assert outcome.mix.shares[2] == outcome.mix.shares[3] == outcome.mix.shares[OUTSIDE] == SHARES


def test_layers_are_settled_in_descending_conflict() -> None:
    outcome = HiMerging(planted(), SHARES, LAYERS, HiOptions()).run()
    totals = [one.total for one in outcome.verdicts]
    assert totals == sorted(totals, reverse=True)
    assert outcome.verdicts[0].layer == 0
    rows = verdict_table(outcome.verdicts, ["a", "b"])
    assert rows[0]["case"] == "severe"
    assert rows[0]["changed"] in (["a"], ["b"])


def test_gamma_is_the_contribution_alone_less_that_in_the_merge() -> None:
    outcome = HiMerging(planted(), SHARES, LAYERS, HiOptions()).run()
    by_layer = {one.layer: one for one in outcome.verdicts}
    # Both the deletion and the addition impact feel the clash, so γ is minus twice the clash.
    assert by_layer[0].gamma == pytest.approx((4.0, 2.0))
    assert by_layer[1].gamma == pytest.approx((1.0, -0.4))
    assert by_layer[2].gamma == pytest.approx((-0.6, -0.6))


def test_probes_cost_four_per_layer_and_model_and_the_estimate_says_so() -> None:
    toy = planted()
    outcome = HiMerging(toy, SHARES, LAYERS, HiOptions()).run()
    cost = hi_cost(LAYERS, 2, recompute=False, search=False)
    assert cost["probes"] == 4 * LAYERS * 2
    assert len(toy.calls) == outcome.evaluations == cost["probes"] + cost["references"] == cost["worst_case_total"]


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("models", [2, 3])
def test_the_worst_case_is_not_exceeded(recompute: bool, models: int) -> None:
    toy = Toy(models)
    rng = np.random.default_rng(4)
    toy.effect[:] = rng.standard_normal(toy.effect.shape)
    toy.clash[:] = rng.standard_normal(toy.clash.shape)
    shares = (Share(0.5, 0.5),) * models
    outcome = HiMerging(toy, shares, LAYERS, HiOptions(recompute=recompute)).run()
    assert outcome.evaluations <= hi_cost(LAYERS, models, recompute, search=False)["worst_case_total"]


def test_without_conflict_and_at_full_shares_the_mix_is_task_arithmetic() -> None:
    toy = Toy()
    toy.effect[:] = 1.0
    shares = (Share(1.0, 1.0), Share(1.0, 1.0))
    outcome = HiMerging(toy, shares, LAYERS, HiOptions()).run()
    assert outcome.mix == LayerMix.of_layers(LAYERS, shares)
    assert all(one.case == "none" for one in outcome.verdicts)
    averaged = HiMerging(toy, shares, LAYERS, HiOptions(combine="average")).run()
    assert averaged.mix == LayerMix.of_layers(LAYERS, (Share(1.0, 0.5), Share(1.0, 0.5)))


def test_a_conflict_below_its_standard_error_is_none() -> None:
    noisy = Toy(noise=2.0)
    noisy.clash[1] = (-0.01, -0.01)
    careful = HiMerging(noisy, SHARES, LAYERS, HiOptions(z=3.0)).run()
    assert all(one.case == "none" for one in careful.verdicts)
    assert careful.verdicts[0].error[0] > 0.1
    rash = HiMerging(noisy, SHARES, LAYERS, HiOptions(z=0.0)).run()
    assert any(one.case != "none" for one in rash.verdicts)


def test_the_options_for_a_partial_conflict() -> None:
    harmed = HiMerging(planted(), SHARES, LAYERS, HiOptions(partial_target="harmed")).run()
    assert harmed.mix.shares[1][0].weight < SHARES[0].weight
    assert harmed.mix.shares[1][1] == SHARES[1]
    quarter = HiMerging(planted(), SHARES, LAYERS, HiOptions(layer_factor=0.25)).run()
    assert quarter.mix.shares[1][1].density == pytest.approx(0.25 * 0.4)
    assert quarter.mix.shares[1][1].weight == pytest.approx(0.8 * 0.25 * 0.8)
    kept = HiMerging(planted(), SHARES, LAYERS, HiOptions(layer_density_of="kept")).run()
    assert kept.mix.shares[1][1].density == pytest.approx(0.5 * 0.4 * 0.4)


def test_the_papers_own_numbers_come_out_of_the_defaults() -> None:
    """P = 0.1, s = 0.9, and half of both for the layer: 5 % of its numbers, times 0.45 on top of 0.9."""
    defaults = find_strategy("hi_merging")
    share = Share(float(defaults.model_defaults["density"]), float(defaults.model_defaults["weight"]))
    options = HiOptions(**{name: value for name, value in defaults.defaults.items() if name in OPTIONS})
    harmful = HiMerging(planted(), (share, share), LAYERS, options).run().mix.shares[1][1]
    assert (harmful.density, harmful.weight) == (pytest.approx(0.05), pytest.approx(0.9 * 0.45))


def test_contributions_compare_as_shares_of_each_tasks_gain() -> None:
    toy = planted()
    toy.effect[:, 1, 1] *= 100  # the same task in hundredths of its unit
    toy.clash[:, 1] *= 100
    raw = HiMerging(toy, SHARES, LAYERS, HiOptions(contribution_unit="raw")).run()
    assert raw.mix.shares[0][0].weight == 0
    toy.effect[0, 0, 0] = 30.0  # nearly all of model 0's gain lies in layer 0
    gain = HiMerging(toy, SHARES, LAYERS, HiOptions(contribution_unit="gain")).run()
    assert gain.mix.shares[0][1].weight == 0


def test_of_three_models_the_one_whose_removal_helps_the_sufferer_is_pruned() -> None:
    toy = Toy(3)
    for model in range(3):
        toy.effect[:, model, model] = 1.0
    toy.effect[2, 1, 0] = -1.5  # model 1 hurts task 0 in layer 2
    shares = (Share(0.5, 1.0),) * 3
    outcome = HiMerging(toy, shares, LAYERS, HiOptions()).run()
    cases = {one.layer: one for one in outcome.verdicts}
    assert cases[2].case == "partial"
    assert cases[2].changed == (1,)
    toy.clash[3] = (-1.0, -1.0, -1.0)
    severe = {one.layer: one for one in HiMerging(toy, shares, LAYERS, HiOptions()).run().verdicts}[3]
    assert severe.case == "severe"
    assert len(severe.changed) == 2


def test_recomputing_sees_what_earlier_changes_did() -> None:
    toy = planted()
    once = HiMerging(toy, SHARES, LAYERS, HiOptions()).run()
    again = HiMerging(planted(), SHARES, LAYERS, HiOptions(recompute=True)).run()
    assert again.evaluations > once.evaluations
    assert {one.layer: one.case for one in again.verdicts} == {one.layer: one.case for one in once.verdicts}


def test_the_error_of_a_mean_difference_is_that_of_the_paired_bootstrap() -> None:
    differences = np.random.default_rng(1).standard_normal(300)
    rng = np.random.default_rng(2)
    resampled = [differences[rng.integers(300, size=300)].mean() for _ in range(4000)]
    assert paired_error(differences) == pytest.approx(float(np.std(resampled)), rel=0.05)
    assert math.isinf(paired_error(differences[:1]))


@pytest.mark.parametrize("models", [2, 3, 4, 5])
def test_the_worst_case_counts_every_layer_as_the_costliest_partial_conflict(models: int) -> None:
    cost = hi_cost(7, models, recompute=False, search=False)
    costliest = max(suffering * (models - suffering) for suffering in range(1, models)) + models if models > 2 else 0
    assert cost["worst_case_total"] == cost["references"] + cost["probes"] + 7 * costliest
    assert (cost["references"], cost["probes"]) == (3 * models, 4 * 7 * models)
    again = sum((1 + 2 * left) * models for left in range(7))
    assert hi_cost(7, models, recompute=True, search=False)["worst_case_total"] == cost["worst_case_total"] + again
    assert hi_cost(7, models, recompute=False, search=True)["search"] == 100 * models


@pytest.mark.parametrize("parameters", [{}, {"trim_scope": "global", "combine": "average", "recompute": True}])
def test_the_command_runs_hi_merging_whole(
    parameters: dict[str, Any],
    scored_models: tuple[list[str], list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (base, *tunes), items = scored_models
    config = tmp_path / "hi.yml"
    data = {
        "merge_method": "hi_merging",
        "base_model": base,
        "models": [{"model": one, "parameters": {"density": 0.5, "weight": 0.8}} for one in tunes],
        "parameters": {"z": 0.0, **parameters},
        "score": {"items": items},
    }
    config.write_text(json.dumps(data))
    assert main(["merge", str(config), str(tmp_path / "out"), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "evaluations" in said
    page = tmp_path / "conflicts.html"
    assert main(["merge", str(config), str(tmp_path / "out"), "--json", "--page", str(page)]) == 0
    _check_page(page.read_text(), tunes)
    report = json.loads(capsys.readouterr().out)
    details = report["selection"]
    assert details["evaluations"] <= report["cost"]["worst_case_total"]
    assert sorted(row["layer"] for row in details["layers"]) == [0, 1]
    assert [row["task_of"] for row in details["reported"]] == tunes
    stored = load_file(tmp_path / "out" / "model.safetensors")
    record = json.loads((tmp_path / "out" / "merge.json").read_text())
    again = merged_tensors(plan_merge(recipe_from_data(record["recipe"], "t")))
    assert all(torch.equal(stored[name], again[name]) for name in stored)


def _check_page(html: str, tunes: list[str]) -> None:
    assert html.count("<svg") == 2
    assert html.count('class="band"') + html.count("<polygon") + html.count("fill-opacity") >= 2
    assert "Of 2 layers, " in html
    assert all(Path(tune).name in html for tune in tunes)
    assert "standard errors" in html or "standard error" in html


def test_a_page_is_refused_before_any_work_where_it_would_be_empty(
    models: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "m.yml"
    config.write_text(json.dumps({"merge_method": "linear", "models": [{"model": one} for one in models(1)]}))
    for file, message in (
        ("page.html", "which 'hi_merging' finds and 'linear' does not"),
        ("page.txt", "ends in .html"),
    ):
        assert main(["merge", str(config), str(tmp_path / "out"), "--page", str(tmp_path / file)]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_page_says_whom_a_conflict_harmed_and_what_the_merge_came_to_elsewhere() -> None:
    interval = {"mean": -1.5, "low": -1.6, "high": -1.4}
    gains = {"a/x": {"mean": 0.2, "low": 0.1, "high": 0.3}, "b/y": {"mean": -0.2, "low": -0.3, "high": -0.1}}
    outcome = HiMerging(planted(), SHARES, LAYERS, HiOptions(contribution_unit="raw")).run()
    report = {
        "unit": "nats per byte, higher is better",
        "evaluations": outcome.evaluations,
        "layers": verdict_table(outcome.verdicts, list(gains)),
        "reported": [
            {"task_of": label, "base": interval, "own_model": interval, "merged": interval,
             "merged_minus_own_model": gain, "items": {"selection": 5, "report": 7}}
            for label, gain in gains.items()
        ],
    }  # fmt: skip
    html = conflict_page(report, 1.0, Path("hi.yml"))
    assert "Of 4 layers, 1 conflict severely (one difference was kept), 1 in part" in html
    assert "On 7 items of x that took no part in this, the merge is better than the fine-tune alone by 0.2000" in html
    assert "the merge is worse than the fine-tune alone by 0.2000 (0.1000 to 0.3000)" in html
    assert html == conflict_page(report, 1.0, Path("hi.yml"))


def test_hi_merging_needs_items_for_every_model(scored_models: tuple[list[str], list[str]], tmp_path: Path) -> None:
    (base, *tunes), items = scored_models
    config = tmp_path / "hi.yml"
    data = {
        "merge_method": "hi_merging",
        "base_model": base,
        "models": [{"model": one} for one in tunes],
        "score": {"items": items[:1]},
    }
    config.write_text(json.dumps(data))
    assert main(["merge", str(config), str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()
