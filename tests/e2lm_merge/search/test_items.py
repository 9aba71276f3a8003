"""Held-out items: two halves that never meet, read strictly, scored per byte."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from e2lm import UserError
from e2lm_merge.output.in_memory import merged_model
from e2lm_merge.plan.merge_plan import plan_merge
from e2lm_merge.plan.recipe import recipe_from_data
from e2lm_merge.search.items import (
    HeldOutItem,
    ItemScorer,
    _positions,
    encode_items,
    interval_of,
    load_tokenizer,
    read_items,
    split_items,
)

Models = Callable[..., list[str]]


@settings(deadline=None)
@given(
    texts=st.lists(st.text(min_size=1, max_size=8), min_size=2, max_size=60, unique=True), share=st.floats(0.05, 0.95)
)
def test_halves_are_disjoint_complete_and_blind_to_order(texts: list[str], share: float) -> None:
    items = [HeldOutItem("", text) for text in texts]
    split = split_items(items, share)
    assert split.selection
    assert split.report
    assert not set(split.selection) & set(split.report)
    assert set(split.selection) | set(split.report) == set(items)
    assert split_items(items[::-1], share) == split


def test_an_item_given_twice_stands_once(tmp_path: Path) -> None:
    path = tmp_path / "i.jsonl"
    path.write_text('{"text": "a"}\n\n{"text": "a"}\n{"text": "b"}\n')
    assert [item.continuation for item in read_items(path)] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"text": "a"}\n', "1 items; at least 2"),
        ('{"txt": "a"}\n', "i.jsonl:1: unknown field 'txt'. Did you mean 'text'"),
        ('{"text": ""}\n', "i.jsonl:1: field 'continuation'"),
        ("[1]\n", "i.jsonl:1: found list"),
        ("{\n", "i.jsonl:1: not valid JSON"),
    ],
)
def test_items_that_are_none_are_named(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "i.jsonl").write_text(text)
    with pytest.raises(UserError, match=message):
        read_items(tmp_path / "i.jsonl")


def test_scores_are_log_likelihoods_per_byte(scored_models: tuple[list[str], list[str]]) -> None:
    folders, (items, _) = scored_models
    plan = plan_merge(recipe_from_data({"merge_method": "linear", "models": [{"model": folders[0]}]}, "t"))
    model = merged_model(plan)
    tokenizer = load_tokenizer(Path(folders[0]))
    listed = read_items(Path(items))[:5]
    encoded = encode_items(listed, tokenizer, 64)
    together = ItemScorer(encoded, batch_size=5)(model)
    for index, item in enumerate(listed):
        ids = torch.tensor([tokenizer.encode(item.context + item.continuation, add_special_tokens=False)])
        with torch.inference_mode():
            logs = torch.log_softmax(model(ids).logits[0].float(), -1)
        expected = sum(float(logs[place - 1, int(ids[0, place])]) for place in range(5, 8)) / item.bytes
        assert together[index] == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(ItemScorer(encoded, batch_size=2)(model), together, rtol=1e-5)


def test_a_continuation_that_does_not_fit_is_refused_and_a_context_is_cut(models: Models, write_tokenizer: Any) -> None:
    folder = models(1)[0]
    write_tokenizer(folder)
    tokenizer = load_tokenizer(Path(folder))
    long = " ".join(f"w{index}" for index in range(10))
    (cut,) = encode_items([HeldOutItem(long, " w1 w2")], tokenizer, 6)
    assert (len(cut.ids), cut.scored) == (6, 2)
    with pytest.raises(UserError, match="10 tokens to score, and the model takes 6"):
        encode_items([HeldOutItem("w1", long)], tokenizer, 6)


@pytest.mark.parametrize(
    ("config", "positions"),
    [
        ({"n_positions": 1024, "n_ctx": 512}, 1024),
        ({"max_position_embeddings": 64}, 64),
        ({"text_config": {"max_position_embeddings": 128}}, 128),
        ({"max_seq_len": 32}, 32),
        ({}, 2048),
    ],
)
def test_items_are_as_long_as_the_model_takes_whatever_its_config_calls_it(
    config: dict[str, Any], positions: int
) -> None:
    assert _positions(config) == positions


def test_what_is_reported_has_the_95_percent_interval_of_a_mean() -> None:
    values_I = np.random.default_rng(0).normal(size=40)
    reported = interval_of(values_I)
    half = 1.959964 * values_I.std(ddof=1) / np.sqrt(40)
    assert reported == pytest.approx(
        {"mean": values_I.mean(), "low": values_I.mean() - half, "high": values_I.mean() + half}
    )
