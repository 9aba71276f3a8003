"""The demo's way: every step is one of e2lm's public commands, run in this process."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from e2lm.command_line import run_command
from e2lm.errors import E2LMError
from e2lm_demo.corpus import write_docstring_corpus

GROUP = "e2lm_early"
#: The metrics compared in the report: what everybody reports, and two continuous ones from the same log-likelihoods.
METRICS = ("acc", "norm_correct_prob", "gold_minus_mean_wrong_per_byte")
#: The official total and the corrected score.
SIGNAL_SCORES = ("e2lmc_sq", "signal_quality")


@dataclass(frozen=True, slots=True)
class DemoSize:
    """How much the demo does."""

    sizes: str
    tokens: int
    checkpoints: int
    items: int


#: Four sizes from about 0.05M to 0.8M non-embedding parameters; a few minutes on two cores.
WHOLE = DemoSize("50k,140k,360k,780k", 1_000_000, 10, 200)
#: The same with less of everything: for tests, and for a first look. 100 items are the fewest a task may have.
QUICK = DemoSize("50k,140k,360k,780k", 60_000, 8, 100)


@dataclass(frozen=True, slots=True)
class DemoFolders:
    """Where everything of one demo is."""

    root: Path

    @property
    def corpus(self) -> Path:
        """Text that was collected."""
        return self.root / "corpus"

    @property
    def runs(self) -> Path:
        """Trained models."""
        return self.root / "runs"

    @property
    def tasks(self) -> Path:
        """The benchmark made from held-out text."""
        return self.root / "tasks"

    @property
    def results(self) -> Path:
        """Scores and samples."""
        return self.root / "results"


@dataclass(slots=True)
class StepClock:
    """Prints what is being done and remembers how long it took."""

    quiet: bool
    wall_s: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str, sentence: str) -> Iterator[None]:
        """Time the block under ``name``."""
        if not self.quiet:
            print(f"  {sentence} ...", flush=True)
        started = time.monotonic()
        yield
        self.wall_s[name] = time.monotonic() - started


def run_steps(folders: DemoFolders, size: DemoSize, corpus: Sequence[Path], seed: int, clock: StepClock) -> Any:
    """Corpus, training, benchmark, evaluation, signal; gives what ``e2lm signal --json`` printed."""
    files = list(corpus)
    if not files:
        with clock.step("corpus", "collecting prose from the docstrings of installed packages"):
            files = [written.path for written in write_docstring_corpus(folders.corpus)]
    with clock.step("train", f"training {size.sizes.count(',') + 1} models on {size.tokens:,} tokens each"):
        _command(_training_arguments(folders, size, files, seed))
    with clock.step("tasks", "making a benchmark from text that was held out"):
        _command(_task_arguments(folders, size, seed))
    with clock.step("eval", f"evaluating {(size.checkpoints + 1) * (size.sizes.count(',') + 1)} checkpoints"):
        _command(
            [
                *("eval", str(folders.runs), "--tasks", GROUP, "--include-path", str(folders.tasks)),
                *("--out", str(folders.results), "--quiet", "--jobs", "2"),
            ]
        )
    with clock.step("signal", "scoring the early signal"):
        wanted = ["--metrics", *METRICS, "--scores", *SIGNAL_SCORES]
        return json.loads(_command(["signal", str(folders.results), "--json", *wanted]))


def _training_arguments(folders: DemoFolders, size: DemoSize, files: list[Path], seed: int) -> list[str]:
    return [
        "train",
        "--corpus",
        *map(str, files),
        *("--out", str(folders.runs), "--sizes", size.sizes, "--tokens", str(size.tokens)),
        *("--checkpoints", str(size.checkpoints), "--seed", str(seed), "--schedule", "constant", "--jobs", "2"),
        "--json",
    ]


def _task_arguments(folders: DemoFolders, size: DemoSize, seed: int) -> list[str]:
    return [
        *("tasks", "build", "--corpus", str(folders.runs / "held_out.txt"), "--out", str(folders.tasks)),
        *("--items", str(size.items), "--seed", str(seed), "--json"),
    ]


def _command(arguments: list[str]) -> str:
    """What the command printed; its progress goes to standard error as always."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        code = run_command(arguments)
    if code != 0:
        raise E2LMError(f"e2lm {arguments[0]} ended with exit code {code}: {printed.getvalue().strip()[:500]}")
    return printed.getvalue()
