"""The stock ``lm_eval`` command after ``pip install`` alone: in this environment and in a fresh one with a wheel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest
from lm_eval.api import task

from tests.e2lm_adapters.conftest import ROOT

TASK = "e2lm_early_copying"
#: lm-eval 0.5 takes no metrics from a task.
TAKES_METRICS = task.ConfigurableTask is not task.Task
KNOWN = (
    "import lm_eval.models, lm_eval.tasks\n"
    "from lm_eval.api.registry import model_registry\n"
    "from lm_eval.tasks import TaskManager\n"
    "manager = TaskManager(include_defaults=False)\n"
    "print('e2lm-hf' in model_registry, 'hf' in model_registry, TaskManager.__init__.__module__)\n"
)


def finished(command: list[object], **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT.parent,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", **variables},
    )


def run_arguments(model: Path, out: Path) -> list[object]:
    options = ["--tasks", TASK, "--limit", 3, "--device", "cpu", "--output_path", out, "--log_samples"]
    return ["run", "--model", "e2lm-hf", "--model_args", f"pretrained={model},dtype=float32", *options]


def assert_evaluated(done: subprocess.CompletedProcess[str], out: Path) -> None:
    assert done.returncode == 0, done.stderr[-2000:]
    (results,) = out.rglob("results_*.json")
    data = json.loads(results.read_text(encoding="utf-8"))
    assert {"acc,none", *(["margin,none"] if TAKES_METRICS else [])} <= set(data["results"][TASK])
    assert data["n-samples"][TASK]["effective"] == 3
    (samples,) = out.rglob(f"samples_{TASK}_*.jsonl")
    assert len(samples.read_text(encoding="utf-8").splitlines()) == 3


@pytest.mark.slow
def test_the_stock_command_knows_our_model_and_our_tasks(tiny_llama: Path, tmp_path: Path) -> None:
    done = finished([sys.executable, "-m", "lm_eval", *run_arguments(tiny_llama, tmp_path)])
    assert_evaluated(done, tmp_path)


@pytest.mark.slow
def test_our_command_runs_the_stock_one_without_the_shim(tiny_llama: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "e2lm", "lm-eval", *run_arguments(tiny_llama, tmp_path)]
    assert_evaluated(finished(command, E2LM_AUTOLOAD="0"), tmp_path)


@pytest.mark.parametrize(("switch", "known"), [("1", "True"), ("0", "False")])
def test_the_switch_turns_the_shim_off(switch: str, known: str) -> None:
    done = finished([sys.executable, "-c", KNOWN], E2LM_AUTOLOAD=switch)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[:2] == [known, "True"]


def test_starting_python_imports_next_to_nothing() -> None:
    code = "import sys; print(sorted(name for name in sys.modules if name.startswith(('e2lm', 'lm_eval', 'torch'))))"
    done = finished([sys.executable, "-c", code], E2LM_AUTOLOAD="1")
    assert done.stdout.strip() == "['e2lm_adapters', 'e2lm_adapters.autoload']"


def test_a_broken_plugin_costs_the_stock_command_nothing(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import e2lm_adapters.autoload as shim\n"
        "def broken(module): raise RuntimeError('on purpose')\n"
        "shim.AFTER_IMPORT.update(dict.fromkeys(shim.AFTER_IMPORT, broken))\n",
        encoding="utf-8",
    )
    code = "import lm_eval.models; from lm_eval.api.registry import get_model; print(get_model('dummy').__name__)"
    done = finished([sys.executable, "-c", code], PYTHONPATH=str(tmp_path))
    assert done.stdout.strip() == "DummyLM", done.stderr[-2000:]
    assert "e2lm could not add to lm-eval" in done.stderr


def test_scikit_learn_is_left_out_until_somebody_needs_it() -> None:
    code = (
        "import sys, e2lm_adapters.scoring.hf\n"
        "from transformers.generation import candidate_generator as generator\n"
        "before = 'sklearn' in sys.modules\n"
        "print(before, generator.is_sklearn_available(), len(generator.roc_curve([0, 1], [0.2, 0.8])))\n"
    )
    done = finished([sys.executable, "-c", code])
    assert done.stdout.split() == ["False", "True", "3"], done.stderr[-2000:]


# -- a fresh environment ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    code = (
        "import sys; from hatchling.build import build_wheel; "
        "sys.stdout = sys.stderr; sys.__stdout__.write(build_wheel(sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", code, folder], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / done.stdout.strip()


def test_the_wheel_holds_shim_tasks_and_types(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {"e2lm_autoload.pth", "e2lm_autoload.start", "e2lm_tasks/early/e2lm_early.yaml"} <= names
    assert not [name for name in names if name.startswith(("lm_eval/", "tests/", "plugins/"))]


@pytest.mark.slow
def test_a_wheel_in_a_fresh_environment_adds_to_lm_eval_and_leaves_without_a_trace(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    # lm-eval and torch come from this environment, which may borrow them too; the .pth files in there are not read.
    packages = [sysconfig.get_path("purelib"), *(folder for folder in sys.path if folder.endswith("site-packages"))]
    (site / "borrowed.pth").write_text("\n".join(dict.fromkeys(packages)) + "\n", encoding="utf-8")
    before = {path.name for path in site.iterdir()}
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    assert finished([python, "-c", KNOWN]).stdout.split()[:2] == ["False", "True"]
    installed = finished([*pip, "install", "--quiet", "--no-deps", "--no-index", "--ignore-installed", wheel])
    assert installed.returncode == 0, installed.stderr
    assert finished([python, "-c", KNOWN]).stdout.split()[:2] == ["True", "True"]
    where = finished([python, "-c", "import e2lm_adapters; print(e2lm_adapters.__file__)"]).stdout
    assert Path(where.strip()).is_relative_to(site)
    removed = finished([*pip, "uninstall", "--quiet", "--yes", "e2lm"])
    assert removed.returncode == 0, removed.stderr
    assert {path.name for path in site.iterdir()} == before
    assert finished([python, "-c", KNOWN]).stdout.split()[:2] == ["False", "True"]
