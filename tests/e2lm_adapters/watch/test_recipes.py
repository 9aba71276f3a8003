"""The recipes of docs/watch.md can be read by what they are for, and their commands are commands."""

from __future__ import annotations

import configparser
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2lm_adapters.watch.command import WATCH_COMMAND
from e2lm_adapters.watch.rule import FORMS, parsed

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "watch.md").read_text(encoding="utf-8")


def block(page: str, language: str) -> str:
    return [text for name, text in BLOCK.findall(page) if name == language][-1]


def arguments(words: list[str]) -> Any:
    assert Path(words[0]).name == "e2lm"
    assert words[1] == "watch"
    return WATCH_COMMAND.parser().parse_args(words[2:])


def test_the_systemd_unit_runs_a_watch_that_is_started_again(page: str) -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(block(page, "ini"))
    assert set(unit.sections()) == {"Unit", "Service", "Install"}
    assert unit["Service"]["Restart"] == "on-failure"
    command = unit["Service"]["ExecStart"].replace("$$", "$")
    assert arguments(shlex.split(command)).notify == ["${HOOK}"]


def test_the_slurm_script_is_bash_and_passes_the_exit_code_on(page: str) -> None:
    script = block(page, "bash")
    subprocess.run(["bash", "-n"], input=script, text=True, check=True, timeout=60)
    assert script.startswith("#!/bin/bash\n#SBATCH --")
    (line,) = (line for line in script.splitlines() if line.startswith("e2lm watch"))
    assert arguments(shlex.split(line.removesuffix(" &"))).exit_on_stop
    stand_in = f'e2lm() {{ return 10; }}\nscancel() {{ echo "cancel $1"; }}\nRUN=r TRAINING_JOB=7\n{script}'
    done = subprocess.run(["bash"], input=stand_in, text=True, capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (10, "cancel 7\n")


def test_the_kubernetes_job_ends_with_a_stop(page: str) -> None:
    job = yaml.safe_load(block(page, "yaml"))
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    given = arguments(container["command"])
    assert given.exit_on_stop
    assert {f"${{{one['name']}}}" for one in container["env"]} == set(given.notify)
    (rule,) = job["spec"]["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"]["values"] == [2, 10]


def test_every_rule_of_the_table_is_one(page: str) -> None:
    rows = page.split("## Rules\n")[1].split("\n\n")[1].splitlines()[2:]
    rules = [re.findall(r"`([^`]+)`", row)[0] for row in rows]
    kinds = {parsed(rule, "alert").kind for rule in rules}
    assert kinds == {parsed(rule, "alert").kind for rule in FORMS}
