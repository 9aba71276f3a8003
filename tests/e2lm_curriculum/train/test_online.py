"""The loss that online planners ask for, against a model run by hand; the segments of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from e2lm import UserError
from e2lm.curriculum import Plan
from e2lm_curriculum.config.training import DataConfig, TrainingConfig
from e2lm_curriculum.corpus.tokenizer import MASK_ID
from e2lm_curriculum.model.family import new_llama, new_roberta
from e2lm_curriculum.model.size import model_size
from e2lm_curriculum.plan.file import write_plan
from e2lm_curriculum.train import online
from e2lm_curriculum.train.model_run import ModelRun
from e2lm_curriculum.train.online import Probe, RunSegments
from e2lm_curriculum.train.segments import is_online, probed_tokens, trained_plan, trained_plan_hash

VOCABULARY, LENGTH = 40, 10
BLOCKS_XT = np.random.default_rng(0).integers(4, VOCABULARY, (6, LENGTH)).astype(np.uint16)


@pytest.mark.parametrize("at_once", [1, 2, 6])
@torch.no_grad()
def test_a_causal_model_is_asked_for_each_token_after_those_before_it(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(online, "LOGITS_AT_ONCE", at_once * VOCABULARY * LENGTH)
    model = new_llama(model_size("1x16"), VOCABULARY, LENGTH, 0)
    probe = Probe(BLOCKS_XT, VOCABULARY, "llama", model)
    asked = np.array([4, 0, 5, 1, 2])
    found_Q = probe(asked)
    for loss, example in zip(found_Q, asked, strict=True):
        ids_T = torch.from_numpy(BLOCKS_XT[example].astype(np.int64))
        log_p_TV = model(input_ids=ids_T[None]).logits[0].log_softmax(-1)
        expected = -log_p_TV[:-1].gather(1, ids_T[1:, None]).mean()
        assert loss == pytest.approx(float(expected), rel=1e-5)
    assert probe.tokens == 5 * LENGTH
    assert model.training


@torch.no_grad()
def test_a_masked_model_is_asked_for_each_token_among_all_others() -> None:
    model = new_roberta(model_size("1x16"), VOCABULARY, LENGTH, 0)
    probe = Probe(BLOCKS_XT, VOCABULARY, "roberta", model)
    (found,) = probe(np.array([3]))
    ids_T = torch.from_numpy(BLOCKS_XT[3].astype(np.int64))
    total = 0.0
    for place in range(LENGTH):
        inputs_T = ids_T.clone()
        inputs_T[place % 7 :: 7] = MASK_ID
        total -= float(model(input_ids=inputs_T[None]).logits[0, place].log_softmax(-1)[ids_T[place]])
    assert found == pytest.approx(total / LENGTH, rel=1e-5)
    assert probe.tokens == 7 * LENGTH


def run_of(out: Path, curriculum: Any, steps: int = 10, **fields: Any) -> ModelRun:
    data = {"corpus": ["a.txt"], "out": str(out), "sizes": ["1x16"], "batch_size": 2, "sequence_length": 8}
    config = TrainingConfig.from_data({**data, "tokens": steps * 16, "curriculum": curriculum, **fields}, "test")
    (out / ".prepared").mkdir()
    write_plan(Plan(np.zeros((steps, 2), np.int64)), out / ".prepared")
    return ModelRun(config, model_size("1x16"))


def online_setting(segments: int) -> dict[str, Any]:
    return {"online": {"kind": "skill-it", "segments": segments}}


@pytest.mark.parametrize(
    ("segments", "spans"),
    [(2, ((0, 5), (5, 10))), (3, ((0, 3), (3, 6), (6, 10))), (16, tuple((step, step + 1) for step in range(10)))],
)
def test_the_segments_of_a_run_are_equal_parts_and_never_empty(
    segments: int, spans: tuple[tuple[int, int], ...], tmp_path: Path
) -> None:
    assert RunSegments.of(run_of(tmp_path, online_setting(segments))).spans == spans


def test_a_curriculum_that_is_planned_beforehand_has_one_segment(tmp_path: Path) -> None:
    found = RunSegments.of(run_of(tmp_path, "climb-ngram-linear"))
    assert (found.spans, found.is_online, found.is_planned(0)) == (((0, 10),), False, True)


def write_segment(run: ModelRun, start: int, example: int, probed: int) -> None:
    folder = run.folder / ".segments" / f"segment-{start}"
    folder.mkdir(parents=True)
    plan = Plan(np.full((5, 2), example))
    write_plan(plan, folder)
    (folder / "state.json").write_text(json.dumps({"hash": plan.hash, "probed_tokens": probed, "state": {"n": start}}))


def test_what_was_trained_is_the_segments_one_after_the_other(tmp_path: Path) -> None:
    run = run_of(tmp_path, online_setting(2))
    assert (trained_plan_hash(run.folder), probed_tokens(run.folder)) == ("", 0)
    write_segment(run, 5, example=2, probed=30)
    write_segment(run, 0, example=1, probed=4)
    segments = RunSegments.of(run)
    assert segments.indices_until(5).tolist() == [[1, 1]] * 5
    assert segments.indices_until(10).tolist() == [[1, 1]] * 5 + [[2, 2]] * 5
    assert trained_plan(tmp_path / ".prepared", run.folder).exposure(3).tolist() == [0, 10, 10]
    assert probed_tokens(run.folder) == 34
    one, both = tmp_path / "checkpoint-5", tmp_path / "checkpoint-10"
    for state in (one, both):
        state.mkdir()
        segments.write_state(state, int(state.name.removeprefix("checkpoint-")))
    assert set(json.loads((one / "curriculum.json").read_text())) == {"0"}
    assert set(json.loads((both / "curriculum.json").read_text())) == {"0", "5"}
    segments.check_state(both)
    (run.folder / ".segments" / "segment-0" / "state.json").write_text('{"hash": "x", "probed_tokens": 4}')
    with pytest.raises(UserError, match="the segments of the curriculum were changed"):
        segments.check_state(both)


@pytest.mark.parametrize(("arm", "expected"), [(None, True), ("curriculum", True), ("anti", True), ("vanilla", False)])
def test_an_arm_of_an_online_curriculum_is_online_but_for_vanilla(arm: str | None, expected: bool) -> None:
    data = {"corpus": ["a.txt"], "curriculum": "skill-it", "arm": arm}
    assert is_online(DataConfig.from_data(data, "test")) is expected
    assert not is_online(DataConfig.from_data({**data, "curriculum": "shuffle"}, "test"))
