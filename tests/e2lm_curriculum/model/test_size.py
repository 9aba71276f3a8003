from __future__ import annotations

import pytest

from e2lm import UserError
from e2lm_curriculum.config.training import ModelConfig
from e2lm_curriculum.model.family import new_llama
from e2lm_curriculum.model.size import NAMED_SIZES, model_size


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


@pytest.mark.parametrize("name", ["50k", "140k", "360k", "780k", "2x96", "1x16"])
def test_counted_parameters_are_those_of_the_model(name: str) -> None:
    size = model_size(name)
    model = new_llama(size, vocabulary=300, sequence_length=32, seed=0)
    assert sum(parameter.numel() for parameter in model.parameters()) == size.params(300)
    outside = sum(p.numel() for n, p in model.named_parameters() if "embed_tokens" not in n)
    assert outside == size.params_non_embedding
    assert model.config.head_dim == size.head_dimension


@pytest.mark.parametrize("text", ["tiny", "4x", "0x64", "4x130", "x64", "4x128x2", ""])
def test_an_unknown_size_is_an_error_that_names_the_field(text: str) -> None:
    with pytest.raises(UserError, match=r"c\.yml: field 'sizes'.*size"):
        ModelConfig.from_data({"sizes": [text]}, "c.yml")
