"""Every preset against the table of whoever published it; what a preset does not name is as in plain training."""

from __future__ import annotations

from typing import Any

import pytest

from e2lm import UserError
from e2lm_curriculum.plan.preset import preset_curricula, presets
from e2lm_curriculum.plan.setting import CurriculumSetting

#: CLIMB's shipped pacings (conf/data_curriculum, 400,000 steps): start 25k, end 350k, a tenth at first, all at the end.
CLIMB_PACING = {"start": 25 / 400, "end": 350 / 400, "starting_share": 0.1, "maximum": 1.0}
LINEAR = {"kind": "linear", **CLIMB_PACING}
LOG = {"kind": "log", **CLIMB_PACING}

#: Platanios et al.: competence 0.01 at first, 1 after half the run, square root.
COMPETENCE = {"kind": "competence", "start": 0.0, "end": 0.5, "starting_share": 0.01, "power": 2.0}

#: From a tenth to everything over the whole warm-up.
WARM_UP = {"kind": "linear", "start": 0.0, "end": 1.0, "starting_share": 0.1}

#: A score every 25,000 of 400,000 steps.
RESCORED = {"kind": "self-perplexity", "segments": 16}


def stages(*told: tuple[str, float, float]) -> dict[str, Any]:
    return {"objectives": [{"objective": one, "start": start, "end": end} for one, start, end in told]}


def of_climb(pacing: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The data and vocabulary curricula of CLIMB with one pacing."""
    kind = pacing["kind"]
    pool = {"mode": "pool", "pacing": pacing}
    return {
        f"climb-spoken-first-{kind}": {"difficulty": "source-spoken-first", **pool},
        f"climb-grammatical-first-{kind}": {"difficulty": "source-grammatical-first", **pool},
        f"climb-ngram-{kind}": {"difficulty": "unigram-perplexity", **pool},
        f"climb-perplexity-{kind}": {"difficulty": "unigram-perplexity", "online": RESCORED, **pool},
        f"climb-random-perplexity-{kind}": {"difficulty": "all-alike", "online": RESCORED, **pool},
        f"climb-vocabulary-token-ids-{kind}": {"vocabulary": {"map": "token-id", "pacing": pacing}},
        f"climb-vocabulary-pos-tags-{kind}": {"vocabulary": {"map": "pos", "pacing": pacing}},
        f"climb-vocabulary-pos-tags-and-token-ids-{kind}": {
            "vocabulary": {"map": "pos-and-token-id", "pacing": pacing}
        },
    }


#: CLIMB's objective curricula (conf/objective_curriculum), shares of training.
OBJECTIVES = {
    "climb-objective-base-mlm": stages(("mlm", 0, 1)),
    "climb-objective-pos-nv-mlm": stages(("pos-noun-verb", 0, 0.125), ("mlm", 0.125, 1)),
    "climb-objective-pos-all-mlm": stages(("pos-all", 0, 0.125), ("mlm", 0.125, 1)),
    "climb-objective-multitask-pos-nv-mlm-0": stages(("pos-noun-verb", 0, 1), ("mlm", 0, 1)),
    "climb-objective-multitask-pos-all-mlm": stages(("pos-all", 0, 1), ("mlm", 0.125, 1)),
    "climb-objective-multitask-pos-all-mlm-0": stages(("pos-all", 0, 1), ("mlm", 0, 1)),
    "climb-objective-multitask-pos-nv-all-mlm": stages(
        ("pos-noun-verb", 0, 0.0625), ("pos-all", 0.0625, 1), ("mlm", 0.125, 1)
    ),
    "climb-objective-multitask-pos-nv-all-mlm-0": stages(
        ("pos-noun-verb", 0, 0.0625), ("pos-all", 0.0625, 1), ("mlm", 0, 1)
    ),
}

OTHERS = {
    "length-competence": {"difficulty": "length", "mode": "pool", "pacing": COMPETENCE},
    "rarity-competence": {"difficulty": "rarity", "mode": "pool", "pacing": COMPETENCE},
    "compression-warm-up": {"difficulty": "compression", "mode": "warm-up", "share": 0.2, "pacing": WARM_UP},
    "readability-warm-up": {"difficulty": "readability", "mode": "warm-up", "share": 0.2, "pacing": WARM_UP},
    "ngram-staged": {"difficulty": "ngram-perplexity", "mode": "staged", "stages": 4},
    "ngram-full-coverage": {"difficulty": "ngram-perplexity", "mode": "full-coverage"},
    "ngram-grouped": {"difficulty": "ngram-perplexity", "mode": "grouped"},
    # GPT-BERT: 128 of 512 tokens, 256 from 70 % of training on, 512 from 90 % on; masks from 30 % down to 15 %.
    "sequence-length-warm-up": {
        "sequence_lengths": [
            {"start": 0.0, "length": 128 / 512},
            {"start": 0.7, "length": 256 / 512},
            {"start": 0.9, "length": 1.0},
        ]
    },
    "mask-rate-decay": {**stages(("mlm", 0, 1)), "mask_rate": {"start": 0.30, "end": 0.15}},
    # AntLM for BabyLlama: epochs of next token, masked tokens, next token, 4 + 16 + 4.
    "antlm": stages(("clm", 0, 4 / 24), ("mlm", 4 / 24, 20 / 24), ("clm", 20 / 24, 1)),
    "clm-then-mlm": stages(("clm", 0, 0.25), ("mlm", 0.25, 1)),
    "stratified": {"mixture": [{"start": 0.0, "weights": "stratified"}]},
    # Skill-it's rule; its rate and window are for the user to set there, these are ours.
    "skill-it": {"online": {"kind": "skill-it", "segments": 16, "rate": 0.8, "window": 3, "probed": 32}},
}

TABLE = {**of_climb(LINEAR), **of_climb(LOG), **OBJECTIVES, **OTHERS}


@pytest.mark.parametrize("name", TABLE)
def test_a_preset_is_what_its_source_says(name: str) -> None:
    settings = {one.name: one.setting for one in presets()}
    assert settings[name] == CurriculumSetting.from_data(TABLE[name], name)


def test_no_preset_is_without_a_row_in_the_table() -> None:
    assert sorted(one.name for one in presets()) == sorted(TABLE)
    assert [one.name for one in preset_curricula()] == [one.name for one in presets()]
    assert len([name for name in TABLE if name.startswith("climb-")]) == 24


def test_what_a_setting_leaves_out_is_plain_training_with_berts_mask_rate() -> None:
    plain = CurriculumSetting()
    assert (plain.mode, plain.difficulty, plain.stages, plain.share) == ("random", "", 4, 0.2)
    assert (plain.mixture, plain.objectives, plain.sequence_lengths) == ((), (), ())
    assert (plain.online, plain.mask_rate, plain.vocabulary) == (None, None, None)
    masked = CurriculumSetting.from_data({"mask_rate": {}}, "test").mask_rate
    assert masked is not None
    assert (masked.start, masked.end) == (0.15, 0.15)
    staged = CurriculumSetting.from_data({"objectives": [{"objective": "mlm"}]}, "test").objectives[0]
    assert (staged.start, staged.end) == (0.0, 1.0)
    online = CurriculumSetting.from_data({"online": {"kind": "skill-it"}}, "test").online
    assert online is not None
    assert (online.segments, online.rate, online.window, online.probed) == (16, 0.8, 3, 32)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"mask_rate": {"start": 0.0}}, "mask_rate.start"),
        ({"mask_rate": {"end": 1.0}}, "mask_rate.end"),
        ({"stages": 1, "difficulty": "length", "mode": "staged"}, "field 'stages'"),
        ({"share": 1.0, "difficulty": "length", "mode": "warm-up"}, "field 'share'"),
        ({"online": {"kind": "skill-it", "segments": 1}}, "online.segments"),
        ({"online": {"kind": "self-perplexity"}, "difficulty": "length"}, "self-perplexity ranks for a mode; give one"),
        ({"online": {"kind": "skill-it"}, "mode": "pool"}, "skill-it weighs files; leave out mode"),
        ({"online": {"kind": "skill-it", "window": 0}}, "online.window"),
        ({"objectives": [{"objective": "mlm", "start": 0.5, "end": 0.5}]}, "ends at 0.5, not after 0.5"),
        ({"objectives": [{"objective": "mlm", "end": 0.4}, {"objective": "clm", "start": 0.6}]}, "one must be active"),
        ({"objectives": [{"objective": "mlm", "end": 0.9}]}, "one must be active"),
        (
            {"objectives": [{"objective": "pos-all", "end": 0.5}, {"objective": "pos-all", "start": 0.5}]},
            "may have a single stage",
        ),
        ({"mixture": [{"start": 0.0, "weights": "natural"}], "mode": "pool", "difficulty": "length"}, "exclude"),
    ],
)
def test_a_setting_that_means_nothing_is_refused(data: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        CurriculumSetting.from_data(data, "c.yml: curriculum")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"mode": "pool"}, "mode 'pool' needs a difficulty"),
        ({"difficulty": "length"}, "needs a mode"),
        ({"mode": "pol", "difficulty": "length"}, "field 'mode'"),
        ({"pacing": {"kind": "cubic"}}, "field 'pacing.kind'"),
        ({"objectives": [{"objective": "mlm", "start": 0.5}]}, "at every moment one must be active"),
        ({"sequence_lengths": [{"start": 0.5, "length": 0.5}]}, "starts must rise from 0"),
        ({"pacign": {}}, "unknown field 'pacign'. Did you mean 'pacing'"),
    ],
)
def test_a_wrong_setting_names_its_field(data: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        CurriculumSetting.from_data(data, "config.yml: curriculum")
