"""The workflow that docs/github-actions.md shows is valid, and its steps do what they say."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.house.test_shown_commands import parsed

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
TASK = "e2lm_early_copying"


@pytest.fixture(scope="module")
def blocks(repository: Path) -> dict[str, str]:
    page = (repository / "docs" / "github-actions.md").read_text(encoding="utf-8")
    return dict(BLOCK.findall(page))


@pytest.fixture(scope="module")
def steps(blocks: dict[str, str]) -> list[dict[str, Any]]:
    workflow = yaml.safe_load(blocks["yaml"])
    # YAML 1.1 reads the key "on" as true.
    assert set(workflow) == {"name", True, "permissions", "concurrency", "env", "jobs"}
    assert set(workflow[True]) == {"schedule", "workflow_dispatch"}
    (job,) = workflow["jobs"].values()
    found: list[dict[str, Any]] = job["steps"]
    return found


def e2lm_commands(script: str) -> list[str]:
    lines = [line.strip() for line in script.splitlines()]
    return [
        re.sub(r"\s*>+.*$", "", line).replace('"$', "").replace('"', "") for line in lines if line.startswith("e2lm ")
    ]


def test_every_step_either_uses_an_action_of_a_version_or_runs_something(steps: list[dict[str, Any]]) -> None:
    for step in steps:
        assert ("uses" in step) != ("run" in step), step
        assert re.fullmatch(r"actions/[\w/-]+@v\d+", step.get("uses", "actions/x@v1"))
    assert [step["name"] for step in steps if step.get("if") == "always()"] == [
        "Keep what was scored, also of a run that was stopped",
        "Upload the report",
    ]


def test_every_command_is_one_that_e2lm_takes(steps: list[dict[str, Any]]) -> None:
    commands = [one for step in steps for one in e2lm_commands(step.get("run", ""))]
    assert [command.split()[1] for command in commands] == ["eval", "signal", "signal"]
    for command in commands:
        parsed(command)


def report(folder: Path, name: str, low: float | None, value: float | None, high: float | None) -> Path:
    row = {"series": "run", "task": "arc", "metric": "acc"}
    score = {"value": value, "low": low, "high": high, "p": 0.01, "reason": None}
    path = folder / name
    path.write_text(json.dumps({"rows": [{**row, "scores": {"signal_quality": score}}]}), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("now", "code", "said"),
    [
        ((0.8, 0.9, 0.95), 0, "1 curves, 0 worse"),
        ((0.5, 0.7, 0.81), 0, "1 curves, 0 worse"),
        ((0.5, 0.6, 0.7), 1, "* run arc acc: signal_quality 0.600, was 0.900 (from 0.800)"),
        ((None, None, None), 1, "* run arc acc: signal_quality was 0.900, now there is none"),
    ],
)
def test_the_check_fails_where_intervals_say_that_the_signal_is_worse(
    now: tuple[float | None, float | None, float | None], code: int, said: str, blocks: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "check.py").write_text(blocks["python"], encoding="utf-8")
    arguments = [report(tmp_path, "now.json", *now), report(tmp_path, "before.json", 0.8, 0.9, 0.95)]
    done = subprocess.run(
        [sys.executable, tmp_path / "check.py", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert said in done.stdout


@pytest.mark.slow
def test_the_steps_run_one_after_the_other_on_a_real_run(
    steps: list[dict[str, Any]], blocks: dict[str, str], tiny_series: Path, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / ".github").mkdir()
    (tmp_path / ".github" / "check_signal.py").write_text(blocks["python"], encoding="utf-8")
    programs = os.pathsep.join((str(Path(sys.executable).parent), sysconfig.get_path("scripts"), os.environ["PATH"]))
    environment = {**os.environ, "PATH": programs, "RUN": str(tiny_series), "TASKS": TASK, "CUDA_VISIBLE_DEVICES": ""}
    environment["GITHUB_STEP_SUMMARY"] = str(tmp_path / "summary.md")
    scripts = {step["name"]: step["run"] for step in steps if "run" in step}
    del scripts["Install"]

    def ran(name: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-eo", "pipefail", "-c", scripts[name]],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    first, second, check = scripts
    for name in (first, second):
        done = ran(name)
        assert done.returncode == 0, done.stderr
    assert {one.name for one in (tmp_path / "report").iterdir()} == {"signal.json", "curves.html", "scores.csv"}
    done = ran(check)
    assert done.returncode == 1
    assert "no .github/signal-baseline.json yet" in done.stderr
    baseline = tmp_path / ".github" / "signal-baseline.json"
    baseline.write_text((tmp_path / "report" / "signal.json").read_text(encoding="utf-8"), encoding="utf-8")
    assert ran(check).returncode == 0
    assert "0 worse than the baseline" in (tmp_path / "summary.md").read_text(encoding="utf-8")
