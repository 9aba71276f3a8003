from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from e2lm.command_line import main
from e2lm.curriculum import TrainingBudget
from e2lm_curriculum.config.training import TrainingConfig
from e2lm_curriculum.plan.file import read_plan

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


def test_the_plan_of_a_configuration_is_the_one_that_was_trained(
    trained: TrainingConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.yml"
    file.write_text(json.dumps(trained.fields), encoding="utf-8")
    found = report(capsys, str(file), "--show", "--json")
    assert found["hash"] == read_plan(trained.run.out_folder / ".prepared").hash
    assert found["curriculum"] == "shuffle"
    assert found["steps"] == 60
