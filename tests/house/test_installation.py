"""``pip install`` alone makes the stock ``lm_eval`` know us, and ``pip uninstall`` leaves it as it was.

Each environment is a new venv that sees every package of the running one but e2lm, through a folder of links.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.house.release_check import RELATIVE, metadata_faults, with_absolute_links

pytestmark = pytest.mark.slow

TASK = "e2lm_early_cloze"
LIMIT = 8
SOURCE_ROOTS = ("plugins", "adapters", "leaderboard", ".")

#: Prints whether lm-eval knows our model and our tasks, as the stock command would.
ASK = f"""
import json
import lm_eval.models
from lm_eval.api.registry import model_registry
from lm_eval.tasks import TaskManager
tasks = TaskManager()
print(json.dumps({{
    "hf": "hf" in model_registry,
    "arc": "arc_easy" in tasks.task_index,
    "model": "e2lm-hf" in model_registry,
    "task": {TASK!r} in tasks.task_index,
    "group": "e2lm_early" in tasks.all_groups,
}}))
"""
STOCK = {"hf": True, "arc": True}
KNOWN = STOCK | {"model": True, "task": True, "group": True}
UNKNOWN = STOCK | {"model": False, "task": False, "group": False}


@dataclass(frozen=True)
class Environment:
    """A venv, and a folder to work in that holds no code of ours."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def site_packages(self) -> Path:
        (found,) = (self.folder / "lib").glob("python3.*/site-packages")
        return found

    def run(self, *command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("E2LM_", "PYTHON"))}
        return subprocess.run(
            [str(part) for part in command],
            check=False,
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={**environment, **variables},
            timeout=300,
        )

    def pip(self, *arguments: str | Path) -> None:
        done = self.run(self.python, "-m", "pip", "--disable-pip-version-check", *arguments, PIP_NO_INDEX="1")
        assert done.returncode == 0, done.stdout + done.stderr

    def lm_eval(self, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """The console script of lm-eval as it is, run by this environment's Python."""
        return self.run(self.python, Path(sysconfig.get_path("scripts")) / "lm_eval", *arguments, **variables)

    def knows(self, **variables: str) -> dict[str, bool]:
        done = self.run(self.python, "-c", ASK, **variables)
        assert done.returncode == 0, done.stderr
        answer: dict[str, bool] = json.loads(done.stdout.splitlines()[-1])
        return answer

    def files(self) -> set[str]:
        paths = self.site_packages.rglob("*")
        return {str(path.relative_to(self.site_packages)) for path in paths if "__pycache__" not in path.parts}


@pytest.fixture(scope="module")
def source(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a clone would hold: every file that git does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    folder = tmp_path_factory.mktemp("source")
    for name in filter(None, listed.stdout.split("\0")):
        if (repository / name).is_file() and not name.startswith("tests/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(repository / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, source]
    built = subprocess.run(list(map(str, command)), check=False, capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, built.stdout + built.stderr
    (found,) = out.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def links(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Links to everything that is installed beside us, but nothing of ours.

    The name matters: dill, which hashes for datasets, takes a module for installed by "site-packages" in its path.
    """
    folder = tmp_path_factory.mktemp("links") / "site-packages"
    folder.mkdir()
    for site_packages in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(site_packages).iterdir():
            if "e2lm" not in entry.name.lower() and entry.name != "__pycache__":
                (folder / entry.name).symlink_to(entry)
    return folder


@pytest.fixture(scope="module")
def new_environment(links: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Environment]:
    def make() -> Environment:
        environment = Environment(tmp_path_factory.mktemp("environment") / "venv")
        command = [sys.executable, "-m", "venv", "--without-pip", str(environment.folder)]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        (environment.site_packages / "links.pth").write_text(f"{links}\n", encoding="utf-8")
        return environment

    return make


@pytest.fixture(scope="module")
def with_wheel(new_environment: Callable[[], Environment], wheel: Path) -> Environment:
    environment = new_environment()
    environment.pip("install", "--no-deps", wheel)
    return environment


@pytest.fixture(scope="module")
def with_editable(new_environment: Callable[[], Environment], source: Path) -> Environment:
    environment = new_environment()
    environment.pip("install", "--no-deps", "--no-build-isolation", "--editable", source)
    return environment


def run_arguments(model: Path, out: Path) -> list[str]:
    options = {
        "--model": "e2lm-hf",
        "--model_args": f"pretrained={model},dtype=float32",
        "--tasks": TASK,
        "--limit": str(LIMIT),
        "--device": "cpu",
        "--output_path": str(out),
    }
    return ["run", *(part for pair in options.items() for part in pair), "--log_samples"]


def results_in(out: Path) -> dict[str, Any]:
    """The results of our task; checks that its samples were logged too."""
    (results,) = out.rglob("results_*.json")
    (samples,) = out.rglob(f"samples_{TASK}_*.jsonl")
    assert len(samples.read_text(encoding="utf-8").splitlines()) == LIMIT
    data = json.loads(results.read_text(encoding="utf-8"))
    found: dict[str, Any] = data["results"][TASK]
    return found


def test_the_wheel_holds_every_file_of_our_packages_and_nothing_else(wheel: Path, source: Path) -> None:
    expected = {
        str(file.relative_to(source / root))
        for root in SOURCE_ROOTS
        for package in (source / root).glob("e2lm*/__init__.py")
        for file in package.parent.rglob("*")
        if file.is_file()
    } | {"e2lm_autoload.pth", "e2lm_autoload.start"}
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name and not name.endswith("/")}
    assert held == expected
    assert {"e2lm_tasks/early/cloze.jsonl", "e2lm_tasks/early/_choice_template", "e2lm/py.typed"} <= held


def test_the_release_check_names_what_an_index_would_miss_and_mends_the_links(wheel: Path, repository: Path) -> None:
    faults = metadata_faults(wheel)
    assert "metadata: no Project-URL" in faults
    assert any("docs/tutorial.md leads nowhere" in fault for fault in faults)
    mended = with_absolute_links((repository / "README.md").read_text(encoding="utf-8"), "https://example.org/a/b")
    assert "(https://example.org/a/b/blob/main/docs/tutorial.md)" in mended
    assert "(https://example.org/a/b/raw/main/docs/demo.svg)" in mended
    assert not RELATIVE.search(mended)


def test_after_installing_the_wheel_the_stock_list_shows_our_tasks(with_wheel: Environment) -> None:
    listed = with_wheel.lm_eval("ls", "tasks")
    assert listed.returncode == 0, listed.stderr
    assert TASK in listed.stdout
    assert "arc_easy" in listed.stdout


def test_the_stock_run_and_ours_without_the_shim_give_the_same_results(
    with_wheel: Environment, tiny_llama: Path, tmp_path: Path
) -> None:
    stock = with_wheel.lm_eval(*run_arguments(tiny_llama, tmp_path / "stock"))
    assert stock.returncode == 0, stock.stderr
    ours = with_wheel.run(
        with_wheel.folder / "bin" / "e2lm",
        "lm-eval",
        *run_arguments(tiny_llama, tmp_path / "ours"),
        E2LM_AUTOLOAD="0",
    )
    assert ours.returncode == 0, ours.stderr
    found = results_in(tmp_path / "stock")
    assert 0.0 <= found["acc,none"] <= 1.0
    assert results_in(tmp_path / "ours") == found


@pytest.mark.parametrize("kind", ["with_wheel", "with_editable"])
def test_the_switch_makes_our_model_and_tasks_unknown(kind: str, request: pytest.FixtureRequest) -> None:
    environment: Environment = request.getfixturevalue(kind)
    assert environment.knows(E2LM_AUTOLOAD="0") == UNKNOWN
    assert environment.knows() == KNOWN


def test_with_the_switch_a_run_with_our_model_is_refused(
    with_wheel: Environment, tiny_llama: Path, tmp_path: Path
) -> None:
    refused = with_wheel.lm_eval(*run_arguments(tiny_llama, tmp_path), E2LM_AUTOLOAD="0")
    assert refused.returncode != 0
    assert list(tmp_path.rglob("results_*.json")) == []


def test_an_editable_install_runs_the_same(with_editable: Environment, tiny_llama: Path, tmp_path: Path) -> None:
    done = with_editable.lm_eval(*run_arguments(tiny_llama, tmp_path))
    assert done.returncode == 0, done.stderr
    assert results_in(tmp_path)["acc,none"] >= 0.0


def test_starting_python_prints_nothing_and_imports_nothing_heavy(with_wheel: Environment) -> None:
    code = "import sys; print(sorted(n for n in sys.modules if n.startswith(('e2lm', 'lm_eval', 'pluggy', 'torch'))))"
    started = with_wheel.run(with_wheel.python, "-c", code)
    assert (started.returncode, started.stderr) == (0, "")
    assert started.stdout.strip() == "['e2lm_adapters', 'e2lm_adapters.autoload']"


def test_pytest_finds_the_fixtures_and_has_nothing_to_warn_of(with_wheel: Environment, tmp_path: Path) -> None:
    test = tmp_path / "test_mine.py"
    test.write_text("def test_it(plugin_manager):\n    assert plugin_manager.records == []\n", encoding="utf-8")
    done = with_wheel.run(with_wheel.python, "-m", "pytest", "-q", "-W", "error", test)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("editable", [False, True])
def test_uninstalling_leaves_no_file_and_lm_eval_as_it_was(
    editable: bool, new_environment: Callable[[], Environment], wheel: Path, source: Path
) -> None:
    environment = new_environment()
    before = environment.files()
    if editable:
        environment.pip("install", "--no-deps", "--no-build-isolation", "--editable", source)
    else:
        environment.pip("install", "--no-deps", wheel)
    assert environment.files() > before
    environment.pip("uninstall", "--yes", "e2lm")
    assert environment.files() == before
    assert not (environment.folder / "bin" / "e2lm").exists()
    started = environment.run(environment.python, "-c", "print('started')")
    assert (started.returncode, started.stdout, started.stderr) == (0, "started\n", "")
    assert environment.knows() == UNKNOWN
