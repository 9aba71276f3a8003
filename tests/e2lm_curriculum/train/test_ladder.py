from __future__ import annotations

import json
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from e2lm import Series, UserError
from e2lm.command_line import main
from e2lm.run_record import RunRecord
from e2lm.weights import read_weight_index, weights_hash
from e2lm_curriculum.config.training import TrainingConfig
from e2lm_curriculum.model.family import new_llama
from e2lm_curriculum.train.batch import PlannedDataset, causal_batch, example_blocks
from e2lm_curriculum.train.checkpoints import write_checkpoint
from e2lm_curriculum.train.ladder import train
from e2lm_curriculum.train.model_run import ModelRun
from e2lm_curriculum.train.prepared import prepare
from e2lm_curriculum.train.processes import train_in_processes
from e2lm_curriculum.train.trainer import train_model
from tests.e2lm_curriculum.conftest import command_words


def held_out_loss(checkpoint: Path, text: str) -> float:
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint).eval()
    ids_K = tokenizer(text, truncation=False, verbose=False)["input_ids"]
    input_ids_BT = torch.tensor(ids_K[: len(ids_K) // 32 * 32]).reshape(-1, 32)[:100]
    with torch.no_grad():
        return float(model(input_ids=input_ids_BT, labels=input_ids_BT).loss)


def train_here(config: TrainingConfig) -> None:
    """In this process: without the seconds a worker takes to start."""
    prepared = prepare(config)
    for size in config.model.ladder:
        train_model(ModelRun(config, size), prepared, lambda step: None)


def test_a_run_leaves_a_series_that_reads_back(trained: TrainingConfig) -> None:
    for size in trained.model.ladder:
        series = Series.read(trained.run.out_folder / size.name)
        steps = [checkpoint.step for checkpoint in series.checkpoints]
        assert series.name == size.name
        assert steps[0] == 0
        assert steps[-1] == 60
        assert len(steps) == 7
        assert series.tokens_per_step == 128
        assert [checkpoint.tokens for checkpoint in series.checkpoints] == [128 * step for step in steps]
        index = read_weight_index(Path(series.checkpoints[-1].path or ""))
        assert (index.params, index.params_non_embedding) == (series.params, series.params_non_embedding)


def test_training_lowers_the_loss_on_held_out_text(trained: TrainingConfig) -> None:
    text = (trained.run.out_folder / "held_out.txt").read_text(encoding="utf-8")
    series = Series.read(trained.run.out_folder / "2x16")
    first, *_, last = [held_out_loss(Path(checkpoint.path or ""), text) for checkpoint in series.checkpoints]
    assert first == pytest.approx(np.log(400), abs=0.1)
    assert last < first - 0.5


def test_held_out_text_is_in_no_training_block(trained: TrainingConfig, documents: list[str]) -> None:
    out = trained.run.out_folder
    tokenizer = AutoTokenizer.from_pretrained(out / "1x16" / "checkpoint-60")
    read = tokenizer.decode(np.load(out / ".prepared" / "tokens.npy").tolist())
    held_out = (out / "held_out.txt").read_text(encoding="utf-8")
    held = [text for text in documents if text in held_out]
    assert sum(map(len, held)) >= 0.1 * sum(map(len, documents))
    assert not any(text in read for text in held)
    assert all(text in read for text in set(documents) - set(held))


def test_the_data_set_reads_blocks_in_planned_order() -> None:
    blocks_XT = np.arange(12).reshape(4, 3)
    data = PlannedDataset(blocks_XT, np.array([[2, 0], [3, 2]]))
    assert len(data) == 4
    rows = [data[number] for number in range(4)]
    assert [row.tokens_T.tolist() for row in rows if row is not None] == [[6, 7, 8], [0, 1, 2], [9, 10, 11], [6, 7, 8]]
    assert [row.number for row in rows if row is not None] == [0, 1, 2, 3]


def test_draws_beyond_the_planned_ones_are_nothing_and_beyond_the_run_an_error() -> None:
    data = PlannedDataset(np.arange(12).reshape(4, 3), np.array([[2, 0]]), draws=4)
    assert len(data) == 4
    assert data[1] is not None
    assert (data[2], data[3]) == (None, None)
    with pytest.raises(IndexError):
        data[4]
    first, second = data[0], data[1]
    batch = causal_batch([first, second])
    assert batch["input_ids"].tolist() == batch["labels"].tolist() == [[6, 7, 8], [0, 1, 2]]
    assert causal_batch([first, data[2]]) == {}


def test_a_corpus_is_cut_into_whole_examples(tmp_path: Path) -> None:
    (tmp_path / ".prepared").mkdir()
    np.save(tmp_path / ".prepared" / "tokens.npy", np.arange(11, dtype=np.uint16))
    assert example_blocks(tmp_path, 4).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_a_checkpoint_holds_what_loaders_want_and_nothing_of_the_trainer(trained: TrainingConfig) -> None:
    folder = trained.run.out_folder / "1x16" / "checkpoint-60"
    assert {file.name for file in folder.iterdir()} == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["rope_parameters"]["rope_theta"] == 10000.0
    assert json.loads((folder / "tokenizer_config.json").read_text())["tokenizer_class"] == "PreTrainedTokenizerFast"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (0, 0, 1)
    assert tokenizer.decode(tokenizer("def f(x): é")["input_ids"]) == "def f(x): é"
    assert not (trained.run.out_folder / "1x16" / ".resume").exists()


def test_stock_lm_eval_scores_a_checkpoint_as_the_model_itself_does(trained: TrainingConfig) -> None:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    folder = trained.run.out_folder / "2x16" / "checkpoint-60"
    pairs = [("Return the", " value"), ("", "A class"), ("the file", " is closed.")]
    requests = [Instance("loglikelihood", {}, pair, index) for index, pair in enumerate(pairs)]
    scores = HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=2).loglikelihood(requests)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    for (context, continuation), (loglik, _) in zip(pairs, scores, strict=True):
        before = tokenizer(context)["input_ids"] or [tokenizer.eos_token_id]
        ids = before + tokenizer(continuation)["input_ids"]
        with torch.no_grad():
            logprobs_TV = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        expected = sum(float(logprobs_TV[place - 1, ids[place]]) for place in range(len(before), len(ids)))
        assert loglik == pytest.approx(expected, abs=1e-4)


def test_the_record_says_what_ran(trained: TrainingConfig) -> None:
    record = RunRecord.from_json_file(trained.run.out_folder / "1x16" / "run.json")
    assert record.finished
    assert record.config["tokens"] == trained.data.tokens
    assert set(record.hashes) == {"data", "tokenizer", "plan"}
    assert record.wall_s is not None
    assert record.wall_s > 0
    assert record.flops == 6 * trained.model.ladder[0].params_non_embedding * 60 * 128


def test_a_finished_run_is_never_redone(trained: TrainingConfig) -> None:
    files = {file: file.stat().st_mtime_ns for file in trained.run.out_folder.rglob("*.safetensors")}
    started = time.monotonic()
    series = train(trained, quiet=True)
    assert time.monotonic() - started < 2
    assert [one.name for one in series] == ["1x16", "2x16"]
    assert files == {file: file.stat().st_mtime_ns for file in trained.run.out_folder.rglob("*.safetensors")}


@pytest.mark.parametrize(
    ("field", "value"), [("learning_rate", 0.02), ("seed", 1), ("tokens", 99_999), ("schedule", "cosine")]
)
def test_another_configuration_in_the_same_folder_is_an_error_that_names_the_field(
    trained: TrainingConfig, field: str, value: object
) -> None:
    with pytest.raises(UserError, match=f"field '{field}'"):
        train(trained.changed(**{field: value}), quiet=True)


def test_another_corpus_in_the_same_folder_is_an_error(trained: TrainingConfig, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("other words\n" * 100, encoding="utf-8")
    with pytest.raises(UserError, match="field 'corpus'"):
        train(trained.changed(corpus=(str(other),)), quiet=True)


def test_sizes_may_be_added_and_each_is_what_it_would_be_alone(trained: TrainingConfig, tmp_path: Path) -> None:
    alone = trained.changed(out=str(tmp_path / "alone"), sizes=("2x16",))
    train(alone, quiet=True)
    hashes = [
        weights_hash(read_weight_index(config.run.out_folder / "2x16" / "checkpoint-60")) for config in (alone, trained)
    ]
    assert hashes[0] == hashes[1]
    more = alone.changed(sizes=("2x16", "1x8"))
    assert [series.name for series in train(more, quiet=True)] == ["2x16", "1x8"]


@pytest.mark.parametrize("schedule", ["cosine", "linear", "wsd"])
def test_schedules_that_decay_move_the_weights_less_at_the_end(
    trained: TrainingConfig, tmp_path: Path, schedule: str
) -> None:
    config = trained.changed(out=str(tmp_path / "out"), sizes=("1x16",), schedule=schedule, checkpoints=60)
    train_here(config)
    from safetensors.torch import load_file

    weights = [
        load_file(config.run.out_folder / "1x16" / f"checkpoint-{step}" / "model.safetensors")["model.norm.weight"]
        for step in (40, 41, 59, 60)
    ]
    middle, _, end = [float((after - before).norm()) for before, after in pairwise(weights)]
    assert end < 0.5 * middle


def test_bfloat16_autocast_learns_as_well_and_keeps_float32_weights(trained: TrainingConfig, tmp_path: Path) -> None:
    config = trained.changed(out=str(tmp_path / "out"), sizes=("2x16",), precision="bfloat16")
    train_here(config)
    text = (config.run.out_folder / "held_out.txt").read_text(encoding="utf-8")
    coarse, exact = (one.run.out_folder / "2x16" / "checkpoint-60" for one in (config, trained))
    assert {tensor.dtype for tensor in read_weight_index(coarse).tensors.values()} == {"F32"}
    assert weights_hash(read_weight_index(coarse)) != weights_hash(read_weight_index(exact))
    assert held_out_loss(coarse, text) == pytest.approx(held_out_loss(exact, text), abs=0.05)


def test_weights_that_are_not_finite_are_an_error_and_not_a_checkpoint(trained: TrainingConfig, tmp_path: Path) -> None:
    model = new_llama(trained.model.ladder[0], 400, 32, 0)
    with torch.no_grad():
        model.model.norm.weight[3] = float("nan")
    with pytest.raises(UserError, match=r"model\.norm\.weight is not finite at step 7"):
        write_checkpoint(model, trained.run.out_folder, tmp_path, 7)
    assert not list(tmp_path.iterdir())


def test_a_worker_that_fails_is_reported(trained: TrainingConfig, tmp_path: Path) -> None:
    config = trained.changed(out=str(tmp_path / "out"), sizes=("1x16",))
    prepare(config)
    run = ModelRun(config, config.model.ladder[0])
    (run.folder).mkdir()
    (run.folder / "run.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"run\.json: not valid JSON"):
        train_in_processes([run], 1, lambda run, step: None)


def test_the_command_prints_json(trained: TrainingConfig, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command_words(trained), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [row["finished"] for row in report["series"]] == [True, True]
    assert Path(report["held_out"]).is_file()
    assert report["corpus"]["vocabulary"] == 400
