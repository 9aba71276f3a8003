"""What a run costs, by closed form, and which of its steps it keeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from e2lm.curriculum import TrainingBudget
from e2lm_curriculum.config.training import RunConfig, TrainingConfig
from e2lm_curriculum.model.size import model_size
from e2lm_curriculum.train.checkpoint_grid import kept_steps, log_steps, nearest_step, token_steps, word_steps
from e2lm_curriculum.train.model_run import ModelRun, model_runs
from e2lm_curriculum.train.prepared import PreparedCorpus


def run_of(tmp_path: Path, size: str = "2x64", **fields: Any) -> ModelRun:
    data = {"corpus": ["c.txt"], "out": str(tmp_path), "sizes": [size], "vocabulary": 500, "sequence_length": 32}
    config = TrainingConfig.from_data({**data, "batch_size": 4, "tokens": 60 * 4 * 32, **fields}, "test")
    return ModelRun(config, model_size(size))


def prepared(**fields: Any) -> PreparedCorpus:
    described = {"vocabulary": 400, "tokens": 1000, "sequence_length": 32, "examples": 31, "training_characters": 1}
    described |= {"held_out_characters": 1, "data_hash": "d", "tokenizer_hash": "t", "plan_hash": "p"}
    return PreparedCorpus.model_validate({**described, **fields})


#: Outside the embedding, 2 layers of width 64 and feed-forward width 176; and of a RoBERTa with its 256.
LLAMA = 2 * (4 * 64**2 + 3 * 64 * 176 + 2 * 64) + 64
ROBERTA = 2 * (4 * (64**2 + 64) + 2 * 64 * 256 + 256 + 64 + 4 * 64) + 2 * 64


def test_parameters_are_those_of_the_family(tmp_path: Path) -> None:
    llama, roberta = run_of(tmp_path), run_of(tmp_path, family="roberta")
    assert (llama.params_non_embedding, roberta.params_non_embedding) == (LLAMA, ROBERTA)
    assert llama.params(400) == LLAMA + 400 * 64
    # Words, 32 + 2 positions, one segment, a norm; the head's transform, norm and bias.
    assert roberta.params(400) == ROBERTA + (400 + 34 + 1 + 2) * 64 + 64**2 + 64 + 2 * 64 + 400


def test_training_costs_six_flops_a_weight_and_token_and_probing_two(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    tokens = 60 * 4 * 32
    assert run.flops(prepared()) == 6 * LLAMA * tokens
    assert run.flops(prepared(forward_passes=90)) == 6 * LLAMA * 90 * 4 * 32
    for start, probed in ((0, 100), (30, 20)):
        folder = run.folder / ".segments" / f"segment-{start}"
        folder.mkdir(parents=True)
        (folder / "state.json").write_text(json.dumps({"hash": "", "probed_tokens": probed, "state": {}}))
    assert run.flops(prepared()) == 6 * LLAMA * tokens + 2 * LLAMA * 120


def test_what_a_run_takes_is_estimated_with_its_output_head(tmp_path: Path) -> None:
    assert (run_of(tmp_path).wall_s, run_of(tmp_path).is_finished) == (0.0, False)
    assert run_of(tmp_path).cost == 6 * (LLAMA + 500 * 64) * 60 * 4 * 32


@pytest.mark.parametrize(("tokens", "steps"), [(128, 1), (1, 1), (191, 1), (193, 2), (60 * 128 + 63, 60)])
def test_a_budget_is_the_nearest_number_of_whole_steps_and_at_least_one(
    tmp_path: Path, tokens: int, steps: int
) -> None:
    assert run_of(tmp_path, tokens=tokens).budget == TrainingBudget(steps, 4, 32)


def test_a_run_made_of_its_line_is_the_same(tmp_path: Path) -> None:
    run = run_of(tmp_path, curriculum={"difficulty": "length", "mode": "pool"}, label="x-s1", order_seed=4)
    assert ModelRun.from_line(run.to_line()) == run
    assert (run.name, run_of(tmp_path).name) == ("x-s1", "2x64")
    assert [one.size.name for one in model_runs(run.config)] == ["2x64"]


# -- which steps are kept -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "count"), [(10_000, 5), (400_000, 9), (1000, 3), (244, 1)])
def test_a_log_grid_has_a_constant_factor_from_a_hundredth_on(steps: int, count: int) -> None:
    expected = [steps * 0.01 ** (1 - place / (count - 1)) for place in range(count)] if count > 1 else [steps]
    assert log_steps(steps, count) == pytest.approx([0, *expected], abs=0.5)


def test_where_steps_are_few_a_log_grid_begins_at_one_and_skips_none() -> None:
    assert log_steps(50, 3) == (0, 1, 7, 50)
    assert log_steps(6, 5) == (0, 1, 2, 3, 4, 6)
    assert log_steps(99, 5) == (0, 1, 3, 10, 31, 99)


@pytest.mark.parametrize(("tokens", "step"), [(149, 1), (151, 2), (150, 2), (250, 2), (0, 0)])
def test_the_nearest_step_is_the_even_one_of_two_equally_near(tokens: int, step: int) -> None:
    assert nearest_step(tokens, 100) == step


def test_a_grid_of_tokens_ends_with_the_run() -> None:
    assert token_steps(10, 100, 400) == (0, 4, 8, 10)
    assert token_steps(10, 100, 1000) == (0, 10)
    assert token_steps(10, 100, 20) == tuple(range(11))


def test_a_grid_of_words_counts_in_its_unit() -> None:
    # 40 steps of 100 tokens are 2,000 words: ten units of 50, then 100, 150 ... in tens, of 500 words each.
    assert word_steps(40, 100, 0.5, 50) == (0, *range(1, 11), 20, 30, 40)


@pytest.mark.parametrize(
    ("fields", "grid"),
    [
        ({"checkpoints": 2}, (0, 1, 100)),
        ({"checkpoint_grid": "tokens", "checkpoint_tokens": 5000}, (0, 50, 100)),
        ({"checkpoint_grid": "babylm", "word_unit": 1000}, (0, 20, 40, 60, 80, 100)),
    ],
)
def test_a_run_keeps_the_steps_of_its_grid(fields: dict[str, Any], grid: tuple[int, ...]) -> None:
    run = RunConfig.from_data({"out": "o", **fields}, "test")
    assert kept_steps(run, TrainingBudget(100, 4, 25), 0.5) == grid


def test_words_of_a_corpus_not_yet_prepared_are_guessed() -> None:
    run = RunConfig.from_data({"out": "o", "checkpoint_grid": "babylm", "word_unit": 700}, "test")
    grid = (0, *range(10, 101, 10), *range(200, 1001, 100), 2000, 3000)
    assert kept_steps(run, TrainingBudget(3000, 4, 25), None) == grid
