"""Held-out text under masked models: every token once, among all others, at every checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForMaskedLM

from e2lm_curriculum.compare.held_out import HeldOutPassages, read_held_out, score_held_out
from e2lm_curriculum.compare.measures import held_out_measure
from e2lm_curriculum.compare.runs import FinishedRun, finished_runs
from e2lm_curriculum.config.training import TrainingConfig
from e2lm_curriculum.corpus.tokenizer import MASK_ID
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
