from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from e2lm.command_line import main
from e2lm.curriculum import ObjectiveSpan, Plan, TrainingBudget
from e2lm.errors import E2LMError
from e2lm_curriculum.config.training import TrainingConfig
from e2lm_curriculum.plan.builder import chosen_curriculum
from e2lm_curriculum.plan.draws import plan_array
from e2lm_curriculum.plan.file import read_plan, write_plan
from e2lm_curriculum.plan.mixture import source_sequence
from e2lm_curriculum.plan.preset import preset_curricula
from e2lm_curriculum.plan.setting import CurriculumSetting

ASKED = ["--samples", "20000", "--steps", "20000", "--batch", "8", "--seed", "0", "--show", "--json"]
SMALL = ["--samples", "200", "--steps", "50", "--batch", "4", "--json"]
BUDGET = TrainingBudget(40, 4, 32)


def report(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    assert main(["train", "plan", *words]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize(("name", "easiest"), [("climb-ngram-linear", 2.83), ("climb-ngram-log", 1.66)])
def test_the_easiest_tenth_is_seen_as_often_as_climbs_settings_make_it(
    name: str, easiest: float, capsys: pytest.CaptureFixture[str]
) -> None:
    found = report(capsys, "--curriculum", name, *ASKED)
    deciles = found["exposure_by_decile"]
    assert isinstance(deciles, list)
    assert len(deciles) == 10
    assert deciles[0] == pytest.approx(easiest, abs=0.1)
    assert np.mean(deciles) == pytest.approx(1.0, abs=1e-3)
    assert isinstance(found["hash"], str)
    assert len(found["hash"]) == 64


def test_a_hash_is_the_same_again_and_another_for_another_seed(capsys: pytest.CaptureFixture[str]) -> None:
    first, again, other = (
        report(capsys, "--curriculum", "climb-ngram-linear", *SMALL, "--seed", seed)["hash"] for seed in "001"
    )
    assert first == again != other


def test_all_that_a_plan_sets_is_in_its_hash() -> None:
    indices_SB = np.arange(8).reshape(4, 2)
    plans = [
        Plan(indices_SB),
        Plan(indices_SB[::-1]),
        Plan(indices_SB.reshape(2, 4)),
        Plan(indices_SB, sequence_lengths_S=np.full(4, 8)),
        Plan(indices_SB, mask_rates_S=np.full(4, 0.15)),
        Plan(indices_SB, objectives=(ObjectiveSpan(0, 4, "mlm"),)),
        Plan(indices_SB, objectives=(ObjectiveSpan(0, 3, "mlm"),)),
        Plan(indices_SB, vocabulary_shares_S=np.full(4, 0.5), vocabulary_map="pos"),
        Plan(indices_SB, vocabulary_shares_S=np.full(4, 0.5), vocabulary_map="token-id"),
    ]
    assert len({plan.hash for plan in plans}) == len(plans)
    assert Plan(indices_SB.astype(np.int32)).hash == plans[0].hash
    with pytest.raises(E2LMError, match="one number for each step"):
        Plan(indices_SB, mask_rates_S=np.full(3, 0.15))


@pytest.mark.parametrize("curriculum", preset_curricula(), ids=lambda one: one.name)
def test_every_preset_makes_a_plan_that_reads_back_as_it_was(curriculum: object, tmp_path: Path) -> None:
    from e2lm.curriculum import Curriculum

    assert isinstance(curriculum, Curriculum)
    scores_X = np.repeat([0.0, 1.0, 2.0], 20)
    first, again = (curriculum.plan(scores_X, BUDGET, np.random.default_rng(3)) for _ in range(2))
    assert first.hash == again.hash
    assert first.indices_SB.shape == (40, 4)
    write_plan(first, tmp_path)
    assert read_plan(tmp_path).hash == first.hash


def test_a_large_array_lies_in_a_file_that_is_gone_with_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("e2lm_curriculum.plan.draws.IN_MEMORY_BYTES", 100)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    large = plan_array(1000, np.int32)
    assert isinstance(large, np.memmap)
    assert not list(tmp_path.iterdir())
    mapped = chosen_curriculum("climb-ngram-linear").plan(np.arange(60.0), BUDGET, np.random.default_rng(0))
    monkeypatch.undo()
    held = chosen_curriculum("climb-ngram-linear").plan(np.arange(60.0), BUDGET, np.random.default_rng(0))
    assert mapped.hash == held.hash


def test_a_mixture_has_its_shares_in_every_stretch_and_reads_each_file_in_epochs() -> None:
    chosen = source_sequence(np.array([0.5, 0.3, 0.2]), 1000, np.random.default_rng(0))
    for start in range(0, 1000, 100):
        shares = np.bincount(chosen[start : start + 100], minlength=3) / 100
        assert np.abs(shares - [0.5, 0.3, 0.2]).max() <= 0.04
    setting = CurriculumSetting.from_data(
        {"mixture": [{"start": 0.0, "weights": [1, 0]}, {"start": 0.5, "weights": "stratified"}]}, "test"
    )
    sources_X = np.repeat([0.0, 1.0], [60, 20])
    plan = chosen_curriculum(setting).plan(sources_X, BUDGET, np.random.default_rng(0))
    drawn_SB = sources_X[plan.indices_SB]
    assert (drawn_SB[:20] == 0).all()
    assert drawn_SB[20:].mean() == pytest.approx(0.5, abs=0.02)
    counts = plan.exposure(80)
    assert counts[:60].max() - counts[:60].min() <= 2
    assert counts[60:].max() - counts[60:].min() <= 1


def test_the_known_curricula_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "plan", "--json"]) == 0
    names = [row["name"] for row in json.loads(capsys.readouterr().out)]
    assert {"shuffle", "climb-spoken-first-log", "climb-objective-base-mlm", "skill-it"} <= set(names)


def test_a_plan_is_written_once_and_not_on_a_dry_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--curriculum", "antlm", *SMALL, "--out", str(tmp_path / "plan")]
    report(capsys, *words, "--dry-run")
    assert not (tmp_path / "plan").exists()
    found = report(capsys, *words)
    assert read_plan(tmp_path / "plan").hash == found["hash"]
    assert main(["train", "plan", *words]) == 2
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--curriculum", "climb-ngram-liner"], "Did you mean 'climb-ngram-linear'"),
        (["--curriculum", "shuffle", "--steps", "0"], "--steps: found 0"),
        (["--curriculum", "shuffle", "--seed", "-1"], "--seed: found -1"),
        (["--curriculum", "shuffle", "--shwo"], "unrecognized arguments: --shwo"),
        (["nowhere.yml"], "nowhere.yml: no such file"),
    ],
)
def test_mistakes_are_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "plan", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


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
    from e2lm import UserError

    with pytest.raises(UserError, match=message):
        CurriculumSetting.from_data(data, "config.yml: curriculum")


def test_the_plan_of_a_configuration_is_the_one_that_was_trained(
    trained: TrainingConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.yml"
    file.write_text(json.dumps(trained.fields), encoding="utf-8")
    found = report(capsys, str(file), "--show", "--json")
    assert found["hash"] == read_plan(trained.run.out_folder / ".prepared").hash
    assert found["curriculum"] == "shuffle"
    assert found["steps"] == 60
