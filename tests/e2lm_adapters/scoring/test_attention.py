"""What is read from a model and its config is what its layers see."""

from __future__ import annotations

from typing import Any

import pytest

from e2lm_adapters.scoring.attention import tree_limit
from tests.e2lm_adapters.scoring.test_hf import GROUPED, SIZE, built

HEADED = {**GROUPED, "head_dim": 16}
EAGER = {"attn_implementation": "eager"}
LONGROPE = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 8, "long_factor": [2.0] * 8}


@pytest.mark.parametrize(
    ("kind", "special", "tokens", "why"),
    [
        ("llama", GROUPED, None, ""),
        ("gptj", {"rotary_dim": 8, **EAGER}, None, ""),
        ("qwen3", HEADED, None, ""),
        ("granite", {**GROUPED, "logits_scaling": 8.0}, None, ""),
        ("mistral", {**HEADED, "sliding_window": 48}, 48, "layers see 48 tokens (sliding_window)"),
        ("gemma2", {**HEADED, "sliding_window": 48}, 48, "layers see 48 tokens (sliding_window)"),
        (
            "gpt_neo",
            {
                "num_layers": 2,
                "num_heads": 4,
                "attention_types": [[["global", "local"], 1]],
                "window_size": 32,
                **EAGER,
            },
            32,
            "layers see 32 tokens (window_size)",
        ),
        (
            "phi3",
            {**GROUPED, "sliding_window": None, "original_max_position_embeddings": 64, "rope_parameters": LONGROPE},
            64,
            "rotary embeddings of the type 'longrope' change with the length",
        ),
        ("bloom", {"n_layer": 2, "n_head": 4, **EAGER}, 0, "BloomForCausalLM takes no position_ids"),
        ("falcon", {"alibi": True, "new_decoder_architecture": False}, 0, "ALiBi counts the tokens between two"),
        ("rwkv", {"attention_hidden_size": 64, **EAGER}, 0, "RwkvForCausalLM carries a recurrent state"),
        ("lfm2", {**GROUPED, "layer_types": ["conv", "full_attention"]}, 0, "layers of the kind 'conv'"),
        ("llama", {**GROUPED, "attn_implementation": "flex_attention"}, 0, "attention 'flex_attention' takes no"),
    ],
)
def test_texts_share_a_tree_up_to_the_length_that_every_layer_sees(
    kind: str, special: dict[str, Any], tokens: int | None, why: str
) -> None:
    limit = tree_limit(built(kind, **special))
    assert limit.tokens == tokens
    assert limit.why.startswith(why)
    assert limit.refuses(10_000) == (tokens is not None)
    assert not limit.refuses(tokens or 0)


def test_a_window_that_no_layer_has_limits_nothing() -> None:
    layers = ["full_attention"] * SIZE["num_hidden_layers"]
    model = built("qwen2", **GROUPED, layer_types=layers)
    model.config.sliding_window = 16
    assert tree_limit(model).tokens is None


def test_code_that_transformers_does_not_bring_is_not_trusted() -> None:
    model = built("llama", **GROUPED)
    own = type("OwnModel", (type(model.model),), {"__module__": __name__})
    model.model.__class__ = own
    assert tree_limit(model).why == "the code of LlamaForCausalLM is not transformers' own"
