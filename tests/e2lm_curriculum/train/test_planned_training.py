"""Every kind of curriculum, trained for a few steps and killed at random ones: it ends like a straight run."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

from e2lm import Series, UserError
from e2lm.run_record import RunRecord
from e2lm.weights import read_weight_index, weights_hash
from e2lm_curriculum.config.training import TrainingConfig
from e2lm_curriculum.model.size import model_size
from e2lm_curriculum.plan.file import read_plan
from e2lm_curriculum.train.ladder import train
from e2lm_curriculum.train.model_run import ModelRun
from e2lm_curriculum.train.prepared import prepare
from e2lm_curriculum.train.segments import planned_segments, segment_state, trained_plan
from e2lm_curriculum.train.trainer import train_model

STEPS = 12
BATCH = 4
LENGTH = 32

#: Words and their parts of speech, enough for a tagged corpus.
LEXICON = {
    "DET": ["the", "a", "every", "some"],
    "ADJ": ["small", "green", "quick", "old"],
    "NOUN": ["cat", "house", "river", "letter", "king"],
    "VERB": ["sees", "finds", "writes", "leaves"],
    "ADP": ["in", "under", "near"],
    ".": [".", "!"],
}
SENTENCE = ("DET", "ADJ", "NOUN", "VERB", "DET", "NOUN", "ADP", "DET", "NOUN", ".")

#: One of each kind: order, schedule of lengths, objectives, vocabulary, mixture, online; both families.
KINDS: dict[str, dict[str, Any]] = {
    "pool": {"curriculum": "climb-ngram-linear"},
    "warm-up": {"curriculum": "compression-warm-up"},
    "lengths": {"curriculum": {"sequence_lengths": [{"start": 0.0, "length": 0.25}, {"start": 0.5, "length": 1.0}]}},
    "antlm": {"curriculum": "antlm"},
    "mask-rate": {"curriculum": "mask-rate-decay", "family": "roberta"},
    "vocabulary": {"curriculum": "climb-vocabulary-pos-tags-and-token-ids-linear", "family": "roberta"},
    "objective": {"curriculum": "climb-objective-multitask-pos-nv-all-mlm", "family": "roberta"},
    "mixture": {
        "curriculum": {"mixture": [{"start": 0.0, "weights": [1, 0]}, {"start": 0.5, "weights": "stratified"}]}
    },
    "skill-it": {"curriculum": {"online": {"kind": "skill-it", "segments": 3, "probed": 4}}},
    "self-perplexity": {
        "family": "roberta",
        "curriculum": {
            "difficulty": "unigram-perplexity",
            "mode": "pool",
            "online": {"kind": "self-perplexity", "segments": 3},
        },
    },
}


@pytest.fixture(scope="module")
def tagged_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("tagged")
    chance = random.Random(0)
    names = []
    for name in ("stories", "letters"):
        lines = []
        for _ in range(60):
            tags = [tag for _ in range(chance.randint(3, 8)) for tag in SENTENCE]
            lines.append(json.dumps({"words": [chance.choice(LEXICON[tag]) for tag in tags], "tags": tags}))
        file = folder / f"{name}.jsonl"
        file.write_text("\n".join(lines), encoding="utf-8")
        names.append(str(file))
    return names[0], names[1]


def config_of(kind: dict[str, Any], files: tuple[str, str], out: Path, **changes: Any) -> TrainingConfig:
    data = {
        "corpus": files,
        "out": str(out),
        "sizes": ["1x16"],
        "tokens": STEPS * BATCH * LENGTH,
        "batch_size": BATCH,
        "sequence_length": LENGTH,
        "vocabulary": 320,
        "learning_rate": 0.01,
        "schedule": "cosine",
        "checkpoints": 2,
        "resume_interval_s": 0.0,
        **kind,
        **changes,
    }
    return TrainingConfig.from_data(data, "test")


class KilledError(Exception):
    """Stands for a kill: nothing after it runs."""


def train_here(config: TrainingConfig, kill_at: tuple[int, ...] = (), done_before: int = 1) -> ModelRun:
    """Train in this process; an exception leaves exactly what a killed process leaves.

    The last time it must go on where ``kill_at``, or the kill after ``done_before`` steps, left it.
    """
    run = ModelRun(config, config.model.ladder[0])
    prepared = prepare(config)
    for step in kill_at:

        def report(done: int, step: int = step) -> None:
            if done == step:
                raise KilledError

        with pytest.raises(KilledError):
            train_model(run, prepared, report)
    steps: list[int] = []
    train_model(run, prepared, steps.append)
    assert steps[0] >= max((*kill_at, done_before)) - 1
    return run


@pytest.fixture
def _a_state_after_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise states are saved only as often as they cost little."""
    monkeypatch.setattr("e2lm_curriculum.train.callback.SAVE_SHARE", 0)


def final_weights(run: ModelRun) -> str:
    return weights_hash(read_weight_index(run.folder / f"checkpoint-{run.budget.steps}"))


@pytest.fixture(scope="module")
def straight(tagged_files: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelRun]:
    out = tmp_path_factory.mktemp("straight")
    return {name: train_here(config_of(kind, tagged_files, out / name)) for name, kind in KINDS.items()}


@pytest.mark.slow
@pytest.mark.usefixtures("_a_state_after_every_step")
@pytest.mark.parametrize("name", KINDS)
def test_a_run_killed_at_random_steps_has_the_weights_of_a_straight_run(
    name: str, straight: dict[str, ModelRun], tagged_files: tuple[str, str], tmp_path: Path
) -> None:
    chance = random.Random(name)
    steps = tuple(sorted(chance.sample(range(2, STEPS), 2)))
    killed = train_here(config_of(KINDS[name], tagged_files, tmp_path / "out"), kill_at=steps)
    assert final_weights(killed) == final_weights(straight[name])
    losses = [(run.folder / "training_loss.csv").read_text(encoding="utf-8") for run in (killed, straight[name])]
    assert losses[0] == losses[1]
    assert [row.split(",")[0] for row in losses[0].splitlines()[1:]] == [str(step + 1) for step in range(STEPS)]
    records = [run.record for run in (killed, straight[name])]
    assert records[0] is not None
    assert records[1] is not None
    assert records[0].hashes == records[1].hashes


def kill_9(config: TrainingConfig, step: int) -> None:
    """Train in a process of its own, which is killed by SIGKILL after ``step`` steps."""
    run = ModelRun(config, config.model.ladder[0])
    prepared = prepare(config)

    def die(done: int) -> None:
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def body() -> None:
        train_model(run, prepared, die)

    # A fork, as a new interpreter would spend ten times longer on its imports than on the steps.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        process = multiprocessing.get_context("fork").Process(target=body)
        process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.usefixtures("_a_state_after_every_step")
@pytest.mark.parametrize("loader_workers", [0, 2])
@pytest.mark.parametrize("name", KINDS)
def test_a_run_killed_by_sigkill_has_the_weights_of_a_straight_run_whoever_reads(
    name: str, loader_workers: int, straight: dict[str, ModelRun], tagged_files: tuple[str, str], tmp_path: Path
) -> None:
    config = config_of(KINDS[name], tagged_files, tmp_path / "out", loader_workers=loader_workers)
    step = random.Random(f"{name} {loader_workers}").randrange(2, STEPS)
    kill_9(config, step)
    assert final_weights(train_here(config, done_before=step)) == final_weights(straight[name])


def test_the_state_to_resume_from_holds_the_segments_of_an_online_curriculum(
    tagged_files: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("e2lm_curriculum.train.callback.SAVE_SHARE", 0)
    run = ModelRun(config_of(KINDS["skill-it"], tagged_files, tmp_path / "out"), model_size("1x16"))
    config = run.config
    prepared = prepare(config)

    def kill(done: int) -> None:
        if done == 10:
            raise KilledError

    with pytest.raises(KilledError):
        train_model(run, prepared, kill)
    held = json.loads((run.folder / ".resume" / "checkpoint-9" / "curriculum.json").read_text(encoding="utf-8"))
    assert list(held) == ["0", "4", "8"]
    assert len(held["8"]["state"]["losses"]) == 2
    (planned_segments(run.folder)[1] / "state.json").write_text('{"hash": "x", "state": {}, "probed_tokens": 0}')
    with pytest.raises(UserError, match="segments of the curriculum were changed"):
        train_model(run, prepared, lambda done: None)


def test_probing_is_counted_and_its_segments_are_what_was_trained(straight: dict[str, ModelRun]) -> None:
    run = straight["self-perplexity"]
    examples = len(np.load(run.out / ".prepared" / "scores.npy"))
    first, *later = [segment_state(folder)["probed_tokens"] for folder in planned_segments(run.folder)]
    assert first == 0
    assert later == [7 * examples * LENGTH] * 2  # every token masked once, in seven passes
    assert run.record is not None
    training = 6 * run.params_non_embedding * STEPS * BATCH * LENGTH
    assert run.record.flops == training + 2 * run.params_non_embedding * sum(later)
    plan = trained_plan(run.out / ".prepared", run.folder)
    assert plan.indices_SB.shape == (STEPS, BATCH)
    assert not np.array_equal(plan.indices_SB, read_plan(run.out / ".prepared").indices_SB)


def test_two_objectives_at_once_are_counted_twice(straight: dict[str, ModelRun]) -> None:
    run = straight["objective"]
    # noun-verb for the first sixteenth, all tags after it, masked tokens from an eighth on: 12 + 10 or 11 of 12 steps.
    plan = read_plan(run.out / ".prepared")
    assert plan.forward_passes == 22
    assert run.record is not None
    assert run.record.flops == 6 * run.params_non_embedding * 22 * BATCH * LENGTH


@pytest.mark.parametrize("name", ["objective", "antlm"])
def test_a_checkpoint_loads_without_the_heads_and_says_its_own_size(name: str, straight: dict[str, ModelRun]) -> None:
    run = straight[name]
    folder = run.folder / f"checkpoint-{STEPS}"
    kind = AutoModelForMaskedLM if run.config.model.family == "roberta" else AutoModelForCausalLM
    model, problems = kind.from_pretrained(folder, output_loading_info=True)
    assert not problems["missing_keys"]
    assert not problems["unexpected_keys"]
    series = Series.read(run.folder)
    index = read_weight_index(folder)
    assert (index.params, index.params_non_embedding) == (series.params, series.params_non_embedding)
    assert sum(one.numel() for one in model.parameters()) == series.params
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (tokenizer.mask_token_id, tokenizer.unk_token_id) == (2, 3)
    assert RunRecord.from_json_file(run.folder / "run.json").finished


def test_the_model_before_the_first_step_is_the_same_under_every_curriculum(
    straight: dict[str, ModelRun], tagged_files: tuple[str, str], tmp_path: Path
) -> None:
    first = [straight[name].folder / "checkpoint-0" for name in ("mask-rate", "vocabulary", "objective")]
    assert len({weights_hash(read_weight_index(folder)) for folder in first}) == 1


def masked_loss(folder: Path, text: str) -> float:
    """Mean loss in nats of each token among all others."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForMaskedLM.from_pretrained(folder).eval()
    ids_L = tokenizer(text, return_tensors="pt")["input_ids"][0]
    inputs_LL = ids_L.repeat(len(ids_L), 1).fill_diagonal_(tokenizer.mask_token_id)
    with torch.no_grad():
        logprobs_LV = model(input_ids=inputs_LL).logits.diagonal(dim1=0, dim2=1).T.log_softmax(-1)
    return -float(logprobs_LV.gather(1, ids_L[:, None]).mean())


def test_masked_training_lowers_the_pseudo_likelihood_loss(tagged_files: tuple[str, str], tmp_path: Path) -> None:
    config = config_of({"family": "roberta"}, tagged_files, tmp_path / "out", tokens=150 * BATCH * LENGTH)
    run = train_here(config.changed(resume_interval_s=1e9))
    text = "the small cat sees every house in some river ."
    before, after = (masked_loss(run.folder / f"checkpoint-{step}", text) for step in (0, 150))
    assert before == pytest.approx(np.log(320), abs=0.2)
    assert after < before - 1.0


def test_an_arm_that_needs_the_order_beforehand_is_refused_for_an_online_curriculum(
    tagged_files: tuple[str, str], tmp_path: Path
) -> None:
    config = config_of(KINDS["skill-it"], tagged_files, tmp_path / "out", arm="exposure-matched")
    with pytest.raises(UserError, match="planned while it trains"):
        train(config, quiet=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"curriculum": "antlm", "family": "roberta"}, "objective clm with family roberta"),
        ({"curriculum": {"sequence_lengths": [{"start": 0.0, "length": 0.3}]}}, "must divide sequence_length"),
        ({"curriculum": {"mixture": [{"start": 0.0, "weights": [1, 1, 1]}]}}, "the corpus has 2 files"),
        ({"curriculum": "climb-spoken-first-linear"}, "'stories' has no place in this order"),
        ({"curriculum": {"difficulty": "lenght", "mode": "pool"}}, "Did you mean 'length'"),
    ],
)
def test_a_curriculum_that_cannot_be_followed_is_one_line_and_leaves_nothing(
    changes: dict[str, Any], message: str, tagged_files: tuple[str, str], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        train(config_of(changes, tagged_files, tmp_path / "out"), quiet=True)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_objectives_over_parts_of_speech_need_tags(corpus_file: Path, tmp_path: Path) -> None:
    config = config_of(KINDS["objective"], (str(corpus_file),) * 2, tmp_path / "out")
    with pytest.raises(UserError, match="needs parts of speech"):
        train(config, quiet=True)
