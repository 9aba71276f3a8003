"""A model brought from mix to mix is what a merge from scratch gives."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from e2lm_merge.output.in_memory import merged_tensors
from e2lm_merge.plan.merge_plan import plan_merge
from e2lm_merge.plan.recipe import recipe_from_data
from e2lm_merge.search.layers import LayerMix, LayerProber, Share


@pytest.mark.parametrize("scope", ["tensor", "global"])
def test_the_prober_holds_what_a_merge_from_scratch_gives(
    scope: str, scored_models: tuple[list[str], list[str]]
) -> None:
    (base, *tunes), _ = scored_models
    data = {
        "merge_method": "prune_scale",
        "base_model": base,
        "models": [{"model": one} for one in tunes],
        "parameters": {"trim_scope": scope},
    }
    plan = plan_merge(recipe_from_data(data, "t"))
    prober = LayerProber(plan, [])
    mix = LayerMix.of_layers(2, (Share(0.3, 0.5), Share(0.2, 1.0)))
    for wanted in (mix, mix.without_layer(1), mix.only_layer(0), mix.base(), mix):
        prober.bring_to(wanted)
    expected = merged_tensors(
        plan_merge(
            recipe_from_data(
                {
                    **data,
                    "models": [
                        {"model": tunes[0], "parameters": {"density": 0.3, "weight": 0.5}},
                        {"model": tunes[1], "parameters": {"density": 0.2, "weight": 1.0}},
                    ],
                },
                "t",
            )
        )
    )
    own = prober.model.state_dict()
    assert all(torch.equal(own[name], expected[name]) for name in expected)
    prober.bring_to(mix.base())
    stored = load_file(f"{base}/model.safetensors")
    assert all(torch.equal(own[name], stored[name]) for name in stored)
