"""What every test may use: one thread, no network, the fixtures of the testing kit, and the real data where it is."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

# Before torch, tokenizers and the Hub are imported: they read these once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest
from hypothesis import settings

# A busy machine makes any example slow now and then; that is no failure.
settings.register_profile("house", deadline=None)
settings.load_profile("house")

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"

#: Its fixtures are ours too: a tiny model, a tiny series, a plugin manager without plugins.
pytest_plugins = ("e2lm_testing.pytest_plugin",)


@pytest.fixture(scope="session", autouse=True)
def _one_torch_thread() -> None:
    """The variables above come too late where a plugin of pytest has imported torch already."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the repository; the test is skipped where there is none."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no ../shared/data beside the repository")
    return SHARED_DATA


@pytest.fixture(scope="session")
def tiny_llama(tiny_model: Path) -> Path:
    """A checkpoint folder: Llama of 2 layers, width 64, float32, vocabulary 512, context 256, with its tokenizer."""
    return tiny_model


@dataclass(frozen=True)
class AuthorEnvironment:
    """A virtual environment of its own that also sees all of the running one, for what strangers install."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def run(self, *command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run in the folder of the environment, where no code of ours lies."""
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

    def e2lm(self, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        return self.run(self.python, "-m", "e2lm", *arguments, **variables)

    def lm_eval(self, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """The stock console script as it is, run by the Python of this environment."""
        return self.run(self.python, Path(sysconfig.get_path("scripts")) / "lm_eval", *arguments, **variables)

    def install(self, *packages: Path) -> None:
        done = self.run(
            *(self.python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"),
            *("--no-deps", "--no-build-isolation", "--no-index", *packages),
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def author_environment(tmp_path_factory: pytest.TempPathFactory) -> AuthorEnvironment:
    """Where packages of strangers are installed, beside e2lm and everything it needs."""
    environment = AuthorEnvironment(tmp_path_factory.mktemp("author") / "venv")
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(environment.folder)],
        check=True,
        capture_output=True,
        timeout=120,
    )
    (site_packages,) = (environment.folder / "lib").glob("python3.*/site-packages")
    # addsitedir, not the bare path: the .pth files there make editable installs and the start-up shim work.
    lines = (f"import site; site.addsitedir({sysconfig.get_path(kind)!r})\n" for kind in ("purelib", "platlib"))
    (site_packages / "running_environment.pth").write_text("".join(sorted(set(lines))), encoding="utf-8")
    return environment
