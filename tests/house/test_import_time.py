"""Starting is cheap: nothing heavy is imported before it is needed."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

#: The house promises less than this for ``import e2lm``.
LIMIT_MS = 150.0
RUNS = 5

HEAVY = ("torch", "transformers", "lm_eval", "scipy", "pandas", "datasets", "matplotlib", "pyarrow", "accelerate")

ROOT = Path(__file__).resolve().parents[2]
POINTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]


def fresh(code: str) -> str:
    """What ``code`` prints in a new interpreter without the start-up shim."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "E2LM_AUTOLOAD": "0"},
        timeout=120,
    )
    return done.stdout


def loaded_by(code: str, names: tuple[str, ...]) -> list[str]:
    """Which of ``names`` are imported after ``code``."""
    printed = fresh(f"import sys, json\n{code}\nprint(json.dumps([n for n in {names!r} if n in sys.modules]))")
    found: list[str] = json.loads(printed.splitlines()[-1])
    return found


def test_importing_e2lm_takes_less_than_150_ms() -> None:
    measured = "import time\nt = time.perf_counter()\nimport e2lm\nprint(1e3 * (time.perf_counter() - t))"
    assert statistics.median(float(fresh(measured)) for _ in range(RUNS)) < LIMIT_MS


def test_importing_e2lm_loads_neither_torch_nor_pydantic_nor_numpy() -> None:
    assert loaded_by("import e2lm", ("pydantic", "numpy", *HEAVY)) == []


def test_every_public_name_of_e2lm_can_be_reached() -> None:
    import e2lm

    assert {name: hasattr(e2lm, name) for name in e2lm.__all__} == dict.fromkeys(e2lm.__all__, True)
    assert set(e2lm.__all__) <= set(dir(e2lm))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = e2lm.Nothing


def test_the_help_of_e2lm_loads_no_torch() -> None:
    code = "from e2lm.command_line import main\nassert main(['--help']) == 0"
    assert loaded_by(code, ("torch", "transformers", "lm_eval", "matplotlib", "datasets")) == []


@pytest.mark.parametrize("line", [["--help"], ["--version"], ["merge", "strategies", "--json"]])
def test_a_command_that_needs_no_table_loads_no_pandas(line: list[str]) -> None:
    """It takes half a second of a CPU, and every command begins as these do."""
    code = f"from e2lm.command_line import main\nassert main({line!r}) == 0"
    assert loaded_by(code, ("pandas", "pyarrow", "scipy", "lm_eval", "matplotlib")) == []


@pytest.mark.parametrize("plugin", sorted(POINTS["e2lm"]))
def test_a_plugin_module_loads_nothing_heavy(plugin: str) -> None:
    assert loaded_by(f"import {POINTS['e2lm'][plugin]}", HEAVY) == []


def test_the_start_up_shim_loads_nothing_but_itself() -> None:
    code = (
        "import sys, json\nbefore = set(sys.modules)\nfrom e2lm_adapters.autoload import arm\narm()\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    assert json.loads(fresh(code)) == ["e2lm_adapters", "e2lm_adapters.autoload"]
