"""Which checkpoints go into a live engine and which get a fresh one, with an engine that can be made to go wrong.

The stand-in's numbers are those of a checkpoint's file; transformers' are too. Whatever the engine forgets to replace
shows as a difference.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from e2lm_adapters.scoring.prefix_tree import TokenRequest
from e2lm_adapters.vllm.engine import SwapFailedError
from e2lm_adapters.vllm.proof import Distance, distance, disturbed_copy, proof_prompts
from e2lm_adapters.vllm.scoring import PromptScore, Way
from e2lm_adapters.vllm.swap import ProvenSwaps
from e2lm_adapters.vllm.truth import Truth, UnprovableError

VOCABULARY = 64
#: A body and a head; before training the head is zero, which hides the body.
PARTS = ("body", "head")


def write(folder: Path, body: float, head: float) -> Path:
    folder.mkdir(parents=True)
    tensors = {"body": torch.full((4,), body), "head": torch.full((4,), head)}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> list[Path]:
    values = [(1.0, 0.0), (1.5, 0.5), (2.0, 0.25), (2.5, 2.0)]
    return [write(tmp_path / f"checkpoint-{step}", *one) for step, one in enumerate(values)]


def answers(weights: dict[str, torch.Tensor], requests: Sequence[TokenRequest]) -> list[tuple[float, ...]]:
    value = -float((weights["body"] * weights["head"]).sum())
    return [tuple(value - 0.01 * token for token in request.continuation) for request in requests]


@dataclass
class Engine:
    """Keeps of its weights what ``keeps`` names when they are replaced, and answers in ``dtype``."""

    folder: Path
    keeps: tuple[str, ...] = ()
    off: float = 0.0
    dtype: torch.dtype = torch.float32
    vocabulary: int = VOCABULARY
    started: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    refuses: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.weights = load_file(self.folder / "model.safetensors")

    def load_folder(self, folder: Path) -> None:
        self.folder = folder
        self.loaded.append(folder.name)
        if folder.name in self.refuses:
            raise SwapFailedError("vLLM warned when it replaced the weights (missing: head)")
        found = load_file(folder / "model.safetensors")
        self.weights = {name: self.weights[name] if name in self.keeps else found[name] for name in PARTS}

    def replace(self, folder: Path) -> None:
        self.folder = folder
        self.started.append(folder.name)
        self.weights = load_file(folder / "model.safetensors")

    def score(self, requests: Sequence[TokenRequest], way: Way) -> list[PromptScore]:
        assert way is Way.PLAIN
        found = answers(self.weights, requests)
        return [PromptScore(tuple(value + self.off for value in one), False, 0) for one in found]


class Asked:
    """Transformers, which reads the file."""

    def __init__(self, trouble: dict[str, str] | None = None) -> None:
        self.trouble = trouble or {}
        self.asked: list[str] = []

    def truth(self, folder: Path, requests: Sequence[TokenRequest], half: str | None = None) -> Truth:
        self.asked.append(folder.name)
        if folder.name in self.trouble:
            raise UnprovableError(self.trouble[folder.name])
        found = answers(load_file(folder / "model.safetensors"), requests)
        return Truth(tuple(found), (False,) * len(requests), None if half is None else 0.01)


def swaps(engine: Engine, asked: Asked | None = None, why_not: str | None = None) -> ProvenSwaps:
    proven: Any = ProvenSwaps(engine, asked or Asked(), why_not)  # type: ignore[arg-type]
    return proven  # type: ignore[no-any-return]


def states(engine: Engine, own: ProvenSwaps, run: Sequence[Path]) -> None:
    """Every checkpoint is the engine's own after it was loaded, whatever happened."""
    for folder in run:
        own.load(folder)
        stored = load_file(folder / "model.safetensors")
        assert all(torch.equal(engine.weights[name], stored[name]) for name in PARTS), folder.name


def test_where_weights_are_replaced_rightly_one_engine_does_for_all(run: list[Path]) -> None:
    engine = Engine(run[0])
    own = swaps(engine)
    states(engine, own, run[1:])
    assert engine.started == []
    assert (own.loadings.in_place, own.loadings.fresh, own.loadings.notes) == (3, 0, [])
    # the first is the disturbed copy
    assert engine.loaded[1:] == [folder.name for folder in run[1:]]


@pytest.mark.parametrize("kept", PARTS)
def test_an_engine_that_keeps_anything_of_the_old_weights_is_found_out_before_it_answers(
    kept: str, run: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    # with the first checkpoint's head of zeros the body shows nowhere: real checkpoints would have proven nothing
    engine = Engine(run[0], keeps=(kept,))
    own = swaps(engine)
    states(engine, own, run[1:])
    assert engine.started == [folder.name for folder in run[1:]]
    assert (own.loadings.in_place, own.loadings.fresh) == (0, 3)
    told = [line for line in caplog.messages if "fresh engine" in line]
    assert len(told) == 1
    assert "replaced in place, its weights answer otherwise than in transformers" in told[0]


def test_a_single_checkpoint_that_goes_wrong_gets_a_fresh_engine_and_so_do_all_after_it(run: list[Path]) -> None:
    engine = Engine(run[0])
    own = swaps(engine)
    own.load(run[1])
    engine.keeps = ("head",)
    states(engine, own, run[2:])
    assert engine.started == ["checkpoint-2", "checkpoint-3"]
    assert (own.loadings.in_place, own.loadings.fresh) == (1, 2)
    assert own.loadings.notes[0].startswith(
        "scored in a fresh engine: replaced in place, checkpoint-2 answers otherwise"
    )


def test_a_warning_of_vllm_costs_that_checkpoint_its_swap_alone(run: list[Path]) -> None:
    engine = Engine(run[0], refuses=("checkpoint-2",))
    own = swaps(engine)
    states(engine, own, run[1:])
    assert engine.started == ["checkpoint-2"]
    assert (own.loadings.in_place, own.loadings.fresh) == (2, 1)


def test_an_engine_that_fails_once_its_weights_were_replaced_is_a_fresh_one_too(
    run: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(run[0])
    own = swaps(engine)
    own.load(run[1])
    troubles, answer = [AssertionError("group is not initialized")], engine.score

    def score(requests: Sequence[TokenRequest], way: Way) -> list[PromptScore]:
        if troubles:
            raise troubles.pop()
        return answer(requests, way)

    monkeypatch.setattr(engine, "score", score)
    states(engine, own, run[2:])
    assert engine.started == ["checkpoint-2"]
    assert "the engine fails (AssertionError: group is not initialized)" in own.fallbacks[0]


def test_an_engine_that_is_off_from_the_start_is_told_of_and_never_trusted_to_swap(
    run: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    engine = Engine(run[1], off=0.3)
    own = swaps(engine)
    own.prove_start()
    assert own.loadings.notes == [
        "vLLM's own numbers, in a fresh engine, are off those of transformers: "
        "0.3 nats per token (usual 0.0001, allowed 0.001)"
    ]
    states(engine, own, run[2:])
    assert engine.started == ["checkpoint-2", "checkpoint-3"]
    assert any("off those of transformers" in note for note in own.loadings.notes)
    assert any(record.levelno == logging.WARNING for record in caplog.records)


def test_a_small_difference_of_vllms_own_is_told_and_swaps_go_on(run: list[Path]) -> None:
    engine = Engine(run[0], off=4e-4)
    own = swaps(engine)
    own.prove_start()
    assert "off those of transformers: 0.0004 nats" in own.loadings.notes[0]
    states(engine, own, run[1:])
    assert engine.started == []


def test_with_nothing_to_compare_with_every_checkpoint_gets_a_fresh_engine_and_a_line_says_why(
    run: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    trouble = {folder.name: "transformers cannot run it" for folder in run}
    engine, asked = Engine(run[0]), Asked(trouble)
    own = swaps(engine, asked)
    states(engine, own, run[1:])
    assert engine.started == [folder.name for folder in run[1:]]
    assert asked.asked == ["checkpoint-0"]
    assert "nothing to compare vLLM with: transformers cannot run it" in caplog.text


def test_a_checkpoint_of_which_transformers_says_no_number_costs_itself(run: list[Path]) -> None:
    engine = Engine(run[0])
    own = swaps(engine, Asked({"checkpoint-2": "NaN"}))
    states(engine, own, run[1:])
    assert engine.started == ["checkpoint-2"]
    assert (own.loadings.in_place, own.loadings.fresh) == (2, 1)


def test_prove_false_compares_nothing_and_swaps_nothing(run: list[Path]) -> None:
    engine, asked = Engine(run[0]), Asked()
    own = swaps(engine, asked, "prove=False")
    own.prove_start()
    states(engine, own, run[1:])
    assert asked.asked == []
    assert own.loadings.notes == ["scored in a fresh engine: prove=False"]


def test_in_half_precision_transformers_own_spread_is_the_measure(run: list[Path]) -> None:
    engine = Engine(run[0], off=0.03, dtype=torch.bfloat16)
    own = swaps(engine)
    states(engine, own, run[1:])
    assert own.loadings.fresh == 0
    assert own.distance == Distance(pytest.approx(0.03), 0.04, 0.04)
    engine.off = 0.05
    own.load(run[0])
    assert own.loadings.fresh == 1


# -- what proofs are made of --------------------------------------------------------------------------------------


def test_a_disturbed_copy_holds_other_numbers_in_every_tensor_and_nothing_else_differs(tmp_path: Path) -> None:
    folder, place = tmp_path / "checkpoint-0", tmp_path / "place"
    folder.mkdir()
    place.mkdir()
    (folder / "config.json").write_text('{"a": 1}')
    tensors = {
        "zeros": torch.zeros(8, 3),
        "ones": torch.ones(8, dtype=torch.bfloat16),
        "drawn": torch.randn(64, 8),
        "counted": torch.arange(4),
    }
    save_file(tensors, folder / "model.safetensors")
    disturbed_copy(folder, place)
    found = load_file(place / "model.safetensors")
    assert (place / "config.json").read_text() == '{"a": 1}'
    for name, tensor in tensors.items():
        assert found[name].shape == tensor.shape
        assert found[name].dtype == tensor.dtype
    assert torch.equal(found["counted"], tensors["counted"])
    for name in ("zeros", "drawn"):
        assert bool((found[name] != tensors[name]).all())
    assert int((found["ones"] != tensors["ones"]).sum()) > 4
    assert float(found["drawn"].std()) == pytest.approx(float(tensors["drawn"].std()), rel=0.2)


def test_a_disk_without_room_is_a_line(run: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(UnprovableError, match=r"has room for 0\.0 GB, a checkpoint needs"):
        disturbed_copy(run[0], tmp_path)
    engine = Engine(run[0])
    states(engine, swaps(engine), run[1:2])
    assert engine.started == ["checkpoint-1"]


def test_prompts_are_the_same_for_all_and_stay_clear_of_special_tokens() -> None:
    prompts = proof_prompts(512)
    assert prompts == proof_prompts(512)
    tokens = np.array([[*one.context, *one.continuation] for one in prompts])
    assert tokens.min() >= 64
    assert tokens.max() < 448


def test_not_a_number_and_answers_of_another_length_are_as_far_as_can_be() -> None:
    truth = Truth(((-1.0, -2.0),), (False,), None)
    assert distance(truth, [(-1.0, -2.0)]).agrees
    assert not distance(truth, [(-1.0, float("nan"))]).agrees
    assert not distance(truth, [(-1.0,)]).agrees
