"""The named curricula: CLIMB's with its exact values, and the schedules that others found to work better."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from e2lm.curriculum import Curriculum
from e2lm_curriculum.plan.builder import built_curriculum
from e2lm_curriculum.plan.pacing import CLIMB_LINEAR, CLIMB_LOG, COMPETENCE, Pacing
from e2lm_curriculum.plan.setting import (
    CurriculumSetting,
    LengthStage,
    MaskRate,
    MixtureStage,
    ObjectiveName,
    ObjectiveStage,
    OnlineSetting,
    VocabularyMap,
    VocabularySetting,
)


class Preset(NamedTuple):
    """A curriculum with a name; ``source`` is where its values are from, empty where they are ours."""

    name: str
    setting: CurriculumSetting
    description: str
    source: str = ""


CLIMB = "Diehl Martinez et al. 2023, arXiv 2311.08886"

#: CLIMB's difficulties by the names of its configs.
CLIMB_DIFFICULTIES = {
    "spoken-first": "source-spoken-first",
    "grammatical-first": "source-grammatical-first",
    "ngram": "unigram-perplexity",
}

#: CLIMB scores anew every 25,000 of 400,000 steps; the first ranking is by unigrams, or there is none:
#: with n_gram 0 every example has the score 1.0, and a percentile of equal scores keeps them all.
CLIMB_RESCORINGS = OnlineSetting(kind="self-perplexity", segments=16)
CLIMB_FIRST_SCORES = {"perplexity": "unigram-perplexity", "random-perplexity": "all-alike"}

CLIMB_MAPS: dict[str, VocabularyMap] = {
    "token-ids": "token-id",
    "pos-tags": "pos",
    "pos-tags-and-token-ids": "pos-and-token-id",
}

#: Objective, start and end as shares of training.
CLIMB_OBJECTIVES: dict[str, tuple[tuple[ObjectiveName, float, float], ...]] = {
    "base-mlm": (("mlm", 0, 1),),
    "pos-nv-mlm": (("pos-noun-verb", 0, 0.125), ("mlm", 0.125, 1)),
    "pos-all-mlm": (("pos-all", 0, 0.125), ("mlm", 0.125, 1)),
    "multitask-pos-nv-mlm-0": (("pos-noun-verb", 0, 1), ("mlm", 0, 1)),
    "multitask-pos-all-mlm": (("pos-all", 0, 1), ("mlm", 0.125, 1)),
    "multitask-pos-all-mlm-0": (("pos-all", 0, 1), ("mlm", 0, 1)),
    "multitask-pos-nv-all-mlm": (("pos-noun-verb", 0, 0.0625), ("pos-all", 0.0625, 1), ("mlm", 0.125, 1)),
    "multitask-pos-nv-all-mlm-0": (("pos-noun-verb", 0, 0.0625), ("pos-all", 0.0625, 1), ("mlm", 0, 1)),
}


def climb_presets() -> Iterator[Preset]:
    """The ten data, six vocabulary and eight objective curricula of CLIMB."""
    for pacing in (CLIMB_LINEAR, CLIMB_LOG):
        yield from _climb_orders(pacing)
        for name, vocabulary_map in CLIMB_MAPS.items():
            limited = CurriculumSetting(vocabulary=VocabularySetting(map=vocabulary_map, pacing=pacing))
            told = f"CLIMB's vocabulary curriculum by {name}, {pacing.kind}."
            yield Preset(f"climb-vocabulary-{name}-{pacing.kind}", limited, told, CLIMB)
    for name, spans in CLIMB_OBJECTIVES.items():
        stages = tuple(ObjectiveStage(objective=one, start=start, end=end) for one, start, end in spans)
        setting = CurriculumSetting(objectives=stages)
        yield Preset(f"climb-objective-{name}", setting, f"CLIMB's objective curriculum {name}.", CLIMB)


def _climb_orders(pacing: Pacing) -> Iterator[Preset]:
    for name, difficulty in CLIMB_DIFFICULTIES.items():
        setting = CurriculumSetting(difficulty=difficulty, mode="pool", pacing=pacing)
        told = f"CLIMB's data curriculum by {difficulty}, {pacing.kind} pacing."
        yield Preset(f"climb-{name}-{pacing.kind}", setting, told, CLIMB)
    for name, first in CLIMB_FIRST_SCORES.items():
        setting = CurriculumSetting(difficulty=first, mode="pool", pacing=pacing, online=CLIMB_RESCORINGS)
        told = f"CLIMB's data curriculum by the model's own loss, {pacing.kind}."
        yield Preset(f"climb-{name}-{pacing.kind}", setting, told, CLIMB)


WARM_UP = Pacing(kind="linear", start=0.0, end=1.0, starting_share=0.1)
PLATANIOS = "Platanios et al. 2019, arXiv 1903.09848"
BEYOND_RANDOM = "Beyond Random Sampling (2025), arXiv 2506.11300"
GPT_BERT = "Charpentier and Samuel 2024 (GPT-BERT), train_10m.py"

#: AntLM's 24 parts: 4 of next tokens, 16 of masked tokens, 4 of next tokens.
ANTLM = (
    ObjectiveStage(objective="clm", end=4 / 24),
    ObjectiveStage(objective="mlm", start=4 / 24, end=20 / 24),
    ObjectiveStage(objective="clm", start=20 / 24),
)

OTHERS = (
    Preset(
        "length-competence",
        CurriculumSetting(difficulty="length", mode="pool", pacing=COMPETENCE),
        "Short words and sentences first, square-root competence.",
        PLATANIOS,
    ),
    Preset(
        "rarity-competence",
        CurriculumSetting(difficulty="rarity", mode="pool", pacing=COMPETENCE),
        "Frequent words first, square-root competence.",
        PLATANIOS,
    ),
    Preset(
        "compression-warm-up",
        CurriculumSetting(difficulty="compression", mode="warm-up", pacing=WARM_UP),
        "Compressible text first for a fifth of the tokens, then random order.",
        BEYOND_RANDOM,
    ),
    Preset(
        "readability-warm-up",
        CurriculumSetting(difficulty="readability", mode="warm-up", pacing=WARM_UP),
        "Readable text first (Flesch) for a fifth of the tokens, then random order.",
        BEYOND_RANDOM,
    ),
    Preset(
        "ngram-staged",
        CurriculumSetting(difficulty="ngram-perplexity", mode="staged"),
        "Four stages by trigram perplexity, none seen again.",
    ),
    Preset(
        "ngram-full-coverage",
        CurriculumSetting(difficulty="ngram-perplexity", mode="full-coverage"),
        "Every epoch everything once, by trigram perplexity.",
    ),
    Preset(
        "ngram-grouped",
        CurriculumSetting(difficulty="ngram-perplexity", mode="grouped"),
        "Batches of equal trigram perplexity in random order.",
    ),
    Preset(
        "sequence-length-warm-up",
        CurriculumSetting(
            sequence_lengths=(
                LengthStage(start=0.0, length=0.25),
                LengthStage(start=0.7, length=0.5),
                LengthStage(start=0.9, length=1.0),
            )
        ),
        "Sequences of a quarter, from 70 % on of half and from 90 % on of the whole length.",
        GPT_BERT,
    ),
    Preset(
        "mask-rate-decay",
        CurriculumSetting(objectives=(ObjectiveStage(objective="mlm"),), mask_rate=MaskRate(start=0.3, end=0.15)),
        "Masked tokens from 30 % down to 15 %.",
        GPT_BERT,
    ),
    Preset(
        "antlm",
        CurriculumSetting(objectives=ANTLM),
        "Next token, then masked tokens, then next token: 4, 16 and 4 parts of 24.",
        "AntLM (2024), arXiv 2412.03275",
    ),
    Preset(
        "clm-then-mlm",
        CurriculumSetting(
            objectives=(ObjectiveStage(objective="clm", end=0.25), ObjectiveStage(objective="mlm", start=0.25))
        ),
        "Next token for a quarter of the tokens, then masked tokens.",
    ),
    Preset(
        "stratified",
        CurriculumSetting(mixture=(MixtureStage(start=0.0, weights="stratified"),)),
        "Every corpus file equally often throughout.",
        "Chen et al. 2025 (Aioli)",
    ),
    Preset(
        "skill-it",
        CurriculumSetting(online=OnlineSetting(kind="skill-it")),
        "Corpus files weighted anew by their losses.",
        "Chen et al. 2023 (Skill-it), mw_trainer.py",
    ),
)


def presets() -> tuple[Preset, ...]:
    """All named curricula but ``shuffle``."""
    return (*climb_presets(), *OTHERS)


def preset_curricula() -> list[Curriculum]:
    """What :func:`presets` describe."""
    return [built_curriculum(one.setting, one.name, one.description, one.source) for one in presets()]
