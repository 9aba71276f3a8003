"""What ``e2lm eval`` says to mistakes: one line, exit code 2, nothing written."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_eval.utils import simple_parse_args_string

from e2lm.errors import UserError
from e2lm_adapters.eval.command import _model_arguments
from tests.e2lm_adapters.conftest import STEPS, Run, no_model_is_built


def assert_refused(code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], *parts: str) -> None:
    """Exit code 2, one line that holds ``parts``, nothing written."""
    captured = capsys.readouterr()
    assert code == 2
    (line,) = [line for line in captured.err.splitlines() if line.startswith("e2lm: error:")]
    assert captured.err.strip().splitlines()[-1] == line
    assert "Traceback" not in captured.err
    for part in parts:
        assert part in line
    assert not (tmp_path / "out").exists()


def empty_series(run: Path) -> None:
    for step in STEPS:
        shutil.rmtree(run / f"checkpoint-{step}")
    (run / "series.json").unlink()


def missing_run(run: Path) -> None:
    shutil.rmtree(run)


@pytest.mark.parametrize(
    ("damage", "parts"),
    [
        (missing_run, ("tiny-run", "no such folder")),
        (empty_series, ("tiny-run", "empty", "checkpoint-<step>")),
    ],
)
def test_a_damaged_run_is_one_line_and_nothing_is_written(
    damage: Callable[[Path], None],
    parts: tuple[str, ...],
    run_folder: Path,
    tmp_path: Path,
    evaluate: Run,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damage(run_folder)
    assert_refused(evaluate(run_folder, "--quiet"), tmp_path, capsys, *parts)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--limit", 0), ("--limit", "0", "1 or more")),
        (("--limit", -3), ("--limit", "-3")),
        (("--limit", "many"), ("--limit", "many")),
        (("--metrics", "margni"), ("margni", "'margin'")),
        (("--metrics", ","), ("--metrics", "no name")),
        (("--model", "e2lm-fh"), ("--model", "e2lm-fh", "e2lm-hf")),
        (("--include-path", "nowhere"), ("nowhere", "no such folder")),
        (("--model-args", "pretrained=x"), ("pretrained", "leave it out")),
        (("--nonsense",), ("--nonsense",)),
    ],
)
def test_a_wrong_option_is_one_line_and_nothing_is_written(
    options: tuple[object, ...],
    parts: tuple[str, ...],
    tiny_series: Path,
    tmp_path: Path,
    evaluate: Run,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert_refused(evaluate(tiny_series, "--quiet", *options), tmp_path, capsys, *parts)


@pytest.mark.slow
def test_an_unknown_task_is_named_with_the_nearest_ones(
    tiny_series: Path, tmp_path: Path, evaluate: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    code = evaluate(tiny_series, "--quiet", tasks="smal")
    assert_refused(code, tmp_path, capsys, "unknown task 'smal'", "'small'")


def test_two_runs_of_one_name_are_refused(
    tiny_series: Path, run_folder: Path, tmp_path: Path, evaluate: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(evaluate(tiny_series, run_folder, "--quiet"), tmp_path, capsys, "two series", "'tiny-run'")


def test_a_dry_run_says_what_it_would_do_and_writes_nothing(
    tiny_series: Path,
    tmp_path: Path,
    evaluate: Run,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    no_model_is_built(monkeypatch)
    assert evaluate(tiny_series, "--dry-run", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["series"][0]["checkpoints"] == list(STEPS)
    assert plan["tasks"] == ["small"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", ["8k", "32k"])
def test_a_full_disk_is_one_line_of_the_machine_and_the_same_command_goes_on(
    size: str, tiny_series: Path, tmp_path: Path, evaluate: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount")
    try:
        assert evaluate(tiny_series, "--quiet", "--limit", 8, out=disk / "out") == 3
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("e2lm: error:")]
        assert str(disk) in line
        assert "the same command goes on" in line
        subprocess.run(["mount", "-o", "remount,size=9m", disk], check=True)
        assert evaluate(tiny_series, "--quiet", "--limit", 8, out=disk / "out") == 0
        assert not list(disk.rglob(".partial*"))
    finally:
        subprocess.run(["umount", disk], check=True)


@settings(max_examples=300)
@given(
    st.text(alphabet="ab=,'\" .+-e1inftrueNoF", max_size=24)
    | st.sampled_from(["a=1,b=none", "x='1'", "y=1_0", "z=\u00b2"])
)
def test_model_arguments_are_read_as_lm_eval_reads_them(text: str) -> None:
    def read(parse: Callable[[str], object]) -> str:
        try:
            return repr(parse(text))
        except UserError:
            return "refused"

    expected = read(simple_parse_args_string)
    assert read(_model_arguments) == expected
