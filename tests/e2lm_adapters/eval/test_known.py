"""What was changed is scored again and nothing else: any edit ends where a new folder does, byte for byte."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from e2lm.results import read_scores
from e2lm.run_record import RunRecord
from e2lm.samples import read_samples
from e2lm.weights import SINGLE_FILE
from e2lm_adapters.eval.known import model_parts
from tests.e2lm_adapters.conftest import ROOT, STEPS, Run, no_model_is_built, write_task
from tests.e2lm_adapters.eval.test_series import evaluated_steps

JUDGED = """\
import helped_by

FACTOR = 1.0


def process_results(doc, results):
    # by hand
    return {"mine": FACTOR * results[doc["gold"]][0] + helped_by.offset(doc)}
"""
HELPER = "def offset(doc):\n    return 0.0\n"
OWN_METRIC = """\
process_results: !function judge.process_results
metric_list:
  - {metric: mine, aggregation: mean, higher_is_better: true}
"""
#: Scored together, tasks can change each other's last bits.
OPTIONS = ("--quiet", "--limit", 6, "--tasks-per-unit", 1)

Edit = Callable[[Path, Path], object]


def replaced(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def with_json(file: Path, change: Callable[[Any], object]) -> None:
    data = json.loads(file.read_text(encoding="utf-8"))
    change(data)
    file.write_text(json.dumps(data), encoding="utf-8")


def the_judge(tasks: Path, run: Path) -> None:
    replaced(tasks / "judge.py", "FACTOR = 1.0", "FACTOR = 1000.0")


def what_the_judge_imports(tasks: Path, run: Path) -> None:
    replaced(tasks / "helped_by.py", "return 0.0", 'return float(doc["weight"])')


def a_field_that_only_the_judge_sees(tasks: Path, run: Path) -> None:
    what_the_judge_imports(tasks, run)
    replaced(tasks / "small.jsonl", '"weight": 1', '"weight": 5')


def an_item(tasks: Path, run: Path) -> None:
    write_task(tasks, "stock", seed=77)


def a_prompt(tasks: Path, run: Path) -> None:
    replaced(tasks / "stock.yaml", 'doc_to_text: "{{context}}"', 'doc_to_text: "Q: {{context}}"')


def a_metric(tasks: Path, run: Path) -> None:
    replaced(tasks / "stock.yaml", "metadata: {version: 1.0}", "metadata: {version: 2.0}")


def the_tokenizer(tasks: Path, run: Path) -> None:
    def merges_less(data: Any) -> None:
        del data["model"]["merges"][-40:]

    for step in STEPS:
        with_json(run / f"checkpoint-{step}" / "tokenizer.json", merges_less)


def the_configuration(tasks: Path, run: Path) -> None:
    for step in STEPS:
        file = run / f"checkpoint-{step}" / "config.json"
        with_json(file, lambda data: data["rope_parameters"].update(rope_theta=50.0))


def the_weights_with_size_and_time_kept(tasks: Path, run: Path) -> None:
    file = run / "checkpoint-20" / SINGLE_FILE
    before = file.stat()
    changed = {name: tensor * 1.5 for name, tensor in load_file(file).items()}
    save_file(changed, run / "other", metadata={"format": "pt"})
    assert (run / "other").stat().st_size == before.st_size
    file.write_bytes((run / "other").read_bytes())
    (run / "other").unlink()
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


EDITS: list[Edit] = [
    the_judge, what_the_judge_imports, a_field_that_only_the_judge_sees, an_item, a_prompt, a_metric, the_tokenizer,
    the_configuration, the_weights_with_size_and_time_kept,
]  # fmt: skip


def times(tasks: Path, run: Path) -> None:
    for file in (*tasks.iterdir(), *run.rglob("*.*")):
        os.utime(file)


def comments(tasks: Path, run: Path) -> None:
    replaced(tasks / "judge.py", "    # by hand\n", "\n    # by hand, see the paper\n")


def copies(tasks: Path, run: Path) -> None:
    for folder in (tasks, run):
        shutil.copytree(folder, folder.with_name("copy"))
        shutil.rmtree(folder)
        folder.with_name("copy").rename(folder)


def what_the_trainer_writes(tasks: Path, run: Path) -> None:
    (run / "checkpoint-20" / "trainer_state.json").write_text("{}", encoding="utf-8")


def another_task(tasks: Path, run: Path) -> None:
    write_task(tasks, "third", seed=3)


def how_text_is_sampled(tasks: Path, run: Path) -> None:
    (run / "checkpoint-20" / "generation_config.json").write_text('{"temperature": 0.5}', encoding="utf-8")


NO_EDITS: list[Edit] = [times, comments, copies, what_the_trainer_writes, another_task, how_text_is_sampled]


@pytest.fixture
def judged(task_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``stock`` is an ordinary task; ``small`` is judged by a function beside it, which imports another file."""
    write_task(task_folder, "stock", seed=6)
    (task_folder / "judge.py").write_text(JUDGED, encoding="utf-8")
    (task_folder / "helped_by.py").write_text(HELPER, encoding="utf-8")
    text = (task_folder / "small.yaml").read_text(encoding="utf-8").partition("metric_list")[0]
    (task_folder / "small.yaml").write_text(text + OWN_METRIC, encoding="utf-8")
    lines = [json.loads(line) for line in (task_folder / "small.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = (json.dumps({**line, "weight": 1}) + "\n" for line in lines)
    (task_folder / "small.jsonl").write_text("".join(rows), encoding="utf-8")
    monkeypatch.syspath_prepend(str(task_folder))
    as_a_new_process_would()
    return task_folder


def as_a_new_process_would() -> None:
    """Modules of the tests' tasks are read again."""
    for name in [name for name in sys.modules if name == "helped_by" or name.endswith("/judge")]:
        del sys.modules[name]


@pytest.mark.parametrize("edit", EDITS)
def test_after_an_edit_the_same_command_gives_what_a_new_folder_gives(
    edit: Edit, run_folder: Path, judged: Path, tmp_path: Path, evaluate: Run
) -> None:
    assert evaluate(run_folder, *OPTIONS, tasks="small,stock") == 0
    before = (tmp_path / "out" / "scores.csv").read_bytes()
    kept = {file: file.read_bytes() for file in (tmp_path / "out" / "units").rglob("*.*")}
    edit(judged, run_folder)
    as_a_new_process_would()
    assert evaluate(run_folder, *OPTIONS, tasks="small,stock") == 0
    after = (tmp_path / "out" / "scores.csv").read_bytes()
    as_a_new_process_would()
    assert evaluate(run_folder, *OPTIONS, tasks="small,stock", out=tmp_path / "new") == 0
    assert after == (tmp_path / "new" / "scores.csv").read_bytes()
    assert after != before or edit is a_metric
    assert {file: file.read_bytes() for file in kept} == kept
    for one, new in zip(read_samples(tmp_path / "out"), read_samples(tmp_path / "new"), strict=True):
        np.testing.assert_array_equal(one.choices.loglik_IC, new.choices.loglik_IC)


def test_a_model_out_of_a_package_is_known_by_the_version_of_that_package_and_of_no_other() -> None:
    from importlib.metadata import version

    import jinja2

    parts = model_parts(jinja2.Environment)
    assert parts["model package jinja2"].lower() == f"jinja2 {version('jinja2')}"
    assert [name for name in parts if "markupsafe" in name] == []


@pytest.mark.parametrize("edit", NO_EDITS)
def test_what_changes_no_number_is_not_scored_again(
    edit: Edit, run_folder: Path, judged: Path, tmp_path: Path, evaluate: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert evaluate(run_folder, *OPTIONS, tasks="small,stock") == 0
    before = (tmp_path / "out" / "scores.csv").read_bytes()
    edit(judged, run_folder)
    as_a_new_process_would()
    no_model_is_built(monkeypatch)
    assert evaluate(run_folder, *OPTIONS, tasks="small,stock") == 0
    assert (tmp_path / "out" / "scores.csv").read_bytes() == before


def test_what_was_superseded_is_kept_and_named_with_what_differs(
    run_folder: Path, judged: Path, tmp_path: Path, evaluate: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(run_folder, "--quiet", "--limit", 4) == 0
    the_judge(judged, run_folder)
    (run_folder / "checkpoint-20" / "merges.txt").write_text("a b\n", encoding="utf-8")
    capsys.readouterr()
    assert evaluate(run_folder, "--quiet", "--limit", 4) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if "kept and not used" in line]
    assert told == [
        "note: tiny-run, steps 0, 10, 30: 3 older units of small: kept and not used, since these differ: judge.py",
        "note: tiny-run, steps 20: 1 older unit of small: kept and not used, since these differ: judge.py, merges.txt",
    ]
    assert [str(one) for one in RunRecord.from_json_file(tmp_path / "out" / "run.json").superseded] == told
    # Another time nothing is scored again, and only the record says it.
    assert evaluate(run_folder, "--quiet", "--limit", 4) == 0
    assert "kept and not used" not in capsys.readouterr().err
    assert len(RunRecord.from_json_file(tmp_path / "out" / "run.json").superseded) == 2


def test_units_of_an_earlier_release_are_kept_with_their_samples_and_not_used(
    tiny_series: Path,
    tmp_path: Path,
    evaluate: Run,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert evaluate(tiny_series, "--quiet", "--limit", 5) == 0
    out = tmp_path / "out"
    samples = [(out / "samples/tiny-run/small" / f"checkpoint-{step}.parquet").read_bytes() for step in STEPS]
    as_before(out)
    scored = evaluated_steps(monkeypatch)
    capsys.readouterr()
    assert evaluate(tiny_series, "--quiet") == 0
    assert [step for step, _ in scored] == list(STEPS)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note:")]
    assert "4 older units of small" in line
    assert "an earlier release did not record" in line
    units = list((out / "units" / "tiny-run").glob("*.json"))
    there = {file.stem: file.with_suffix(".parquet").read_bytes() for file in units}
    assert len(there) == 2 * len(STEPS)
    assert set(samples) <= set(there.values())


def as_before(out: Path) -> None:
    """Make of ``out`` what an earlier release left: units that know less, Samples under ``samples`` alone."""
    from e2lm_adapters.eval.store import Unit

    for file in (out / "units" / "tiny-run").glob("*.parquet"):
        file.unlink()
    for file in (out / "units" / "tiny-run").glob("*.json"):
        data = json.loads(file.read_text(encoding="utf-8"))
        del data["parts"], data["limit"]
        data["adapter"] = data["adapter"].replace("e2lm-hf 2 ", "e2lm-hf 1 ")
        file.unlink()
        unit = Unit.from_data(data, str(file))
        file.with_name(f"{unit.step}-{unit.key}.json").write_text(json.dumps(data), encoding="utf-8")
    (out / "seen.json").unlink()


def test_another_limit_and_back_again_uses_what_is_there(
    tiny_series: Path,
    tmp_path: Path,
    evaluate: Run,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tables = {}
    for limit in (6, 9):
        assert evaluate(tiny_series, "--quiet", "--limit", limit) == 0
        tables[limit] = (tmp_path / "out" / "scores.csv").read_bytes()
    assert "note:" not in capsys.readouterr().err  # nothing is superseded by another limit
    no_model_is_built(monkeypatch)
    assert evaluate(tiny_series, "--quiet", "--limit", 6) == 0
    assert (tmp_path / "out" / "scores.csv").read_bytes() == tables[6]
    assert {len(one) for one in read_samples(tmp_path / "out")} == {6}


def test_steps_that_hold_the_same_weights_are_named(
    run_folder: Path, tmp_path: Path, evaluate: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in (10, 30):
        shutil.copy(run_folder / "checkpoint-0" / SINGLE_FILE, run_folder / f"checkpoint-{step}" / SINGLE_FILE)
    for _ in range(2):
        assert evaluate(run_folder, "--json", "--limit", 4) == 0
        told = capsys.readouterr()
        (line,) = [line for line in told.err.splitlines() if line.startswith("note:")]
        assert line.startswith("note: tiny-run, steps 0, 10, 30: the weights are the same, byte for byte")
        (note,) = json.loads(told.out)["notes"]
        assert note["what"] == "tiny-run, steps 0, 10, 30"
    assert read_scores(tmp_path / "out").notes == (line,)


# -- a command that has nothing to do -----------------------------------------------------------------------------

WATCHED = """\
import sys
from e2lm.command_line import main
code = main(sys.argv[1:])
print(sorted({"torch", "lm_eval", "transformers", "datasets"} & set(sys.modules)))
sys.exit(code)
"""


def test_a_finished_command_needs_neither_torch_nor_lm_eval(run_folder: Path, judged: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WATCHED, "eval", str(run_folder), "--tasks", "small,stock", "--limit", "4"]
    command += ["--out", str(tmp_path / "out"), "--include-path", str(judged), "--device", "cpu", "--quiet"]

    def loaded() -> str:
        environment = {**os.environ, "PYTHONPATH": f"{judged}:{os.environ.get('PYTHONPATH', '')}"}
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, env=environment)
        return done.stdout.splitlines()[-1]

    time.sleep(2.1)  # younger files are read again
    everything = "['datasets', 'lm_eval', 'torch', 'transformers']"
    assert loaded() == everything
    before = (tmp_path / "out" / "scores.csv").read_bytes()
    assert loaded() == "[]"
    os.utime(judged / "helped_by.py")
    assert loaded() == everything
    assert (tmp_path / "out" / "scores.csv").read_bytes() == before
    the_judge(judged, run_folder)
    assert loaded() == everything
    assert (tmp_path / "out" / "scores.csv").read_bytes() != before
