from __future__ import annotations

import pytest

from e2lm import UserError
from e2lm_curriculum.config.training import ModelConfig
from e2lm_curriculum.model.family import new_llama, new_roberta
from e2lm_curriculum.model.size import NAMED_SIZES, ModelSize, model_size


@pytest.mark.parametrize(
    ("name", "about", "exact"),
    [("50k", 0.05e6, 50_368), ("140k", 0.14e6, 141_760), ("360k", 0.36e6, 365_184), ("780k", 0.78e6, 779_392)],
)
def test_demo_sizes_have_the_parameters_their_names_say(name: str, about: float, exact: int) -> None:
    assert model_size(name).params_non_embedding == exact
    assert exact == pytest.approx(about, rel=0.02)


def test_every_named_size_is_as_big_as_its_name_and_has_heads_of_64() -> None:
    units = {"k": 1e3, "m": 1e6}
    for name, size in NAMED_SIZES.items():
        assert size.params_non_embedding == pytest.approx(float(name[:-1]) * units[name[-1]], rel=0.05)
        assert size.head_dimension == 64


#: Layers, width and feed-forward width.
SHAPES = {
    "50k": (1, 64, 176),
    "140k": (3, 64, 160),
    "360k": (2, 128, 304),
    "780k": (4, 128, 336),
    "3m": (7, 192, 512),
    "10m": (8, 320, 864),
    "30m": (10, 512, 1360),
    "100m": (14, 768, 2048),
}


def test_the_shapes_of_named_sizes_are_those_of_runs_on_disk() -> None:
    assert {name: (size.layers, size.width, size.feed_forward) for name, size in NAMED_SIZES.items()} == SHAPES
    assert all(size.name == name for name, size in NAMED_SIZES.items())


@pytest.mark.parametrize(("text", "shape"), {**SHAPES, "4x128": (4, 128, 336), "12x768": (12, 768, 2048)}.items())
def test_parameters_are_those_of_the_closed_form(text: str, shape: tuple[int, int, int]) -> None:
    layers, w, f = shape
    size = model_size(text)
    # Attention 4 w^2, gated feed-forward 3 w f, two norms; the last norm; the embedding, which is the output head too.
    outside = layers * (4 * w * w + 3 * w * f + 2 * w) + w
    assert size.params_non_embedding == outside
    assert size.params(4096) == outside + 4096 * w
    assert size.flops_per_token(4096) == 6 * (outside + 4096 * w)


@pytest.mark.parametrize(
    ("text", "layers", "width", "feed_forward"),
    [("1x8", 1, 8, 16), ("2x96", 2, 96, 256), ("3x120", 3, 120, 320), ("24x1024", 24, 1024, 2736)],
)
def test_a_written_size_has_llamas_feed_forward_width_to_the_nearest_sixteen(
    text: str, layers: int, width: int, feed_forward: int
) -> None:
    size = model_size(text)
    assert (size.name, size.layers, size.width, size.feed_forward) == (text, layers, width, feed_forward)
    assert abs(feed_forward - 8 * width / 3) <= 8


@pytest.mark.parametrize(("width", "heads", "dimension"), [(768, 12, 64), (96, 3, 32), (80, 5, 16), (72, 9, 8)])
def test_heads_are_of_64_numbers_where_the_width_allows(width: int, heads: int, dimension: int) -> None:
    size = ModelSize("m", 1, width, 16)
    assert (size.heads, size.head_dimension) == (heads, dimension)


@pytest.mark.parametrize(("text", "length"), [("1x16", 32), ("2x96", 16), ("3x64", 50)])
def test_counted_parameters_are_those_of_a_roberta_too(text: str, length: int) -> None:
    size = model_size(text)
    model = new_roberta(size, vocabulary=300, sequence_length=length, seed=0)
    counts = {name: parameter.numel() for name, parameter in model.named_parameters()}
    assert sum(counts.values()) == size.roberta_params(300, length)
    outside = sum(
        count for name, count in counts.items() if not name.startswith(("lm_head", "roberta_prelayernorm.embeddings"))
    )
    assert outside == size.roberta_params_non_embedding
    w, f = size.width, 4 * size.width
    # Four square matrices with biases, two of the feed-forward, two norms; the last norm.
    assert outside == size.layers * (4 * (w * w + w) + (w * f + f) + (f * w + w) + 4 * w) + 2 * w


def test_models_are_made_with_the_published_settings() -> None:
    size = model_size("2x96")
    llama = new_llama(size, vocabulary=300, sequence_length=16, seed=0).config
    assert llama.rope_parameters["rope_theta"] == 10_000.0
    assert (llama.max_position_embeddings, llama.vocab_size, llama.tie_word_embeddings) == (16, 300, True)
    assert (llama.num_attention_heads, llama.num_key_value_heads, llama.head_dim) == (3, 3, 32)
    roberta = new_roberta(size, vocabulary=300, sequence_length=16, seed=0).config
    assert (roberta.max_position_embeddings, roberta.type_vocab_size, roberta.intermediate_size) == (18, 1, 384)
    assert (roberta.hidden_dropout_prob, roberta.attention_probs_dropout_prob) == (0.0, 0.0)
    assert (roberta.layer_norm_eps, roberta.tie_word_embeddings, roberta.num_attention_heads) == (1e-5, True, 3)
    assert (llama.bos_token_id, llama.eos_token_id, llama.pad_token_id) == (0, 0, 1)


@pytest.mark.parametrize("name", ["50k", "140k", "360k", "780k", "2x96", "1x16"])
def test_counted_parameters_are_those_of_the_model(name: str) -> None:
    size = model_size(name)
    model = new_llama(size, vocabulary=300, sequence_length=32, seed=0)
    assert sum(parameter.numel() for parameter in model.parameters()) == size.params(300)
    outside = sum(p.numel() for n, p in model.named_parameters() if "embed_tokens" not in n)
    assert outside == size.params_non_embedding
    assert model.config.head_dim == size.head_dimension


@pytest.mark.parametrize("text", ["tiny", "4x", "0x64", "4x130", "4x132", "x64", "4x128x2", "1000x64", "4x100000", ""])
def test_an_unknown_size_is_an_error_that_names_the_field(text: str) -> None:
    with pytest.raises(UserError, match=r"c\.yml: field 'sizes'.*size"):
        ModelConfig.from_data({"sizes": [text]}, "c.yml")
