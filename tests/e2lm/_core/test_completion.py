"""What the shell is told at the press of Tab, through the process that it starts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from e2lm._core.completion import SHELLS


def offered(line: str, folder: Path) -> list[str]:
    told = folder / "told"
    asked = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "COMP_LINE": line, "COMP_POINT": str(len(line))}
    environment = {**os.environ, **asked, "COMP_TYPE": "9", "_ARGCOMPLETE_STDOUT_FILENAME": str(told)}
    done = subprocess.run(
        [sys.executable, "-m", "e2lm"], cwd=folder, env=environment, capture_output=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return [one.strip() for one in told.read_text(encoding="utf-8").split("\n")]


def test_commands_actions_options_and_files_are_offered(tmp_path: Path) -> None:
    (tmp_path / "distances.csv").touch()
    assert {"eval", "signal", "predict", "plugins", "completion"} <= set(offered("e2lm ", tmp_path))
    assert offered("e2lm signal di", tmp_path) == ["distil", "distances.csv"]  # an action, or what is to be scored
    assert offered("e2lm predict backt", tmp_path) == ["backtest"]
    assert offered("e2lm predict backtest --js", tmp_path) == ["--json"]
    assert offered("e2lm completion f", tmp_path) == ["fish"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_takes_what_is_printed_and_asks_as_it_says(tmp_path: Path) -> None:
    (tmp_path / "e2lm").write_text(f'#!/bin/sh\nexec {sys.executable} -m e2lm "$@"\n', encoding="utf-8")
    (tmp_path / "e2lm").chmod(0o755)
    script = (
        'eval "$(e2lm completion bash)"\nCOMP_LINE="e2lm pred" COMP_POINT=9 COMP_TYPE=9\n'
        'complete -p e2lm\n_python_argcomplete e2lm\necho "${COMPREPLY[@]}"\n'
    )
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout.split()[-1] == "predict", done.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_is_given_a_script_of_its_own(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    from e2lm.command_line import main

    assert main(["completion", shell]) == 0
    assert "e2lm" in capsys.readouterr().out
