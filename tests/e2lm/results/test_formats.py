"""Results of other harnesses are read as they are, each by the fields of its own; what is not read is named."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from e2lm import UserError
from e2lm.command_line import main
from e2lm.results import Reading, read_scores

STEPS = (1000, 2000, 3000)


def write(file: Path, data: object) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(data), encoding="utf-8")
    return file


def rows(path: Path) -> dict[tuple[str, str, str], list[tuple[int, float]]]:
    """Step and value by series, task and metric."""
    found: dict[tuple[str, str, str], list[tuple[int, float]]] = {}
    for row in read_scores(path).scores.rows():
        found.setdefault((row.series, row.task, row.metric), []).append((row.step, row.value))
    return found


RISING = [(step, step / 1e4) for step in STEPS]


# -- lm-eval 0.2 and 0.3 ------------------------------------------------------------------------------------------


def old_lm_eval(step: int, **more: Any) -> dict[str, Any]:
    """Results as lm-eval 0.3 wrote them, metrics without a filter."""
    values = {"acc": step / 1e4, "acc_stderr": 0.02, "acc_norm": step / 1e4}
    return {"results": {"arc_easy": values}, "versions": {"arc_easy": 0}, **more}


def test_lm_eval_before_filters_is_read_from_files_of_any_name(tmp_path: Path) -> None:
    for step in STEPS:
        config = {"model": "hf-causal", "model_args": f"pretrained=org/tiny,revision=step{step}", "num_fewshot": 5}
        write(tmp_path / f"tiny-{step}.json", old_lm_eval(step, config=config))
    found = rows(tmp_path)
    assert found == {("tiny", "arc_easy", metric): RISING for metric in ("acc", "acc_norm")}
    first = next(iter(read_scores(tmp_path).scores.rows()))
    assert first.stderr == 0.02
    assert json.loads(first.key)["shots"] == "5"
    assert len(rows(tmp_path / "tiny-1000.json")) == 2


def test_gpt_neox_tells_the_step_by_the_name_of_the_file_only(tmp_path: Path) -> None:
    for step in STEPS:
        write(tmp_path / f"tiny-global_step{step}_eval_results_12-30-2022-22-34-04.json", old_lm_eval(step))
    assert rows(tmp_path)["tiny", "arc_easy", "acc"] == RISING


def test_what_counts_items_is_no_metric(tmp_path: Path) -> None:
    data = {"results": {"arc": {"alias": "arc", "sample_len": 20, "acc,none": 0.5}}, "versions": {"arc": 1}}
    assert {metric for *_, metric in rows(write(tmp_path / "results_2026-01-01.json", data))} == {"acc"}


# -- lighteval ----------------------------------------------------------------------------------------------------


def lighteval(step: int, shots: int = 25, **general: Any) -> dict[str, Any]:
    """Results as lighteval writes them."""
    task = f"leaderboard|arc:challenge|{shots}"
    return {
        "config_general": {
            "lighteval_sha": "f" * 40,
            "max_samples": None,
            "model_name": "org/tiny",
            "model_config": {"model_name": "org/tiny", "revision": f"step{step}"},
            **general,
        },
        "results": {task: {"acc": step / 1e4, "acc_stderr": 0.02, "odd": 1 - step / 1e4}, "all": {"acc": step / 1e4}},
        "versions": {task: 0},
        "config_tasks": {task: {"metric": [{"metric_name": "odd", "higher_is_better": False}]}},
    }


def test_lighteval_names_task_and_shots_in_one_and_tells_the_direction(tmp_path: Path) -> None:
    for step in STEPS:
        write(tmp_path / "org" / "tiny" / f"results_2025-01-01T00-00-{step // 1000:02}.json", lighteval(step))
    assert rows(tmp_path)["tiny", "arc:challenge", "acc"] == RISING
    assert rows(tmp_path)["tiny", "all", "acc"] == RISING
    source = read_scores(tmp_path)
    assert source.directions["arc:challenge", "odd"] is False
    key = json.loads(next(row.key for row in source.scores.rows() if row.task == "arc:challenge"))
    assert (key["shots"], key["suite"], key["harness"], key["limit"]) == ("25", "leaderboard", "lighteval", "none")


def test_lighteval_with_other_shots_or_fewer_samples_is_another_curve(tmp_path: Path) -> None:
    write(tmp_path / "results_2025-01-01T00-00-01.json", lighteval(1000))
    write(tmp_path / "results_2025-01-01T00-00-02.json", lighteval(1000, shots=0))
    write(tmp_path / "results_2025-01-01T00-00-03.json", lighteval(1000, max_samples=10))
    tasks = {task for _, task, metric in rows(tmp_path) if metric == "odd"}
    assert len(tasks) == 3


# -- OLMES --------------------------------------------------------------------------------------------------------


def olmes(step: int, task: str = "arc_challenge") -> dict[str, Any]:
    """One task as OLMES writes it."""
    return {
        "task_name": task,
        "task_hash": "h" * 32,
        "model_config": {"model": "olmo-1b", "revision": f"step{step}-tokens{step // 1000}B", "model_path": None},
        "task_config": {"task_name": task, "num_shots": 5, "limit": None, "split": "test"},
        "num_instances": 1172,
        "metrics": {"acc_raw": step / 1e4, "bits_per_byte_corr": 1.5},
    }


def test_olmes_is_read_by_task_or_from_the_file_of_all_and_nothing_twice(tmp_path: Path) -> None:
    for step in STEPS:
        folder = tmp_path / f"step{step}"
        write(folder / "task-000-arc_challenge-metrics.json", olmes(step))
        write(folder / "metrics-all.jsonl", olmes(step))
    source = read_scores(tmp_path)
    assert source.notes == ()
    assert rows(tmp_path)["olmo-1b", "arc_challenge", "acc_raw"] == RISING
    row = next(source.scores.rows())
    assert (row.tokens, row.n) == (1e9, 1172)
    for file in tmp_path.rglob("task-*"):
        file.unlink()
    assert rows(tmp_path)["olmo-1b", "arc_challenge", "acc_raw"] == RISING
    assert len(rows(tmp_path / "step1000" / "metrics-all.jsonl")) == 2


# -- trainer_state.json -------------------------------------------------------------------------------------------


def trainer_state(upto: int) -> dict[str, Any]:
    """The state of transformers' Trainer at a step."""
    history = [{"epoch": 0.1, "step": step, "loss": 4 - step / 1e4, "learning_rate": 1e-3} for step in STEPS]
    history += [{"epoch": 0.1, "step": step, "eval_loss": 5 - step / 1e4, "eval_runtime": 2.0} for step in STEPS]
    return {"global_step": upto, "log_history": [one for one in history if one["step"] <= upto]}


def test_the_losses_of_a_trainer_are_those_of_its_newest_state(tmp_path: Path) -> None:
    for step in STEPS:
        write(tmp_path / "wide" / f"checkpoint-{step}" / "trainer_state.json", trainer_state(step))
    assert rows(tmp_path) == {
        ("wide", "train", "loss"): [(step, 4 - step / 1e4) for step in STEPS],
        ("wide", "eval", "loss"): [(step, 5 - step / 1e4) for step in STEPS],
    }
    assert any("newest trainer_state.json" in note for note in read_scores(tmp_path).notes)
    alone = rows(tmp_path / "wide" / "checkpoint-1000" / "trainer_state.json")
    assert [len(values) for values in alone.values()] == [1, 1]


# -- folders ------------------------------------------------------------------------------------------------------


def test_a_folder_may_hold_results_of_several_programs_and_files_of_none(tmp_path: Path) -> None:
    write(tmp_path / "old.json", old_lm_eval(1000, config={"model_args": "pretrained=org/a,revision=step1000"}))
    write(tmp_path / "task-000-arc_challenge-metrics.json", olmes(1000))
    write(tmp_path / "results_2025-01-01T00-00-01.json", lighteval(1000))
    write(tmp_path / "config.json", {"architectures": []})
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    (tmp_path / "results_2025-01-01T00-00-02.json").write_text("{", encoding="utf-8")
    source = read_scores(tmp_path)
    assert {row.series for row in source.scores.rows()} == {"a", "olmo-1b", "tiny"}
    assert [left.what for left in source.left_out] == ["results_2025-01-01T00-00-02.json"]
    assert "results_2025-01-01T00-00-02.json: not valid JSON" in source.notes[0]


def test_results_in_which_nothing_can_be_used_are_results_all_the_same(tmp_path: Path) -> None:
    write(tmp_path / "results_2026-01-01.json", {"results": {"arc": {"alias": "arc"}}, "versions": {}})
    assert not len(read_scores(tmp_path).scores)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("runs/mmlu:model=a/stats.json", "these are files of HELM, which are not read"),
        ("curves.csv", "of tables give one, as "),
        ("notes.txt", r"nor of another known format \(.*lighteval, olmes.*\)"),
    ],
)
def test_what_is_there_instead_of_results_is_named(name: str, said: str, tmp_path: Path) -> None:
    write(tmp_path / name, [{"name": {"name": "exact_match"}, "mean": 0.2}])
    with pytest.raises(UserError, match=said):
        read_scores(tmp_path)


def test_patterns_and_split_by_hold_for_every_format(tmp_path: Path) -> None:
    for run in ("a", "b"):
        data = lighteval(0)
        data["config_general"]["model_config"] = {"model_name": f"/runs/{run}/it7"}
        write(tmp_path / run / "results_2025-01-01T00-00-01.json", data)
    source = read_scores(tmp_path, Reading(step_pattern="it([0-9]+)"))
    assert {(row.series, row.step) for row in source.scores.rows()} == {("a", 7), ("b", 7)}


PLUGIN = """
from e2lm import hookimpl
from e2lm.results.result import TaskResult
from e2lm.results.result_format import ResultFormat
from e2lm.scores import ScoreRow

def read(file):
    rows = (ScoreRow("run", file.data["step"], "arc", "acc", file.data["right"]),)
    return [TaskResult(rows, "arc", "run", file.data["step"], file.path, about={"shots": file.data["shots"]})]

@hookimpl
def e2lm_register_result_formats():
    return [ResultFormat("mine", "Mine.", read, patterns=("mine-*.json",))]
"""


def test_a_plugin_brings_a_format_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = tmp_path / "format_plugin.py"
    plugin.write_text(PLUGIN, encoding="utf-8")
    for step in STEPS:
        for shots in "05":
            write(tmp_path / "out" / f"mine-{step}-{shots}.json", {"step": step, "right": 0.5, "shots": shots})
    call = ["--plugin", str(plugin), "signal", str(tmp_path / "out"), "--json", "--scores", "signal_quality"]
    assert main(call) == 0
    told = json.loads(capsys.readouterr().out)["rows"]
    assert [(one["task"], one["n"]) for one in told] == [("arc (shots=0)", 3), ("arc (shots=5)", 3)]


# -- BLOOM --------------------------------------------------------------------------------------------------------


def bloom_file(folder: Path, step: int, results: object, date: str = "2022-07-13-11-29-13") -> None:
    write(folder / "bslmevalfiles" / f"tr11b-ml-results_lm-eval_global_step{step}_{date}.json", {"results": results})


def test_blooms_prompts_are_tasks_and_its_step_is_in_the_name(tmp_path: Path) -> None:
    for step in STEPS:
        prompted = [
            {"task_name": "axb", "prompt_name": prompt, metric: value}
            for prompt, value in (("exam", step / 1e4), ("GPT-3", 0.5))
            for metric in ("acc", "acc_norm")
        ]
        bloom_file(tmp_path / "bloom1b3", step, prompted)
        bloom_file(tmp_path / "bloom1b3", step, {"piqa": {"acc": step / 1e4, "acc_stderr": 0.1}}, "2022-07-14-00-00-00")
    write(tmp_path / "bloom1b3" / "bslmeval.json", {"results": {"piqa": {"2022-07-14-00-00-00": {"acc": 0.9}}}})
    found = rows(tmp_path)
    assert set(found) == {
        *(("bloom1b3", f"axb (prompt={one})", metric) for one in ("exam", "GPT-3") for metric in ("acc", "acc_norm")),
        ("bloom1b3", "piqa", "acc"),
    }
    assert found["bloom1b3", "axb (prompt=exam)", "acc"] == found["bloom1b3", "piqa", "acc"] == RISING


def test_blooms_one_file_for_all_is_read_where_the_others_are_not_there(tmp_path: Path) -> None:
    dated = {"2022-07-15-11-47-34": {"acc": 0.25, "prompt_name": "exam", "task_name": "axb"}}
    write(tmp_path / "bloom1b3" / "bslmeval.json", {"results": {"axb+exam": dated}})
    assert rows(tmp_path) == {("bloom1b3", "axb", "acc"): [(0, 0.25)]}


# -- event files --------------------------------------------------------------------------------------------------


def event_file(folder: Path, stamp: int, points: list[tuple[str, int, float]]) -> Path:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed: pip install 'e2lm[tensorboard]'")
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"events.out.tfevents.{stamp}.host"
    with path.open("wb") as handle:
        writer = RecordWriter(handle)
        writer.write(Event(wall_time=1.0, file_version="brain.Event:2").SerializeToString())
        for tag, step, value in points:
            told = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
            writer.write(Event(wall_time=1.0, step=step, summary=told).SerializeToString())
        writer.flush()
    return path


def test_every_scalar_of_event_files_is_a_value_and_a_resumed_run_goes_on(tmp_path: Path) -> None:
    for run in ("a", "deep/b"):
        event_file(tmp_path / run, 1700000000, [("eval/arc/acc", step, 0.25) for step in (1000, 2000)])
        event_file(tmp_path / run, 1700000500, [("eval/arc/acc", step, 0.5) for step in (2000, 3000)])
    event_file(tmp_path / "a", 1700000900, [("loss", 1000, 4.0), ("by_tokens/loss", 4096, 4.0), ("loss", 1000, 2.0)])
    source = read_scores(tmp_path)
    assert rows(tmp_path) == {
        **{(run, "eval/arc", "acc"): [(1000, 0.25), (2000, 0.5), (3000, 0.5)] for run in ("a", "deep/b")},
        ("a", "run", "loss"): [(1000, 2.0)],
    }
    assert any("1 values were logged again at the same step" in one for one in source.notes)
    assert any("was evaluated more than once" in one for one in source.notes)
    assert len(read_scores(next(tmp_path.rglob("a/*tfevents*"))).scores)  # a file that is given by itself


def test_without_tensorboard_event_files_say_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "events.out.tfevents.1.host").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "tensorboard.backend.event_processing.event_file_loader", None)
    with pytest.raises(UserError, match=r"pip install 'e2lm\[tensorboard\]'"):
        read_scores(tmp_path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("details/m/details_arc_2025.parquet", "lighteval's items, which are not read"),
        ("task-000-arc-predictions.jsonl", "OLMES's items, which are not read"),
    ],
)
def test_what_is_not_read_is_named_alone_and_beside_what_is(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(UserError, match=said):
        read_scores(tmp_path)
    write(tmp_path / "results_2025-08-01T00-00-00.json", {"results": {"arc": {"acc,none": 0.25}}})
    assert any("are not read" in one for one in read_scores(tmp_path).notes)


# -- what is not used is said --------------------------------------------------------------------------------------


def test_what_the_file_of_all_says_beyond_the_files_of_tasks_is_read(tmp_path: Path) -> None:
    write(tmp_path / "task-000-arc_challenge-metrics.json", olmes(1000))
    lines = [olmes(1000), olmes(1000, "piqa"), {"task_name": "boolq"}]
    (tmp_path / "metrics-all.jsonl").write_text("\n".join(map(json.dumps, lines)))
    source = read_scores(tmp_path)
    assert {task for _, task, _ in rows(tmp_path)} == {"arc_challenge", "piqa"}
    assert [one.what for one in source.left_out] == ["1 lines"]


def test_one_prompt_that_was_evaluated_twice_in_one_file_is_said(tmp_path: Path) -> None:
    entry = {"task_name": "wic", "prompt_name": "one"}
    data = {"results": [{**entry, "acc": 0.5}, {**entry, "acc_norm": 0.6}, {**entry, "acc": 0.7}]}
    write(tmp_path / "tiny_lm-eval_global_step10_2023-01-01.json", data)
    source = read_scores(tmp_path)
    assert sorted(source.scores.frame["value"]) == [0.6, 0.7]
    assert [one.what.partition(" of ")[0] for one in source.left_out] == ["1 values"]


def test_bloom_without_steps_beside_files_with_steps_is_said(tmp_path: Path) -> None:
    (tmp_path / "bloom" / "bslmevalfiles").mkdir(parents=True)
    write(tmp_path / "bloom" / "bslmevalfiles" / "tiny_lm-eval_global_step10_1.json", old_lm_eval(10))
    write(tmp_path / "bloom" / "bslmeval.json", {"results": {"arc+one": {"2023-01-01": {"acc": 0.1}}}})
    source = read_scores(tmp_path)
    assert [one.what for one in source.left_out] == ["1 entries"]
    assert len(source.notes) == 1


def test_a_loss_that_is_no_number_stays_in_the_history_and_an_entry_without_step_is_said(tmp_path: Path) -> None:
    history = [{"step": 1.0, "loss": 3.0}, {"step": 2, "loss": math.nan}, {"loss": 1.0}]
    state = write(tmp_path / "trainer_state.json", {"global_step": 2, "log_history": history})
    source = read_scores(state)
    assert source.scores.frame["step"].tolist() == [1, 2]
    assert source.scores.frame["value"].isna().tolist() == [False, True]
    assert [one.what for one in source.left_out] == ["entry 2 of log_history"]


@pytest.mark.parametrize("name", ["results.json", "tiny_eval_results_2.json", "trainer_state.json"])
def test_a_file_that_is_named_as_results_and_holds_none_is_said(tmp_path: Path, name: str) -> None:
    write(tmp_path / "a" / "results_2026-01-01.json", old_lm_eval(10))
    write(tmp_path / name, {"something": "else"})
    source = read_scores(tmp_path)
    assert [one.what for one in source.left_out] == [name]
    assert any(name in line and "what is in it is not" in line for line in source.notes)


def test_results_of_others_beside_a_table_are_said_and_those_of_e2lm_eval_are_not(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text("series,step,task,metric,value\na,1,t,m,1\n", encoding="utf-8")
    write(tmp_path / "results_2026-01-01.json", {**old_lm_eval(10), "e2lm": {"series": "a", "step": 1}})
    assert read_scores(tmp_path).notes == ()
    write(tmp_path / "b" / "results_2026-01-01.json", old_lm_eval(10))
    source = read_scores(tmp_path)
    assert [one.file for one in source.left_out] == [str(tmp_path / "b" / "results_2026-01-01.json")]
    assert len(source.scores) == 1
    assert source.notes[0].endswith("scores.csv is read alone; not read are b/results_2026-01-01.json")


def test_a_metric_without_a_filter_among_those_with_one_is_said(tmp_path: Path) -> None:
    data = {"results": {"arc": {"acc,none": 0.5, "brier": 0.2}, "group": "N/A"}, "versions": {}}
    source = read_scores(write(tmp_path / "results_2026-01-01.json", data))
    assert [(one.what, one.why[:21]) for one in source.left_out] == [
        ("arc brier", "has no filter, as oth"),
        ("group", "no object of metrics"),
    ]


@pytest.mark.parametrize("share", [0.2, 0.9])
@pytest.mark.parametrize("more", [0, 70_000])
def test_the_half_of_a_file_of_any_name_is_said(tmp_path: Path, share: float, more: int) -> None:
    write(tmp_path / "tiny-step1000.json", old_lm_eval(1000))
    text = json.dumps({"results": {"arc": {"acc": 0.5, "note": "x" * more}}, "versions": {"arc": 0}, "config": {}})
    (tmp_path / "tiny-step2000.json").write_text(text[: int(len(text) * share)])
    source = read_scores(tmp_path)
    assert source.scores.frame["step"].unique().tolist() == [1000]
    assert [one.what for one in source.left_out] == ["tiny-step2000.json"]


def test_links_that_are_not_followed_are_said(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "tiny-step2000.json", old_lm_eval(2000))
    write(tmp_path / "here" / "run" / "tiny-step1000.json", old_lm_eval(1000))
    (tmp_path / "here" / "other").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "here" / "latest").symlink_to(tmp_path / "here" / "run")
    (tmp_path / "here" / "gone.json").symlink_to(tmp_path / "nothing.json")
    source = read_scores(tmp_path / "here")
    assert source.scores.frame["step"].unique().tolist() == [1000]
    assert [(one.what, one.why) for one in source.left_out] == [
        ("gone.json", "a link to nothing"),
        ("other", "a link to another folder"),
    ]
    assert any(f"give {tmp_path / 'elsewhere'} by itself" in line for line in source.notes)


# -- runs of Weights & Biases ---------------------------------------------------------------------------------------

RUN = "wandb/offline-run-20250801_120000-ab12"
ROWS: list[dict[str, Any]] = [
    {"_step": 0, "train/global_step": 1000, "train/loss": 3.5, "eval/downstream/arc_acc": 0.25, "train/epoch": 0.1},
    {"_step": 1, "train/global_step": 2000, "train/loss": "NaN", "table": {"_type": "table-file"}},
    {"_step": 2, "train/loss": 2.5},
]


class Record:
    """Stands in for wandb's message: a row as JSON in place of protobuf."""

    def __init__(self, row: dict[str, Any]) -> None:
        items = [SimpleNamespace(nested_key=[], key=name, value_json=json.dumps(told)) for name, told in row.items()]
        self.history = SimpleNamespace(item=items)

    @classmethod
    def FromString(cls, data: bytes) -> Record:
        return cls(json.loads(data))

    def WhichOneof(self, _: str) -> str:
        return "history"


def write_history(path: Path, rows: list[dict[str, Any]]) -> None:
    """In LevelDB's log format: pieces that end where a block of 32 KiB ends."""
    data = b":W&B\xe1\xbe\x00"
    for row in rows:
        left, is_first = json.dumps(row).encode(), True
        while left or is_first:
            if (room := 32768 - len(data) % 32768) < 7:
                data += bytes(room)
                continue
            piece, left = left[: room - 7], left[room - 7 :]
            kind = {(True, True): 1, (True, False): 2, (False, False): 3, (False, True): 4}[is_first, not left]
            data += bytes(4) + len(piece).to_bytes(2, "little") + bytes([kind]) + piece
            is_first = False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@pytest.fixture
def wandb_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("wandb", "wandb.proto", "wandb.proto.wandb_internal_pb2"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(Record=Record))


def test_the_history_of_a_wandb_run_is_read_at_the_steps_of_the_trainer(tmp_path: Path, wandb_is_there: None) -> None:
    history = tmp_path / RUN / "run-ab12.wandb"
    write_history(history, [{**ROWS[0], "note": "x" * 70_000}, *ROWS[1:]])
    write(tmp_path / RUN / "files" / "wandb-summary.json", ROWS[1])
    source = read_scores(tmp_path)
    assert [(row.series, row.task, row.metric, row.step) for row in source.scores.rows()] == [
        ("ab12", "arc", "acc", 1000),
        ("ab12", "train", "loss", 1000),
        ("ab12", "train", "loss", 2000),
    ]
    assert math.isnan(source.scores.frame["value"].iloc[-1])
    assert [one.why for one in source.left_out] == ["the history beside it is read", "no train/global_step"]
    history.write_bytes(history.read_bytes()[:-3])
    source = read_scores(tmp_path)
    assert len(source.scores) == 3
    assert any("ends in the middle of a record" in line for line in source.notes)
    write_history(history, ROWS)
    history.write_bytes(history.read_bytes() + bytes(20))
    with pytest.raises(UserError, match="damaged at byte"):
        read_scores(history)


def test_without_wandb_the_summary_is_read_and_the_history_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb.proto.wandb_internal_pb2", None)
    write_history(tmp_path / RUN / "run-ab12.wandb", ROWS)
    with pytest.raises(UserError, match="pip install wandb, or export the chart or the history as CSV"):
        read_scores(tmp_path)
    summary = {"_step": 40, "_wandb": {"runtime": 1}, "eval": {"arc_acc": 0.5}, "loss": 2.0}
    write(tmp_path / RUN / "files" / "wandb-summary.json", summary)
    source = read_scores(tmp_path)
    assert {(row.series, row.step, row.value) for row in source.scores.rows()} == {("ab12", 40, 0.5), ("ab12", 40, 2.0)}
    assert any("have the last values of a run only" in line for line in source.notes)
    assert [one.what for one in source.left_out] == ["run-ab12.wandb"]


def test_a_history_as_csv_has_the_steps_of_the_trainer_too(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text(
        "_step,train/global_step,train/loss\n0,500,3.5\n1,1000,3.0\n", encoding="utf-8"
    )
    assert read_scores(tmp_path / "history.csv").scores.frame["step"].tolist() == [500, 1000]
