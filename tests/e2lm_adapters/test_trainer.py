"""The callback scores what ``e2lm eval`` scores, and the training does not notice."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import socket
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, Trainer, TrainerCallback, TrainingArguments
from transformers.utils import logging as transformers_logging

from e2lm.command_line import main
from e2lm.errors import UserError
from e2lm.results import read_scores
from e2lm_adapters.trainer import E2lmCallback
from tests.e2lm_adapters.conftest import no_model_is_built

EVERY, STEPS = 4, 10
SCORED = [4, 8, 10]

Train = Callable[..., Any]


@pytest.fixture(scope="session")
def dropping(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with dropout, so that its training draws random numbers at every step; its head is tied."""
    folder = tmp_path_factory.mktemp("dropping") / "model"
    config = AutoConfig.from_pretrained(tiny_llama, attention_dropout=0.2, tie_word_embeddings=True)
    torch.manual_seed(7)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(folder)
    return folder


def trained(base: Path, folder: Path, *callbacks: TrainerCallback, tokenizer: bool = True, **options: Any) -> Any:
    """A model after ten steps on random tokens, saved after each fourth and the last in ``folder``."""
    settings: dict[str, Any] = {
        "max_steps": STEPS,
        "save_steps": EVERY,
        "per_device_train_batch_size": 2,
        "learning_rate": 1e-2,
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        "logging_strategy": "no",
        "seed": 3,
        "save_only_model": True,
        **options,
    }
    rng = np.random.default_rng(1)
    rows = [{"input_ids": row, "labels": row} for row in rng.integers(0, 512, (64, 16)).tolist()]
    random.seed(11)
    attention = "eager" if settings.get("bf16") else "sdpa"
    trainer = Trainer(
        AutoModelForCausalLM.from_pretrained(base, attn_implementation=attention),
        TrainingArguments(str(folder), **settings),
        train_dataset=rows,  # type: ignore[arg-type]
        processing_class=AutoTokenizer.from_pretrained(base) if tokenizer else None,
        callbacks=list(callbacks),
    )
    trainer.train()
    return trainer.model


def weights(model: Any) -> dict[str, bytes]:
    return {name: one.detach().numpy().tobytes() for name, one in model.state_dict().items()}


class States(TrainerCallback):
    """What the process is like when the callback before it has run."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        model = known["model"]
        self.seen.append(
            (
                [module.training for module in model.modules()],
                [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()],
                random.getstate(),
                np.random.get_state()[1].tobytes(),
                torch.get_rng_state().numpy().tobytes(),
                torch.is_grad_enabled(),
                [one.requires_grad for one in model.parameters()],
                model.config.to_json_string(),
                (transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()),
                torch.get_num_threads(),
            )
        )


def callback(task_folder: Path, out: Path, **options: Any) -> E2lmCallback:
    given = {"every": EVERY, "include_paths": [task_folder], **options}
    return E2lmCallback("small", given.pop("every"), out, **given)


def evaluated(run: Path, out: Path, task_folder: Path, *options: str) -> int:
    arguments = ["eval", run, "--tasks", "small", "--out", out, "--include-path", task_folder, "--device", "cpu"]
    return main([*map(str, arguments), "--quiet", *options])


def samples(out: Path) -> dict[str, bytes]:
    return {str(file.relative_to(out)): file.read_bytes() for file in sorted((out / "samples").rglob("*.parquet"))}


def test_weights_and_all_else_are_the_same_with_and_without_it_and_the_numbers_are_those_of_eval(
    dropping: Path, task_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    run, out, without, beside = tmp_path / "run", tmp_path / "out", States(), States()
    plain = trained(dropping, tmp_path / "plain", without)
    watched = trained(dropping, run, callback(task_folder, out), beside)
    assert weights(watched) == weights(plain)
    assert beside.seen == without.seen
    said = capsys.readouterr().err
    assert "e2lm: scored 3 checkpoints in" in said
    assert "% of the training's" in said

    assert evaluated(run, tmp_path / "eval", task_folder) == 0
    assert samples(out) == samples(tmp_path / "eval") != {}
    assert (out / "scores.csv").read_bytes() == (tmp_path / "eval" / "scores.csv").read_bytes()
    assert sorted(set(read_scores(out).scores.frame["step"])) == SCORED

    # the address of every unit is that of the saved checkpoint: nothing is left to do
    no_model_is_built(monkeypatch)
    assert evaluated(run, out, task_folder) == 0
    (results,) = (out / "run" / "checkpoint-8").glob("results_*.json")
    assert json.loads(results.read_text())["config"]["model_args"]["pretrained"] == str(run / "checkpoint-8")


def test_mixed_precision_and_eager_attention_of_the_training_are_not_those_of_the_scores(
    dropping: Path, task_folder: Path, tmp_path: Path
) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    plain = trained(dropping, tmp_path / "plain", bf16=True, max_steps=4)
    watched = trained(dropping, run, callback(task_folder, out), bf16=True, max_steps=4)
    assert weights(watched) == weights(plain)
    assert evaluated(run, tmp_path / "eval", task_folder) == 0
    assert samples(out) == samples(tmp_path / "eval") != {}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"model_arguments": {"softmax_dtype": "float7"}}, "float7"),
        ({"include_paths": ["nowhere"]}, "--include-path nowhere: no such folder"),
        ({"metrics": ["nothing"]}, "unknown metric 'nothing'"),
    ],
)
def test_what_goes_wrong_costs_a_line_and_no_training(
    options: dict[str, Any], told: str, dropping: Path, task_folder: Path, tmp_path: Path, caplog: Any
) -> None:
    watched = trained(dropping, tmp_path / "run", callback(task_folder, tmp_path / "out", **options), max_steps=4)
    lines = [one.getMessage() for one in caplog.records if "is not scored, and training goes on" in one.getMessage()]
    assert len(lines) == 1
    assert lines[0].startswith("e2lm: step 4 ")
    assert told in lines[0]
    assert weights(watched) == weights(trained(dropping, tmp_path / "plain", max_steps=4))


def test_a_trainer_without_tokenizer_is_told_so_or_takes_that_of_its_folder(
    dropping: Path, task_folder: Path, tmp_path: Path, caplog: Any
) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    trained(dropping, run, callback(task_folder, out), tokenizer=False, max_steps=4)
    assert "processing_class=tokenizer" in caplog.text
    AutoTokenizer.from_pretrained(dropping).save_pretrained(run)
    trained(dropping, run, callback(task_folder, out), tokenizer=False, max_steps=4)
    assert evaluated(run, tmp_path / "eval", task_folder) == 0
    assert samples(out) == samples(tmp_path / "eval") != {}


def test_weights_that_are_not_finite_are_noted_as_eval_notes_them(
    dropping: Path, task_folder: Path, tmp_path: Path, caplog: Any
) -> None:
    class Broken(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **known: Any) -> None:
            if state.global_step == 4:
                next(iter(known["model"].parameters())).data[0, 0] = float("nan")

    trained(dropping, tmp_path / "run", Broken(), callback(task_folder, tmp_path / "out"), max_steps=4)
    assert f"{tmp_path / 'run' / 'checkpoint-4'}: tensor 'model.embed_tokens.weight' holds 1 NaN" in caplog.text
    (unit,) = (tmp_path / "out" / "units" / "run").glob("4-*.json")
    assert "NaN" in json.loads(unit.read_text())["not_finite"]


def test_every_below_one_and_no_task_are_refused() -> None:
    with pytest.raises(UserError, match="every=0"):
        E2lmCallback("small", 0)
    with pytest.raises(UserError, match="names none"):
        E2lmCallback(" , ", 1)


def _one_of_two(rank: int, port: int, base: Path, task_folder: Path, folder: Path, with_it: bool) -> None:
    from accelerate.state import AcceleratorState, PartialState

    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), ACCELERATE_USE_CPU="true")
    AcceleratorState._reset_state()
    PartialState._reset_state()
    warnings.simplefilter("ignore")
    callbacks = [callback(task_folder, folder / "out")] if with_it else []
    model = trained(base, folder / "run", *callbacks, max_steps=4, ddp_backend="gloo")
    assert torch.distributed.get_world_size() == 2
    (folder / f"weights-{rank}").write_bytes(b"".join(weights(model).values()))


def test_two_processes_that_train_together(dropping: Path, task_folder: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    kept = {}
    for name, with_it in (("with", True), ("without", False)):
        (tmp_path / name).mkdir()
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        given = (port, dropping, task_folder, tmp_path / name, with_it)
        both = [context.Process(target=_one_of_two, args=(rank, *given), daemon=True) for rank in (0, 1)]
        for one in both:
            one.start()
        for one in both:
            one.join(120)
        assert [one.exitcode for one in both] == [0, 0]
        kept[name] = [(tmp_path / name / f"weights-{rank}").read_bytes() for rank in (0, 1)]
    assert kept["with"][0] == kept["with"][1] == kept["without"][0] == kept["without"][1]
    assert evaluated(tmp_path / "with" / "run", tmp_path / "eval", task_folder) == 0
    assert samples(tmp_path / "with" / "out") == samples(tmp_path / "eval") != {}
