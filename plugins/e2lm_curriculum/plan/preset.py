"""The named curricula: CLIMB's with its exact values, and the schedules that others found to work better."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from e2lm.curriculum import Curriculum
from e2lm_curriculum.config.curriculum import CurriculumSetting
from e2lm_curriculum.plan.builder import built_curriculum

CLIMB = "Diehl Martinez et al. 2023, arXiv 2311.08886"

#: CLIMB's difficulties by the names of its configs.
CLIMB_DIFFICULTIES = {
    "spoken-first": "source-spoken-first",
    "grammatical-first": "source-grammatical-first",
    "ngram": "unigram-perplexity",
}

#: CLIMB scores anew every 25,000 of 400,000 steps; the first ranking is by unigrams or random.
CLIMB_RESCORINGS = 16
CLIMB_FIRST_SCORES = {"perplexity": "unigram-perplexity", "random-perplexity": "random"}

CLIMB_MAPS = {"token-ids": "token-id", "pos-tags": "pos", "pos-tags-and-token-ids": "pos-and-token-id"}

#: Objective, start and end as shares of training.
CLIMB_OBJECTIVES: dict[str, tuple[tuple[str, float, float], ...]] = {
    "base-mlm": (("mlm", 0, 1),),
    "pos-nv-mlm": (("pos-noun-verb", 0, 0.125), ("mlm", 0.125, 1)),
    "pos-all-mlm": (("pos-all", 0, 0.125), ("mlm", 0.125, 1)),
    "multitask-pos-nv-mlm-0": (("pos-noun-verb", 0, 1), ("mlm", 0, 1)),
    "multitask-pos-all-mlm": (("pos-all", 0, 1), ("mlm", 0.125, 1)),
    "multitask-pos-all-mlm-0": (("pos-all", 0, 1), ("mlm", 0, 1)),
    "multitask-pos-nv-all-mlm": (("pos-noun-verb", 0, 0.0625), ("pos-all", 0.0625, 1), ("mlm", 0.125, 1)),
    "multitask-pos-nv-all-mlm-0": (("pos-noun-verb", 0, 0.0625), ("pos-all", 0.0625, 1), ("mlm", 0, 1)),
}

Entry = tuple[str, dict[str, Any], str, str]


def climb_entries() -> Iterator[Entry]:
    """The ten data, six vocabulary and eight objective curricula of CLIMB."""
    for kind in ("linear", "log"):
        pacing = {"kind": kind}
        for name, difficulty in CLIMB_DIFFICULTIES.items():
            setting = {"difficulty": difficulty, "mode": "pool", "pacing": pacing}
            yield f"climb-{name}-{kind}", setting, f"CLIMB's data curriculum by {difficulty}, {kind} pacing.", CLIMB
        for name, first in CLIMB_FIRST_SCORES.items():
            online = {"kind": "self-perplexity", "segments": CLIMB_RESCORINGS}
            setting = {"difficulty": first, "mode": "pool", "pacing": pacing, "online": online}
            yield f"climb-{name}-{kind}", setting, f"CLIMB's data curriculum by the model's own loss, {kind}.", CLIMB
        for name, vocabulary_map in CLIMB_MAPS.items():
            setting = {"vocabulary": {"map": vocabulary_map, "pacing": pacing}}
            yield f"climb-vocabulary-{name}-{kind}", setting, f"CLIMB's vocabulary curriculum by {name}, {kind}.", CLIMB
    for name, spans in CLIMB_OBJECTIVES.items():
        objectives = [{"objective": one, "start": float(start), "end": float(end)} for one, start, end in spans]
        yield f"climb-objective-{name}", {"objectives": objectives}, f"CLIMB's objective curriculum {name}.", CLIMB


COMPETENCE = {"kind": "competence", "start": 0.0, "end": 0.5, "starting_share": 0.01, "power": 2.0}
WARM_UP = {"kind": "linear", "start": 0.0, "end": 1.0, "starting_share": 0.1}
PLATANIOS = "Platanios et al. 2019, arXiv 1903.09848"
BEYOND_RANDOM = "Beyond Random Sampling (2025), arXiv 2506.11300"

OTHERS: tuple[Entry, ...] = (
    (
        "length-competence",
        {"difficulty": "length", "mode": "pool", "pacing": COMPETENCE},
        "Short words and sentences first, square-root competence.",
        PLATANIOS,
    ),
    (
        "rarity-competence",
        {"difficulty": "rarity", "mode": "pool", "pacing": COMPETENCE},
        "Frequent words first, square-root competence.",
        PLATANIOS,
    ),
    (
        "compression-warm-up",
        {"difficulty": "compression", "mode": "warm-up", "pacing": WARM_UP},
        "Compressible text first for a fifth of the tokens, then random order.",
        BEYOND_RANDOM,
    ),
    (
        "readability-warm-up",
        {"difficulty": "readability", "mode": "warm-up", "pacing": WARM_UP},
        "Readable text first (Flesch) for a fifth of the tokens, then random order.",
        BEYOND_RANDOM,
    ),
    (
        "ngram-staged",
        {"difficulty": "ngram-perplexity", "mode": "staged"},
        "Four stages by trigram perplexity, none seen again.",
        "",
    ),
    (
        "ngram-full-coverage",
        {"difficulty": "ngram-perplexity", "mode": "full-coverage"},
        "Every epoch everything once, by trigram perplexity.",
        "",
    ),
    (
        "ngram-grouped",
        {"difficulty": "ngram-perplexity", "mode": "grouped"},
        "Batches of equal trigram perplexity in random order.",
        "",
    ),
    (
        "sequence-length-warm-up",
        {
            "sequence_lengths": [
                {"start": 0.0, "length": 0.25},
                {"start": 0.7, "length": 0.5},
                {"start": 0.9, "length": 1.0},
            ]
        },
        "Sequences of a quarter, from 70 % on of half and from 90 % on of the whole length.",
        "Charpentier and Samuel 2024 (GPT-BERT), train_10m.py",
    ),
    (
        "mask-rate-decay",
        {"objectives": [{"objective": "mlm"}], "mask_rate": {"start": 0.3, "end": 0.15}},
        "Masked tokens from 30 % down to 15 %.",
        "Charpentier and Samuel 2024 (GPT-BERT), train_10m.py",
    ),
    (
        "antlm",
        {
            "objectives": [
                {"objective": "clm", "start": 0.0, "end": 4 / 24},
                {"objective": "mlm", "start": 4 / 24, "end": 20 / 24},
                {"objective": "clm", "start": 20 / 24, "end": 1.0},
            ]
        },
        "Next token, then masked tokens, then next token: 4, 16 and 4 parts of 24.",
        "AntLM (2024), arXiv 2412.03275",
    ),
    (
        "clm-then-mlm",
        {"objectives": [{"objective": "clm", "end": 0.25}, {"objective": "mlm", "start": 0.25}]},
        "Next token for a quarter of the tokens, then masked tokens.",
        "",
    ),
    (
        "stratified",
        {"mixture": [{"start": 0.0, "weights": "stratified"}]},
        "Every corpus file equally often throughout.",
        "Chen et al. 2025 (Aioli)",
    ),
    (
        "skill-it",
        {"online": {"kind": "skill-it"}},
        "Corpus files weighted anew by their losses.",
        "Chen et al. 2023 (Skill-it), mw_trainer.py",
    ),
)


def preset_settings() -> dict[str, CurriculumSetting]:
    """The settings of all presets by name."""
    return {name: CurriculumSetting.from_data(data, name) for name, data, _, _ in (*climb_entries(), *OTHERS)}


def presets() -> list[Curriculum]:
    """All named curricula but ``shuffle``."""
    settings = preset_settings()
    return [
        built_curriculum(settings[name], name, description, source)
        for name, _, description, source in (*climb_entries(), *OTHERS)
    ]
