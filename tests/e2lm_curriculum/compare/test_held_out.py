"""Held-out text under masked models: every token once, among all others, at every checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForMaskedLM

from e2lm_curriculum.compare import held_out
from e2lm_curriculum.compare.held_out import (
    HeldOutPassages,
    causal_nats_I,
    masked_nats_I,
    read_held_out,
    score_held_out,
)
from e2lm_curriculum.compare.measures import held_out_measure
from e2lm_curriculum.compare.runs import FinishedRun, finished_runs
from e2lm_curriculum.config.training import TrainingConfig
from e2lm_curriculum.corpus.tokenizer import END_OF_TEXT_ID, MASK_ID
from e2lm_curriculum.model.family import new_llama, new_roberta
from e2lm_curriculum.model.loss import pseudo_nats_B
from e2lm_curriculum.model.size import model_size
from e2lm_curriculum.train.ladder import train
from tests.e2lm_curriculum.conftest import minuscule_settings


@pytest.fixture(scope="module")
def runs(corpus_file: Path, tmp_path_factory: pytest.TempPathFactory) -> list[FinishedRun]:
    folder = tmp_path_factory.mktemp("masked")
    for seed in (0, 1):
        data = {**minuscule_settings(corpus_file, folder / str(seed)), "sizes": ("1x16",), "family": "roberta"}
        train(TrainingConfig.from_data({**data, "checkpoints": 2, "init_seed": seed}, "test"), quiet=True)
    return finished_runs([folder])


def by_definition(checkpoint: Path, passage: np.ndarray, length: int) -> float:
    """Nats of a passage, one piece after the other, one token's probability after the other."""
    model = AutoModelForMaskedLM.from_pretrained(checkpoint).eval()
    total = 0.0
    for start in range(0, len(passage), length):
        piece = torch.from_numpy(passage[start : start + length])
        for place in range(len(piece)):
            masked = piece.clone()
            masked[place % 7 :: 7] = MASK_ID
            with torch.inference_mode():
                total -= float(model(input_ids=masked[None]).logits[0, place].log_softmax(-1)[piece[place]])
    return total


def test_pseudo_bits_are_those_of_the_definition(runs: list[FinishedRun]) -> None:
    text = HeldOutPassages.of(runs[0], 150)
    score_held_out(runs, text, jobs=1, quiet=True)
    nats_KI = read_held_out(runs[0], text)
    assert nats_KI.shape == (len(runs[0].series.checkpoints), len(text.passages))
    for row in (0, -1):
        folder = Path(str(runs[0].series.checkpoints[row].path))
        assert nats_KI[row, 0] == pytest.approx(by_definition(folder, text.passages[0], 32), rel=1e-5)
    measure = held_out_measure(runs, text)
    assert measure.unit == "pseudo-bits per byte"
    values_SKI = measure.values["vanilla", "constant"]
    pooled = nats_KI.sum(1) / np.log(2) / text.bytes_I.sum()
    np.testing.assert_allclose(values_SKI[0].mean(1), pooled)
    assert pooled[-1] < pooled[0]


@settings(deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(1, 16))
def test_pieces_hold_every_token_of_every_passage_once(sizes: list[int], length: int) -> None:
    passages = [np.arange(size) + 100 * place for place, size in enumerate(sizes)]
    text = HeldOutPassages(tuple(passages), np.ones(len(sizes), dtype=np.int64), "key")
    seen: dict[int, list[int]] = {}
    for pieces_WT, owners_W in text.pieces(length):
        assert pieces_WT.shape[1] <= length
        for piece, owner in zip(pieces_WT, owners_W, strict=True):
            seen.setdefault(int(owner), []).extend(piece.tolist())
    assert {owner: sorted(tokens) for owner, tokens in seen.items()} == {
        place: passage.tolist() for place, passage in enumerate(passages)
    }


@pytest.fixture
def passages() -> HeldOutPassages:
    rng = np.random.default_rng(0)
    tokens = tuple(rng.integers(4, 40, size) for size in (23, 8, 1, 17, 8))
    return HeldOutPassages(tokens, np.array([1] * 5), "key")


@pytest.mark.parametrize("at_once", [1, 16, 8192])
@torch.no_grad()
def test_a_causal_model_pays_for_each_token_once_after_those_of_its_window(
    passages: HeldOutPassages, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_out, "TOKENS_AT_ONCE", at_once)
    model = new_llama(model_size("1x16"), vocabulary=40, sequence_length=8, seed=0).eval()
    found_I = causal_nats_I(model, passages, 8)
    for found, passage in zip(found_I, passages.passages, strict=True):
        nats = 0.0
        for start in range(0, len(passage), 8):
            before = END_OF_TEXT_ID if start == 0 else passage[start - 1]
            targets = torch.from_numpy(passage[start : start + 8])
            inputs = torch.tensor([[before, *targets[:-1].tolist()]])
            nats -= float(model(input_ids=inputs).logits[0].log_softmax(-1).gather(1, targets[:, None]).sum())
        assert found == pytest.approx(nats, rel=1e-5)


@pytest.mark.parametrize("at_once", [1, 16, 8192])
@torch.no_grad()
def test_a_masked_model_pays_for_each_token_once_among_those_of_its_piece(
    passages: HeldOutPassages, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_out, "TOKENS_AT_ONCE", at_once)
    model = new_roberta(model_size("1x16"), vocabulary=40, sequence_length=8, seed=0).eval()
    found_I = masked_nats_I(model, passages, 8)
    for found, passage in zip(found_I, passages.passages, strict=True):
        pieces = [torch.from_numpy(passage[start : start + 8])[None] for start in range(0, len(passage), 8)]
        assert found == pytest.approx(sum(float(pseudo_nats_B(model, piece)[0]) for piece in pieces), rel=1e-5)


def test_the_passages_of_a_corpus_are_about_as_many_tokens_as_asked_for(runs: list[FinishedRun]) -> None:
    few, many, again = (HeldOutPassages.of(runs[0], tokens) for tokens in (150, 3000, 3000))
    for text, tokens in ((few, 150), (many, 3000)):
        sizes = [len(passage) for passage in text.passages]
        assert sum(sizes) >= tokens > sum(sizes[:-1])
        assert len(text.bytes_I) == len(sizes)
        assert (text.bytes_I >= sizes).all()
    assert many.key == again.key != few.key
    assert [one.tolist() for one in HeldOutPassages.of(runs[1], 3000).passages] == [
        one.tolist() for one in many.passages
    ]
