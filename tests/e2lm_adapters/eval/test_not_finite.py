"""A checkpoint whose numbers are not finite costs itself: a line, a unit that says so; all else is as ever."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from e2lm.errors import UserError
from e2lm.results import read_scores
from e2lm.run_record import RunRecord
from e2lm.samples import read_samples
from e2lm.weights import SINGLE_FILE
from e2lm_adapters.eval.store import Unit
from e2lm_adapters.scoring.hf import E2lmHf
from tests.e2lm_adapters.conftest import STEPS, Run, no_model_is_built, write_task

Spoil = Callable[[Path], None]


def change(folder: Path, how: Callable[[dict[str, torch.Tensor]], object]) -> None:
    file = folder / SINGLE_FILE
    weights = load_file(file)
    how(weights)
    save_file(weights, file, metadata={"format": "pt"})


def overflow(folder: Path) -> None:
    """Every weight is finite, and the logits are not."""

    def spoil(weights: dict[str, torch.Tensor]) -> None:
        weights["model.norm.weight"] *= 1e20
        weights["lm_head.weight"] *= 1e20

    change(folder, spoil)


def not_a_number(folder: Path) -> None:
    change(folder, lambda weights: weights["model.norm.weight"][3].fill_(float("nan")))


NORM = "model.norm.weight"
SAID = {overflow: "the model gives a log-likelihood of nan", not_a_number: "tensor 'model.norm.weight' holds 1 NaN"}


def told_in(err: str) -> list[str]:
    """What we say; the stock model shows its own progress."""
    assert "Traceback" not in err
    assert "Warning" not in err
    return [line for line in err.splitlines() if line.startswith(("left out:", "e2lm:"))]


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return told_in(capsys.readouterr().err)


@pytest.mark.parametrize("step", [STEPS[0], 20])
@pytest.mark.parametrize("spoil", [overflow, not_a_number])
@pytest.mark.parametrize("model", ["e2lm-hf", "hf"])
def test_it_is_left_out_and_the_others_are_scored_as_ever(
    model: str,
    spoil: Spoil,
    step: int,
    run_folder: Path,
    tiny_series: Path,
    tmp_path: Path,
    evaluate: Run,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = ("--quiet", "--model", model)
    assert evaluate(tiny_series, *options, out=tmp_path / "whole") == 0
    whole = read_scores(tmp_path / "whole").scores.frame
    capsys.readouterr()
    spoil(run_folder / f"checkpoint-{step}")
    assert evaluate(run_folder, *options) == 0
    (line,) = lines(capsys)
    assert line.startswith(f"left out: tiny-run step {step}: ")
    assert SAID[spoil] in line
    assert f"checkpoint-{step}" in line
    out = tmp_path / "out"
    scores = read_scores(out).scores.frame
    assert scores.equals(whole[whole["step"] != step].reset_index(drop=True))
    assert {one.step for one in read_samples(out)} == {*STEPS} - {step}
    assert not list((out / "tiny-run" / f"checkpoint-{step}").glob("*"))
    (file,) = (out / "units" / "tiny-run").glob(f"{step}-*.json")
    unit = Unit.from_json_file(file)
    assert SAID[spoil] in unit.not_finite
    assert (unit.has_samples, unit.stock_metrics) == (False, ())
    (left_out,) = RunRecord.from_json_file(out / "run.json").left_out
    assert str(left_out) == line
    no_model_is_built(monkeypatch)  # again: nothing is tried anew, and the same is said
    assert evaluate(run_folder, *options, "--json") == 0
    told = capsys.readouterr()
    assert told_in(told.err) == [line]
    assert json.loads(told.out)["left_out"] == [left_out.model_dump(mode="json")]
    assert read_scores(out).scores.frame.equals(scores)
    assert read_scores(out).notes == (line,)


@pytest.mark.parametrize("spoil", [overflow, not_a_number])
def test_where_nothing_can_be_used_the_command_fails_with_the_lines(
    spoil: Spoil, run_folder: Path, tmp_path: Path, evaluate: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in STEPS:
        spoil(run_folder / f"checkpoint-{step}")
    for _ in range(2):
        assert evaluate(run_folder, "--quiet") == 2
        told = lines(capsys)
        assert [line.split(":")[1] for line in told[:-1]] == [f" tiny-run step {step}" for step in STEPS]
        assert "nothing could be used" in told[-1]
        assert not (tmp_path / "out" / "scores.csv").exists()
    assert len(RunRecord.from_json_file(tmp_path / "out" / "run.json").left_out) == len(STEPS)


def test_a_repaired_checkpoint_is_scored(
    run_folder: Path, tiny_series: Path, tmp_path: Path, evaluate: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    overflow(run_folder / "checkpoint-20")
    assert evaluate(run_folder, "--quiet") == 0
    good = tiny_series / "checkpoint-20" / SINGLE_FILE
    (run_folder / "checkpoint-20" / SINGLE_FILE).write_bytes(good.read_bytes())
    capsys.readouterr()
    assert evaluate(run_folder, "--quiet") == 0
    assert lines(capsys) == []
    assert set(read_scores(tmp_path / "out").scores.frame["step"]) == set(STEPS)
    assert RunRecord.from_json_file(tmp_path / "out" / "run.json").left_out == ()


def test_samples_of_the_weights_that_were_there_before_do_not_stay(
    run_folder: Path, tmp_path: Path, evaluate: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(run_folder, "--quiet") == 0
    assert {one.step for one in read_samples(tmp_path / "out")} == {*STEPS}
    overflow(run_folder / "checkpoint-20")
    assert evaluate(run_folder, "--quiet") == 0
    assert len(lines(capsys)) == 1
    assert {one.step for one in read_samples(tmp_path / "out")} == {*STEPS} - {20}
    assert set(read_scores(tmp_path / "out").scores.frame["step"]) == {*STEPS} - {20}


def test_one_task_may_be_spoilt_and_the_others_not_but_text_beside_it_is_not_trusted(
    tiny_series: Path,
    task_folder: Path,
    tmp_path: Path,
    evaluate: Run,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_task(task_folder, "other", seed=6)
    (task_folder / "text.jsonl").write_text('{"page": "The sky is"}\n', encoding="utf-8")
    (task_folder / "text.yaml").write_text(
        "task: text\nclass: !function e2lm_tasks.local_task.LocalTask\ndataset_kwargs: {data_files: text.jsonl}\n"
        "output_type: generate_until\ntest_split: test\ndoc_to_text: page\ndoc_to_target: page\nnum_fewshot: 0\n"
        "generation_kwargs: {until: [x], max_gen_toks: 2, do_sample: false}\n"
        "metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]\nmetadata: {version: 1.0}\n",
        encoding="utf-8",
    )
    second = json.loads((task_folder / "other.jsonl").read_text("utf-8").splitlines()[2])
    answered = E2lmHf._answers
    spoilt_text = f"{second['context']} {second['choices'][1]}"

    def spoilt(self: Any, plan: Any, tokens: Any, hidden: bool) -> Any:
        answers = answered(self, plan, tokens, hidden)
        texts = [self.tokenizer.decode([*one.context, *one.continuation]) for one in tokens]
        return [
            (math.nan, False) if text.endswith(spoilt_text) else answer
            for text, answer in zip(texts, answers, strict=True)
        ]

    monkeypatch.setattr(E2lmHf, "_answers", spoilt)
    assert evaluate(tiny_series, "--quiet", tasks="small,other,text") == 0
    told = lines(capsys)
    assert [line.partition(": ")[2].partition(":")[0] for line in told] == [
        f"tiny-run step {step}, {task}" for step in STEPS for task in ("other", "text")
    ]
    assert "log-likelihood of nan (doc_id 2)" in told[0]
    assert "scored with other" in told[1]
    assert set(read_scores(tmp_path / "out").scores.frame["task"]) == {"small"}
    files = {file.name.rpartition("_")[0] for file in (tmp_path / "out" / "tiny-run").rglob("samples_*")}
    assert files == {"samples_small"}
    stock = read_scores(tmp_path / "out" / "tiny-run")  # as lm-eval's own writer left them
    assert set(stock.scores.frame["task"]) == {"small"}


def test_a_metric_that_is_no_number_costs_its_row(
    tiny_series: Path, task_folder: Path, tmp_path: Path, evaluate: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    (task_folder / "own.py").write_text("def own(doc, results): return {'own': float('nan'), 'acc': 1.0}\n", "utf-8")
    yaml = (task_folder / "small.yaml").read_text("utf-8").partition("metric_list")[0]
    plain = yaml.replace("multiple_choice.MultipleChoice", "local_task.LocalTask")
    metrics = "".join(f"  - {{metric: {name}, aggregation: mean, higher_is_better: true}}\n" for name in ("own", "acc"))
    own = f"{plain}metric_list:\n{metrics}process_results: !function own.own\n"
    (task_folder / "small.yaml").write_text(own, "utf-8")
    assert evaluate(tiny_series, "--quiet") == 0
    assert lines(capsys)[0] == "left out: small: own is nan: no row"
    assert set(read_scores(tmp_path / "out").scores.frame["metric"]) == {"acc"}


def test_averages_from_there_on_are_spoilt(
    run_folder: Path, tmp_path: Path, evaluate: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    not_a_number(run_folder / "checkpoint-20")
    assert evaluate(run_folder, "--quiet", "--merge", "wma:window=2") == 0
    told = lines(capsys)
    own, *merged = told
    assert own.startswith("left out: tiny-run step 20: ")
    assert len(merged) == 2
    assert all(" step 20: averaged with step 20" in one or " step 30: averaged with step 20" in one for one in merged)
    frame = read_scores(tmp_path / "out").scores.frame
    averaged = frame[frame["series"].str.contains("wma")]
    assert set(averaged["step"]) <= {0, 10}
    (run_folder / "series.json").unlink()
    for file in (run_folder / "checkpoint-20").iterdir():
        file.unlink()
    (run_folder / "checkpoint-20").rmdir()
    assert evaluate(run_folder, "--quiet", "--merge", "wma:window=2", "--tokens-per-step", 1024) == 0
    assert lines(capsys) == []


def test_an_empty_table_that_an_earlier_release_kept_is_done_again(
    tiny_series: Path, tmp_path: Path, evaluate: Run
) -> None:
    import pyarrow.parquet as pq

    from e2lm.samples import SCHEMA

    assert evaluate(tiny_series, "--quiet") == 0
    before = read_scores(tmp_path / "out").scores.frame
    (kept,) = (tmp_path / "out" / "samples").rglob("checkpoint-20.parquet")
    pq.write_table(SCHEMA.empty_table(), kept)
    assert evaluate(tiny_series, "--quiet") == 0
    assert read_scores(tmp_path / "out").scores.frame.equals(before)
    kept.write_bytes(b"PAR1")
    assert evaluate(tiny_series, "--quiet") == 0
    assert read_scores(tmp_path / "out").scores.frame.equals(before)


def test_the_stock_command_is_refused_the_first_number_that_is_none(run_folder: Path) -> None:
    overflow(run_folder / "checkpoint-20")
    for sharing in (True, False):
        lm = E2lmHf(
            str(run_folder / "checkpoint-20"),
            device="cpu",
            dtype="float32",
            show_progress=False,
            prefix_sharing=sharing,
        )
        from tests.e2lm_adapters.conftest import scored

        with pytest.raises(UserError, match=r"log-likelihood of nan \(request 0\): weights damaged"):
            scored(lm, [("The sky", " is blue"), ("The sky", " is green")])
        assert (lm._why_stock is None) == sharing


def values(out: Path, steps: Sequence[int]) -> dict[tuple[int, str], float]:
    return {(row.step, row.metric): row.value for row in read_scores(out).scores.rows() if row.step in steps}


def test_a_checkpoint_of_another_shape_is_left_out_wherever_it_stands(
    run_folder: Path, tiny_series: Path, tmp_path: Path, evaluate: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(tiny_series, "--quiet", "--metrics", "margin") == 0
    expected = values(tmp_path / "out", (10, 20))
    for step, size in ((0, 32), (30, 16)):
        change(run_folder / f"checkpoint-{step}", lambda all, size=size: all.update({NORM: torch.ones(size)}))  # type: ignore[misc]
    capsys.readouterr()
    out = tmp_path / "other"
    assert evaluate(run_folder, "--quiet", "--metrics", "margin", out=out) == 0
    found = lines(capsys)
    assert len(found) == 2
    for line, step, size in zip(found, (0, 30), (32, 16), strict=True):
        assert line.startswith(f"left out: tiny-run/checkpoint-{step}: other model: tensor {NORM!r} has shape [{size}]")
    assert values(out, STEPS) == expected
    record = RunRecord.from_json_file(out / "run.json")
    assert len(record.left_out) == 2
