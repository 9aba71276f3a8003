"""The demo's way: every step is one of e2lm's verbs, as one would call it from Python."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import e2lm
from e2lm.atomic_file import write_text
from e2lm.child_process import end_with_parent
from e2lm.errors import E2LMError
from e2lm_demo.corpus import PACKAGES, write_docstring_corpus
from e2lm_demo.recipes import CLEAN, RECIPES, RecipeFiles, write_recipes

GROUP = "e2lm_early"
#: The metrics compared in the report: what everybody reports, and two continuous ones from the same log-likelihoods.
METRICS = ("acc", "norm_correct_prob", "gold_minus_mean_wrong_per_byte")
#: The official total and the corrected score.
SIGNAL_SCORES = ("e2lmc_sq", "signal_quality")
#: Small batches: much is learned from few tokens.
BATCH = {"batch_size": 8, "sequence_length": 128, "vocabulary": 1024}
#: Models trained, and checkpoints evaluated, at once.
JOBS = 2


@dataclass(frozen=True, slots=True)
class DemoSize:
    """How much the demo does: recipes at the first of ``sizes``, the clean one at the others too."""

    sizes: tuple[str, ...]
    tokens: int
    checkpoints: int
    items: int
    packages: tuple[str, ...]

    @property
    def runs(self) -> tuple[DemoRun, ...]:
        """Every model that is trained: two seeds of the clean recipe, one of each other, and the larger clean ones."""
        first, *larger = self.sizes
        clean = [DemoRun(f"{CLEAN}-{number}", CLEAN, first) for number in (1, 2)]
        others = [DemoRun(recipe.name, recipe.name, first) for recipe in RECIPES if recipe.name != CLEAN]
        return (*clean, *others, *(DemoRun(f"{CLEAN}-{size}", CLEAN, size) for size in larger))


@dataclass(frozen=True, slots=True)
class DemoRun:
    """One model that is trained."""

    name: str
    recipe: str
    size: str


#: From about 0.05M to 0.4M non-embedding parameters; a few minutes on two cores.
WHOLE = DemoSize(("50k", "140k", "360k"), 327_680, 10, 200, PACKAGES)
#: The same with less of everything: for tests, and for a first look. 100 items are the fewest a task may have.
QUICK = DemoSize(("50k", "140k", "360k"), 131_072, 8, 100, ("numpy", "scipy"))


@dataclass(frozen=True, slots=True)
class DemoFolders:
    """Where everything of one demo is."""

    root: Path

    @property
    def corpus(self) -> Path:
        """Text that was collected."""
        return self.root / "corpus"

    @property
    def recipes(self) -> Path:
        """What is made of it, and how each model is trained."""
        return self.root / "recipes"

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
    """Corpus, recipes, training, benchmark, evaluation, signal; gives what ``e2lm signal --json`` prints."""
    files = list(corpus)
    if not files:
        with clock.step("corpus", "collecting prose from the docstrings of installed packages"):
            files = [written.path for written in write_docstring_corpus(folders.corpus, size.packages)]
    with clock.step("recipes", "writing the recipes: clean, a third of the words out of order, two thirds"):
        recipes = write_recipes(files, folders.recipes, size.tokens, seed)
    with clock.step("train", f"training {len(size.runs)} models on {size.tokens:,} tokens each"):
        series = _train(folders, size, recipes, seed)
    with clock.step("tasks", "making a benchmark from text that was held out"):
        e2lm.build_tasks(recipes.held_out, folders.tasks, items=size.items, seed=seed)
    with clock.step("eval", f"evaluating {(size.checkpoints + 1) * len(size.runs)} checkpoints"):
        e2lm.evaluate(series, GROUP, out=folders.results, include_path=folders.tasks, quiet=True, jobs=JOBS)
    with clock.step("signal", "scoring the early signal"):
        return e2lm.signal(folders.results, metrics=list(METRICS), scores=list(SIGNAL_SCORES)).json()


def _train(folders: DemoFolders, size: DemoSize, recipes: RecipeFiles, seed: int) -> list[Path]:
    """The series of every run, in order; the largest is begun first."""
    configs = {
        run.name: _config(folders, size, run, recipes.text[run.recipe], seed * len(size.runs) + number)
        for number, run in enumerate(size.runs)
    }
    waiting = [str(configs[run.name]) for run in reversed(size.runs)]
    spawned = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(JOBS, mp_context=spawned, initializer=_begin) as pool:
            list(pool.map(_trained, waiting))
    except BrokenProcessPool as error:
        raise E2LMError("a training process ended without a word, perhaps for want of memory; start again") from error
    return [folders.runs / run.name / run.size for run in size.runs]


def _config(folders: DemoFolders, size: DemoSize, run: DemoRun, text: Path, seed: int) -> Path:
    """What ``e2lm train CONFIG`` trains ``run`` from; nothing is held out, as the text has lost that already."""
    fields = {
        "corpus": [str(text)],
        "out": str(folders.runs / run.name),
        "label": run.name,
        "sizes": [run.size],
        "tokens": size.tokens,
        "held_out": 0.0,
        "seed": seed % 2**31,
        "checkpoint_grid": "tokens",
        "checkpoint_tokens": size.tokens // size.checkpoints,
        **BATCH,
    }
    path = folders.recipes / f"{run.name}.yml"
    write_text(path, json.dumps(fields, indent=1) + "\n")
    return path


def _begin() -> None:
    """One thread for each model: as many are trained at once as there are cores, and sums are added in one order."""
    os.environ["OMP_NUM_THREADS"] = "1"
    end_with_parent()


def _trained(config: str) -> None:
    e2lm.train(config, json=True)
