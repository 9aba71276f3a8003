"""``e2lm train plan``: what a curriculum would show, before anything is trained.

Of a made-up corpus, of a file of scores, or of a corpus that is scored here. No model is trained for any of them.

Shape suffixes: X examples, S steps, D tenths of the examples by difficulty.
"""

from __future__ import annotations

import json
import shutil
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2lm.atomic_file import whole_folder, write_json
from e2lm.curriculum import Curriculum, Plan, Segment, TrainingBudget
from e2lm.errors import UserError, nearest_names, one_line
from e2lm.plugin_call import printing_aside
from e2lm.plugin_manager import plugin_manager
from e2lm.run_record import RECORD_FILE, RunRecord
from e2lm_curriculum.config.comparison import COMPARISON_SECTION
from e2lm_curriculum.config.training import TrainingConfig, config_data
from e2lm_curriculum.corpus.tokenizer import TAGS_FILE, TOKENIZER_CONFIG_FILE, TOKENIZER_FILE, TOKENS_FILE
from e2lm_curriculum.difficulty.scores import difficulty_of
from e2lm_curriculum.follow.megatron import MEGATRON_FOLDER, write_megatron
from e2lm_curriculum.follow.olmo_core import OLMO_FOLDER, write_olmo_core
from e2lm_curriculum.follow.plan import FollowedPlan, steps_set
from e2lm_curriculum.plan.arms import reversed_scores
from e2lm_curriculum.plan.builder import chosen_curriculum
from e2lm_curriculum.plan.file import PLAN_RECORD_FILE, PlanRecord, read_array, write_plan
from e2lm_curriculum.plan.ranking import PARTS, exposure_by_part
from e2lm_curriculum.plan.setting import CurriculumSetting
from e2lm_curriculum.train.ladder import corpus_hashes
from e2lm_curriculum.train.prepared import (
    DESCRIPTION_FILE,
    PREPARED_FOLDER,
    SCORES_FILE,
    PreparedCorpus,
    corpus_curriculum,
    order_generator,
    planned_order,
    prepare,
)
from e2lm_curriculum.train.segments import is_online

#: A made-up sample n has difficulty n: all that matters is that no two are alike.
SYNTHETIC = "synthetic ranking: sample n is the n-th easiest"

#: Of a plan without a corpus.
MADE_UP_SAMPLES = MADE_UP_STEPS = 20_000
BATCH = 8
SEQUENCE_LENGTH = 128

#: Fields that decide which examples there are and how they score.
OF_SCORES = ("held_out", "vocabulary", "sequence_length", "seed", "text_field", "source_field", "score_field", "family")

#: Of a file that writes a curriculum out.
SETTING_SUFFIXES = (".yml", ".yaml", ".json")

#: What a plan of a corpus carries, so that another trainer reads the same examples.
OF_CORPUS = (TOKENS_FILE, TAGS_FILE, TOKENIZER_FILE, TOKENIZER_CONFIG_FILE)


@dataclass(frozen=True, slots=True)
class _Planned:
    """A plan and what it was made of; ``known_steps`` are those that are known before training, all but online."""

    plan: Plan
    curriculum: Curriculum
    scores_X: NDArray[Any]
    budget: TrainingBudget
    seed: int
    difficulty: str
    known_steps: int
    corpus: Path | None = None
    #: As it was asked for: what :func:`chosen_curriculum` takes.
    wanted: str | CurriculumSetting = ""
    arm: str | None = None

    @property
    def record(self) -> PlanRecord:
        """What goes beside the plan on disk."""
        budget = self.budget
        return PlanRecord(
            curriculum=self.wanted or self.curriculum.name,
            hash=self.plan.hash,
            steps=budget.steps,
            known_steps=self.known_steps,
            batch_size=budget.batch_size,
            sequence_length=budget.sequence_length,
            examples=len(self.scores_X),
            seed=self.seed,
            difficulty=self.difficulty,
            tokens=self.corpus is not None,
        )


def run_plan(arguments: Namespace) -> int:
    """Show what a curriculum would show, or list those that there are."""
    given = (arguments.curriculum, arguments.config, arguments.corpus, arguments.scores)
    if not any(given):
        return _list(arguments.json)
    if arguments.format and not arguments.out:
        raise UserError("--format: index files go beside the plan; give --out")
    with printing_aside(arguments.json), _planned(arguments) as found:
        report = _report(found)
        if arguments.show:
            report |= shown(found.plan, found.scores_X)
        if arguments.out and not arguments.dry_run:
            _write(found, Path(arguments.out), arguments.format or ())
    _print(report, arguments.json)
    return 0


def _report(found: _Planned) -> dict[str, Any]:
    steps = found.budget.steps
    report: dict[str, Any] = {"curriculum": found.curriculum.name, "hash": found.plan.hash, "steps": steps}
    report |= {"batch": found.budget.batch_size, "samples": len(found.scores_X), "seed": found.seed}
    report["difficulty"] = found.difficulty
    if found.known_steps < steps:
        report["planned_while_training"] = True
        report["known_steps"] = found.known_steps
        report["note"] = (
            f"planned while it trains: only the first {found.known_steps:,} of {steps:,} steps are known before; hash "
            "and exposure are theirs"
        )
    return report


@contextmanager
def _planned(arguments: Namespace) -> Iterator[_Planned]:
    if arguments.config is None and arguments.corpus is None:
        yield _without_corpus(arguments)
        return
    if arguments.samples is not None or arguments.scores is not None:
        option = "--samples" if arguments.scores is None else "--scores"
        raise UserError(f"{option}: examples and scores come from the corpus; leave it out, or leave out the corpus")
    config = _config(arguments)
    with TemporaryDirectory(prefix="e2lm-plan-") as place:
        corpus = _prepared_folder(config, Path(place))
        scores_X = np.asarray(read_array(corpus / SCORES_FILE))
        difficulty = difficulty_of(chosen_curriculum(config.data.curriculum))
        origin = "none" if difficulty is None else difficulty.name
        yield _of_config(config, scores_X, origin, corpus)


def _without_corpus(arguments: Namespace) -> _Planned:
    if arguments.curriculum is None:
        raise UserError(
            "--curriculum: --scores says how hard examples are, not what to do with that; name a curriculum"
        )
    seed, batch = arguments.seed or 0, arguments.batch or BATCH
    length = arguments.sequence_length or SEQUENCE_LENGTH
    if arguments.scores is None:
        scores_X, origin = np.arange(arguments.samples or MADE_UP_SAMPLES, dtype=np.float32), SYNTHETIC
        steps = arguments.steps or MADE_UP_STEPS
    else:
        if arguments.samples is not None:
            raise UserError("--samples: the file of --scores has one line for each example; leave it out")
        scores_X, origin = read_scores(arguments.scores), str(arguments.scores)
        steps = arguments.steps or max(1, len(scores_X) // batch)
    wanted = _wanted(arguments.curriculum)
    curriculum = chosen_curriculum(wanted)
    budget = TrainingBudget(steps, batch, length)
    if curriculum.next_segment is None:
        plan, known = curriculum.planned(scores_X, budget, order_generator(seed)), steps
    else:
        plan, known = _first_segment(curriculum, scores_X, budget, seed)
    return _Planned(plan, curriculum, scores_X, budget, seed, origin, known, wanted=wanted)


def _wanted(curriculum: str) -> str | CurriculumSetting:
    """A name, or what a YAML file says of a curriculum, by itself or as field ``curriculum`` of a configuration."""
    if Path(curriculum).suffix not in SETTING_SUFFIXES:
        return curriculum
    data = config_data(Path(curriculum))
    found = data.get("curriculum", data)
    return found if isinstance(found, str) else CurriculumSetting.from_data(found, curriculum)


def read_scores(file: Path) -> NDArray[np.float64]:
    """One number for each example, larger for harder: a ``.npy`` array, or text with a number on each line."""
    try:
        is_array = file.suffix == ".npy"
        scores_X = np.load(file) if is_array else np.loadtxt(file, dtype=np.float64, ndmin=1)
        scores_X = np.asarray(scores_X, dtype=np.float64)
    except FileNotFoundError as error:
        raise UserError(
            f"{file}: no such file; --scores takes a .npy array or a text with a number on each line"
        ) from error
    except (ValueError, EOFError) as error:
        raise UserError(f"{file}: {one_line(error)}; --scores takes one number for each example") from error
    if scores_X.ndim != 1 or not len(scores_X) or not np.isfinite(scores_X).all():
        raise UserError(f"{file}: found shape {scores_X.shape}; --scores takes one finite number for each example")
    return scores_X


# -- of a corpus ----------------------------------------------------------------------------------------------------


def _config(arguments: Namespace) -> TrainingConfig:
    """The configuration with the options over it."""
    data = config_data(Path(arguments.config)) if arguments.config else {"out": "."}
    data.pop(COMPARISON_SECTION, None)
    wanted = arguments.curriculum and _wanted(arguments.curriculum)
    if isinstance(wanted, CurriculumSetting):
        wanted = wanted.model_dump(mode="json")
    over = {"curriculum": wanted, "corpus": arguments.corpus, "order_seed": arguments.seed}
    over |= {"batch_size": arguments.batch, "sequence_length": arguments.sequence_length}
    over |= {name: getattr(arguments, name) for name in ("text_field", "source_field", "score_field")}
    data |= {name: value for name, value in over.items() if value is not None}
    config = TrainingConfig.from_data(data, arguments.config or "e2lm train plan")
    if arguments.steps is None:
        return config
    return config.changed(tokens=arguments.steps * config.data.batch_size * config.data.sequence_length)


def _prepared_folder(config: TrainingConfig, place: Path) -> Path:
    """Where the corpus lies prepared: in the folder of a run of this corpus, else made in ``place``."""
    out = config.run.out_folder
    if _is_of_run(config, out):
        return out / PREPARED_FOLDER
    prepare(config, place)
    return place / PREPARED_FOLDER


def _is_of_run(config: TrainingConfig, out: Path) -> bool:
    """Whether ``out`` holds the very examples and scores that ``config`` has."""
    prepared = PreparedCorpus.read(out)
    if prepared is None or not (out / RECORD_FILE).is_file():
        return False
    record = RunRecord.from_json_file(out / RECORD_FILE)
    now = config.effective()
    curriculum = chosen_curriculum(config.data.curriculum)
    difficulty = difficulty_of(curriculum)
    masks = "mask_token" in json.loads((out / PREPARED_FOLDER / TOKENIZER_CONFIG_FILE).read_text(encoding="utf-8"))
    return (
        masks == (curriculum.needs_masks or config.model.family == "roberta")
        and all(now.get(name) == record.config.get(name) for name in OF_SCORES)
        and prepared.difficulty == ("" if difficulty is None else difficulty.name)
        and corpus_hashes(config.data) == record.hashes
    )


def _of_config(config: TrainingConfig, scores_X: NDArray[Any], origin: str, corpus: Path) -> _Planned:
    data, seed = config.data, config.run.seed_of_order
    curriculum = corpus_curriculum(data, PreparedCorpus.from_json_file(corpus / DESCRIPTION_FILE).sources)
    if is_online(data):
        is_anti = data.arm == "anti" and curriculum.difficulty != "file"
        plan, known = _first_segment(curriculum, reversed_scores(scores_X) if is_anti else scores_X, data.budget, seed)
    else:
        plan, known = planned_order(data, curriculum, scores_X, seed), data.budget.steps
    return _Planned(plan, curriculum, scores_X, data.budget, seed, origin, known, corpus, data.curriculum, data.arm)


def _first_segment(
    curriculum: Curriculum, scores_X: NDArray[Any], budget: TrainingBudget, seed: int
) -> tuple[Plan, int]:
    """The part of an online plan that no model is asked for, and its steps: the same as in training."""
    _, steps = curriculum.spans(budget.steps)[0]

    def probe(_: NDArray[Any]) -> NDArray[np.float64]:
        raise UserError(f"--curriculum: {curriculum.name} asks the model before its first step; nothing is known of it")

    first = Segment(0, steps, scores_X, budget, order_generator(seed, 0), {}, probe)
    return Plan(curriculum.planned_segment(first)[0]), steps


# -- what is told, and written --------------------------------------------------------------------------------------


def shown(plan: Plan, scores_X: NDArray[Any]) -> dict[str, Any]:
    """How often each tenth of the examples, easiest first, is seen for once that uniform sampling would show it.

    Examples with equal scores share what they are shown alike.
    """
    counts_X = plan.exposure(len(scores_X))
    ratios_D = exposure_by_part(counts_X, scores_X)
    distinct = int((counts_X > 0).sum())
    found: dict[str, Any] = {
        "exposure_by_decile": [round(float(ratio), 4) for ratio in ratios_D],
        "distinct_examples": distinct,
        "forward_passes": plan.forward_passes,
    }
    if plan.objectives:
        found["objectives"] = [[span.objective, span.start_step, span.end_step] for span in plan.objectives]
    for name in ("sequence_lengths_S", "mask_rates_S", "vocabulary_shares_S"):
        array_S = getattr(plan, name)
        if array_S is not None:
            places = np.linspace(0, plan.steps - 1, PARTS + 1).round().astype(int)
            found[name.removesuffix("_S") + "_at_tenths"] = [round(float(one), 4) for one in array_S[places]]
    return found


#: Trainers that are handed index files, and what writes them.
FORMATS = {MEGATRON_FOLDER: write_megatron, OLMO_FOLDER: write_olmo_core}


def _write_formats(found: _Planned, folder: Path, formats: Sequence[str]) -> None:
    """Index files for each of ``formats`` in a folder of its name; only an order known beforehand fits into them."""
    if not formats:
        return
    for unknown in sorted(set(formats) - set(FORMATS)):
        raise UserError(f"--format: unknown trainer {unknown!r}. {nearest_names(unknown, FORMATS)}")
    if found.known_steps < found.budget.steps or (sets := steps_set(found.plan)):
        what = "is planned while it trains" if found.known_steps < found.budget.steps else f"sets {sets[0]} by step"
        raise UserError(f"--format: {found.curriculum.name} {what}; index files of {formats[0]} hold an order alone")
    followed = FollowedPlan.read(folder)
    for name in dict.fromkeys(formats):
        (folder / name).mkdir()
        FORMATS[name](followed, folder / name)


def _write(found: _Planned, out: Path, formats: Sequence[str]) -> None:
    if out.exists():
        raise UserError(f"--out: {out} is there already; give a new folder")
    if found.known_steps < found.budget.steps and found.arm == "anti":
        raise UserError("--out: arm: anti of an online curriculum turns what the model says over; only e2lm train does")
    with whole_folder(out) as folder:
        write_plan(found.plan, folder)
        np.save(folder / SCORES_FILE, found.scores_X)
        write_json(folder / PLAN_RECORD_FILE, found.record.model_dump(mode="json"))
        if found.corpus is not None:
            for file in (found.corpus / name for name in OF_CORPUS):
                if file.is_file():
                    shutil.copyfile(file, folder / file.name)
        _write_formats(found, folder, formats)


def _list(as_json: bool) -> int:
    found: list[Curriculum] = plugin_manager().all("e2lm_register_curricula", Curriculum, "curriculum")
    rows = [{"name": one.name, "description": one.description, "source": one.source} for one in found]
    if as_json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return 0
    for row in rows:
        print(f"{row['name']:<45} {row['description']}")
    return 0


def _print(report: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(report, indent=1))
        return
    for name, value in report.items():
        print(f"{name:<30} {value}")
