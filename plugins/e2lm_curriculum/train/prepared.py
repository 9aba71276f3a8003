"""The corpus as a run reads it, once for every size: tokens, difficulties, and the plan, which is checked here.

Shape suffixes: K tokens, X examples, S optimiser steps, B examples per step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Annotated, Any, Self, get_args

import numpy as np
from pydantic import Field

from e2lm.arrays import Values
from e2lm.atomic_file import whole_file, whole_folder, write_json
from e2lm.curriculum import Curriculum, Plan, TrainingText
from e2lm.errors import E2LMError, UserError, nearest_names
from e2lm.noun import Noun
from e2lm.words import ScriptCount, blank_words
from e2lm_curriculum.config.training import DataConfig, Family, TrainingConfig
from e2lm_curriculum.corpus.reader import END_OF_TEXT, LONGEST_LINE, Passage, TextSources, read_passages
from e2lm_curriculum.corpus.split import CorpusSplit, HeldOutShare, split_corpus
from e2lm_curriculum.corpus.tokenizer import (
    TOKENIZER_CONFIG_FILE,
    TOKENIZER_FILE,
    TOKENS_AT_ONCE,
    TOKENS_FILE,
    PackedCorpus,
    packed_corpus,
    trained_tokenizer,
    training_text,
    write_tokenizer,
)
from e2lm_curriculum.difficulty.scores import ScoredDifficulty, difficulty_of, scored
from e2lm_curriculum.plan.arms import CURRICULUM, arm_plan
from e2lm_curriculum.plan.builder import chosen_curriculum
from e2lm_curriculum.plan.file import write_plan
from e2lm_curriculum.plan.setting import CurriculumSetting, ObjectiveName

PREPARED_FOLDER = ".prepared"
DESCRIPTION_FILE = "prepared.json"
SCORES_FILE = "scores.npy"
HELD_OUT_FILE = "held_out.txt"

#: What to take where words cannot be counted.
WITHOUT_A_GRID = "take grid 'tokens' or 'log': BabyLM's counts words"

#: Keeps the stream of orders apart from any other use of the same seed.
ORDER_STREAM = 1


class PreparedCorpus(Noun):
    """What lies in the prepared folder. ``examples`` blocks of ``sequence_length`` tokens; hashes are SHA-256.

    ``scoring_cpu_s`` is what the difficulty cost when it was computed, None if the curriculum has none.
    """

    vocabulary: int
    tokens: int
    sequence_length: int
    examples: int
    training_characters: int
    held_out_characters: int
    data_hash: str
    tokenizer_hash: str
    plan_hash: str
    difficulty: str = ""
    scoring_cpu_s: float | None = None
    #: Words are what blanks separate, or a segmenter in a script without blanks; None where nothing tells them apart.
    training_words: int | None = None
    #: What each corpus file gave to the held-out text; none of a corpus prepared by an earlier release.
    held_out_shares: tuple[HeldOutShare, ...] = ()
    #: What records say where they are from, in the order in which sources are numbered; empty where files are.
    sources: tuple[str, ...] = ()
    #: What each file that is read again was when it was written; none of a corpus prepared by an earlier release.
    written: Annotated[dict[str, str], Field(default_factory=dict)]
    #: What was done to the text that whoever trains on it should know, a line each.
    notes: tuple[str, ...] = ()
    #: Forward and backward passes of a batch: more than steps where several objectives are trained at once.
    forward_passes: int | None = None

    @property
    def words_per_token(self) -> float | None:
        """Words of the training text over its tokens; None for a corpus prepared before words were counted."""
        return None if self.training_words is None else self.training_words / self.tokens

    @classmethod
    def read(cls, out: Path) -> Self | None:
        """The description in the prepared folder of ``out``, if it was finished."""
        file = out / PREPARED_FOLDER / DESCRIPTION_FILE
        return cls.from_json_file(file) if file.is_file() else None

    @classmethod
    def of(cls, out: Path) -> Self:
        """The same where it must be; a :class:`UserError` if it is gone."""
        found = cls.read(out)
        if found is None:
            raise UserError(f"{out}: the prepared corpus was deleted; train into another --out")
        return found


def prepare(config: TrainingConfig, place: Path | None = None) -> PreparedCorpus:
    """Split the corpus, train the tokenizer, pack the training documents, decide the order; write all whole or not.

    Into ``place``, else the folder of the run.
    """
    data, out = config.data, place or config.run.out_folder
    sources = TextSources(data.corpus_files, data.source_field)
    split = split_of(data, config.run.seed, sources)
    curriculum = chosen_curriculum(data.curriculum)
    with whole_folder(out / PREPARED_FOLDER) as folder:
        masks = curriculum.needs_masks or config.model.family == "roberta"
        text = _CountedText(split)
        tokenizer = trained_tokenizer((one.joint + one.text for one in text.training()), data.vocabulary, masks)
        if config.run.checkpoint_grid == "babylm":
            text.scripts.require_words("checkpoint_grid", WITHOUT_A_GRID)
        write_tokenizer(tokenizer, folder, data.sequence_length)
        packed = packed_corpus(tokenizer, split.training(), folder)
        examples = _examples(data, packed, tokenizer, sources.stems)
        data_hash = _tokens_hash(folder / TOKENS_FILE)
        with open(folder / TOKENIZER_FILE, "rb") as handle:
            tokenizer_hash = file_digest(handle, "sha256").hexdigest()
        scores = curriculum_scores(curriculum, examples, data_hash + tokenizer_hash)
        np.save(folder / SCORES_FILE, scores.scores_X)
        named = sources.stems if data.source_field else ()
        curriculum = corpus_curriculum(data, named)
        plan = planned_order(data, curriculum, scores.scores_X, config.run.seed_of_order)
        check_plan(plan, curriculum, config.model.family, tags=packed.tags_K is not None)
        write_plan(plan, folder)
        prepared = PreparedCorpus(
            vocabulary=examples.vocabulary,
            tokens=len(packed.tokens_K),
            sequence_length=data.sequence_length,
            examples=len(examples.blocks_XT),
            **text.sizes,
            data_hash=data_hash,
            tokenizer_hash=tokenizer_hash,
            plan_hash=plan.hash,
            difficulty=scores.name,
            scoring_cpu_s=scores.cpu_s if scores.name else None,
            forward_passes=plan.forward_passes,
            held_out_shares=split.shares,
            sources=named,
            notes=_notes(sources.names if data.source_field else data.corpus, split, text.marks_inside),
        )
        _write_held_out(split, out / HELD_OUT_FILE)
        prepared = prepared.model_copy(update={"written": {name: _content(out, folder, name) for name in CHECKED}})
        write_json(folder / DESCRIPTION_FILE, prepared.model_dump(mode="json"))
    return prepared


#: What is taken as it lies, by every run of the corpus: half of one would do without a word. Arrays know their lengths.
CHECKED = (TOKENIZER_FILE, TOKENIZER_CONFIG_FILE, HELD_OUT_FILE)


def _content(out: Path, folder: Path, name: str) -> str:
    with open((out if name == HELD_OUT_FILE else folder) / name, "rb") as handle:
        return file_digest(handle, "sha256").hexdigest()


def require_whole(out: Path) -> None:
    """A :class:`UserError` where tokenizer or held-out text of the run in ``out`` are not what was written."""
    folder = out / PREPARED_FOLDER
    for name, digest in PreparedCorpus.of(out).written.items():
        file = (out if name == HELD_OUT_FILE else folder) / name
        if not file.is_file() or _content(out, folder, name) != digest:
            raise UserError(f"{file}: gone, or not what was written; train into another --out")


def split_of(data: DataConfig, seed: int, sources: TextSources | None = None) -> CorpusSplit:
    """The corpus that ``data`` names, with what is held out of it; ``sources`` are known afterwards."""
    sources = sources or TextSources(data.corpus_files, data.source_field)
    read: Callable[[], Iterator[Passage]] = partial(
        read_passages, data.corpus_files, data.held_out, data.record_fields, sources
    )
    return split_corpus(read, sources.names, data.held_out, seed)


class _CountedText:
    """The training text, and what is counted while it goes by."""

    def __init__(self, split: CorpusSplit) -> None:
        self._split = split
        self._characters = 0
        self._words = 0
        self.scripts = ScriptCount()
        self.marks_inside = 0

    def training(self) -> Iterator[Passage]:
        """What is trained on, counted."""
        for passage in self._split.training():
            self._characters += len(passage.joint) + len(passage.text)
            self._words += blank_words(passage.text)
            self.scripts.add(passage.text)
            self.marks_inside += passage.text.count(END_OF_TEXT)
            yield passage

    @property
    def sizes(self) -> dict[str, Any]:
        """Characters and words, once all went by."""
        return {
            "training_characters": self._characters,
            "held_out_characters": sum(one.held_out_characters for one in self._split.shares),
            "training_words": self._words if self.scripts.lacks_words is None else None,
        }


def _tokens_hash(file: Path) -> str:
    """Read, not mapped: pages that were looked at would count as memory."""
    digest = sha256()
    with open(file, "rb") as handle:
        np.lib.format.read_magic(handle)
        _, _, dtype = np.lib.format.read_array_header_1_0(handle)
        while len(tokens_K := np.fromfile(handle, dtype, TOKENS_AT_ONCE)):
            digest.update(tokens_K.astype("<u4").tobytes())
    return digest.hexdigest()


def _notes(names: Sequence[str], split: CorpusSplit, marks_inside: int) -> tuple[str, ...]:
    inside = (
        f"{END_OF_TEXT} stands {marks_inside} times inside a line or record: it is text there, and ends no document"
    )
    cut = tuple(
        f"{file}: cut into documents at {count} places, where a line had more than {LONGEST_LINE:,} characters"
        for file, count in zip(names, split.cut_lines, strict=True)
        if count
    )
    return (*cut, inside) if marks_inside else cut


def _write_held_out(split: CorpusSplit, file: Path) -> None:
    with whole_file(file) as partial_file, open(partial_file, "w", encoding="utf-8") as handle:
        for number, passage in enumerate(split.held_out()):
            handle.write(("\n\n" if number else "") + passage.text)
        handle.write("\n")


def _examples(data: DataConfig, packed: PackedCorpus, tokenizer: Any, names: tuple[str, ...]) -> TrainingText:
    text = training_text(packed, tokenizer, data.sequence_length, names)
    if not len(text.blocks_XT):
        raise UserError(
            f"corpus: {len(packed.tokens_K)} training tokens, but one example takes sequence_length="
            f"{data.sequence_length}; add text or lower sequence_length"
        )
    return text


def corpus_curriculum(data: DataConfig, sources: Sequence[str]) -> Curriculum:
    """The curriculum of ``data``; weights that it gives by name are those of ``sources``, or of files without any."""
    wanted = data.curriculum
    names = sources or [file.stem for file in data.corpus_files]
    if isinstance(wanted, CurriculumSetting) and wanted.mixture:
        mixture = tuple(stage.ordered(names) for stage in wanted.mixture)
        wanted = wanted.model_copy(update={"mixture": mixture})
    return chosen_curriculum(wanted)


def curriculum_scores(curriculum: Curriculum, text: TrainingText, key: str) -> ScoredDifficulty:
    """The scores that ``curriculum`` wants, stored under ``key``; zeros if it wants none."""
    difficulty = difficulty_of(curriculum)
    if difficulty is None:
        return ScoredDifficulty("", np.zeros(len(text.blocks_XT)), 0.0)
    return scored(difficulty, text, key)


def order_generator(seed: int, *more: int) -> np.random.Generator:
    """What decides the order of a run with this seed of order; ``more`` numbers are for a part of it."""
    return np.random.default_rng([seed, ORDER_STREAM, *more])


def planned_order(data: DataConfig, curriculum: Curriculum, scores_X: Values, seed: int) -> Plan:
    """The plan of ``curriculum``: the same for every size, a function of corpus, budget and seed alone."""
    budget = data.budget
    return arm_plan(data.arm or CURRICULUM, curriculum, scores_X, budget, order_generator(seed))


def check_plan(plan: Plan, curriculum: Curriculum, family: Family, tags: bool) -> None:
    """A :class:`UserError` for a plan that this model or this corpus cannot follow."""
    objectives = {span.objective for span in plan.objectives}
    by_tags = sorted(one for one in objectives if one.startswith("pos-"))
    if plan.vocabulary_map.startswith("pos"):
        by_tags.append(f"vocabulary by {plan.vocabulary_map}")
    if by_tags and not tags:
        raise UserError(
            f"field 'curriculum': {by_tags[0]} needs parts of speech; give a .jsonl corpus with 'words' and 'tags'"
        )
    if family == "roberta" and "clm" in objectives:
        raise UserError("field 'curriculum': objective clm with family roberta; use family llama, which can do both")
    if (objectives or plan.vocabulary_map) and not curriculum.needs_masks:
        raise E2LMError(f"curriculum {curriculum.name!r} plans objectives or a vocabulary: give it needs_masks=True")
    known = get_args(ObjectiveName)
    for unknown in sorted(objectives - set(known)):
        raise E2LMError(f"curriculum {curriculum.name!r}: objective {unknown!r}. {nearest_names(unknown, known)}")


def tokenizer_files(out: Path) -> tuple[Path, ...]:
    """The files that every checkpoint carries."""
    return tuple(out / PREPARED_FOLDER / name for name in (TOKENIZER_FILE, TOKENIZER_CONFIG_FILE))
