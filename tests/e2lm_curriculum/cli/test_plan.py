from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from e2lm.command_line import main
from e2lm.curriculum import TrainingBudget
from e2lm_curriculum.cli.plan import _is_of_run
from e2lm_curriculum.config.training import TrainingConfig
from e2lm_curriculum.plan.file import read_plan
from tests.e2lm_curriculum.conftest import minuscule_settings

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


# -- of a corpus, of scores, online ---------------------------------------------------------------------------------


def written(config: TrainingConfig, file: Path) -> str:
    file.write_text(json.dumps(config.fields), encoding="utf-8")
    return str(file)


def test_options_win_over_the_configuration(
    trained: TrainingConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = written(trained, tmp_path / "config.yml")
    plain = report(capsys, config, "--json")
    found = report(
        capsys, config, "--curriculum", "ngram-staged", "--seed", "9", "--steps", "5", "--batch", "2", "--json"
    )
    told = {name: found[name] for name in ("curriculum", "difficulty", "seed", "steps", "batch")}
    assert told == {"curriculum": "ngram-staged", "difficulty": "ngram-perplexity", "seed": 9, "steps": 5, "batch": 2}
    assert found["hash"] != plain["hash"]
    assert found["samples"] == plain["samples"]
    assert report(capsys, config, "--seed", "9", "--json")["hash"] != plain["hash"]


def test_a_corpus_is_planned_without_training_and_as_training_plans_it(
    trained: TrainingConfig, corpus_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = trained.changed(out=str(tmp_path / "nowhere"))
    found = report(capsys, written(nowhere, tmp_path / "c.yml"), "--out", str(tmp_path / "plan"), "--json")
    prepared = trained.run.out_folder / ".prepared"
    assert found["hash"] == read_plan(prepared).hash == read_plan(tmp_path / "plan").hash
    assert not (tmp_path / "nowhere").exists()
    for name in ("tokens.npy", "tokenizer.json", "scores.npy"):
        assert (tmp_path / "plan" / name).read_bytes() == (prepared / name).read_bytes()
    words = ["--corpus", str(corpus_file), "--curriculum", "length-competence", "--steps", "7", "--json"]
    assert (report(capsys, *words)["steps"], report(capsys, *words)["difficulty"]) == (7, "length")


def test_examples_of_a_run_are_those_of_its_own_corpus_tokenizer_and_difficulty(
    trained: TrainingConfig, corpus_file: Path, tmp_path: Path
) -> None:
    out = trained.run.out_folder
    assert _is_of_run(trained.changed(tokens=128, order_seed=5, curriculum="sequence-length-warm-up"), out)
    longer = tmp_path / corpus_file.name
    longer.write_text(corpus_file.read_text(encoding="utf-8") + "more", encoding="utf-8")
    changes = [{"curriculum": "antlm"}, {"curriculum": "ngram-staged"}, {"sequence_length": 16}, {"seed": 1}]
    changes += [{"held_out": 0.2}, {"corpus": (str(longer),)}, {"corpus": (str(corpus_file), str(longer))}]
    assert not any(_is_of_run(trained.changed(**change), out) for change in changes)


def test_scores_of_ones_own_are_planned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores_X = np.random.default_rng(0).permutation(50).astype(float)
    np.save(tmp_path / "scores.npy", scores_X)
    (tmp_path / "scores.txt").write_text("\n".join(map(str, scores_X)), encoding="utf-8")
    words = ["--curriculum", "ngram-full-coverage", "--batch", "5", "--json"]
    found = [
        report(capsys, "--scores", str(tmp_path / name), *words, "--out", str(tmp_path / f"plan-{name}"))
        for name in ("scores.npy", "scores.txt")
    ]
    assert found[0]["hash"] == found[1]["hash"]
    assert found[0]["steps"] == 10
    assert scores_X[read_plan(tmp_path / "plan-scores.npy").indices_SB].ravel().tolist() == list(range(50))


@pytest.mark.parametrize("name", ["climb-perplexity-linear", "skill-it"])
def test_of_a_plan_made_while_training_only_the_first_part_is_told(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = report(capsys, "--curriculum", name, "--samples", "200", "--steps", "160", "--show", "--json")
    assert (found["planned_while_training"], found["known_steps"]) == (True, 10)
    assert "only the first 10 of 160 steps are known" in str(found["note"])
    distinct = found["distinct_examples"]
    assert isinstance(distinct, int)
    assert distinct <= 80
    words = ["--curriculum", name, "--samples", "200", "--steps", "160", "--out", str(tmp_path / "plan"), "--json"]
    assert report(capsys, *words)["hash"] == read_plan(tmp_path / "plan").hash == found["hash"]


def test_the_first_part_of_an_online_plan_is_the_one_that_is_trained(
    corpus_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from e2lm_curriculum.train.model_run import ModelRun
    from e2lm_curriculum.train.online import RunSegments
    from e2lm_curriculum.train.prepared import prepare
    from e2lm_curriculum.train.trainer import fresh_model

    settings = {**minuscule_settings(corpus_file, tmp_path / "out"), "curriculum": "climb-perplexity-linear"}
    config = TrainingConfig.from_data(settings, "test")
    run = ModelRun(config, config.model.ladder[0])
    prepared = prepare(config)
    segments = RunSegments.of(run)
    segments.plan(0, prepared, fresh_model(run, prepared, segments.template))
    trained_first = read_plan(run.folder / ".segments" / "segment-0")
    assert report(capsys, written(config, tmp_path / "c.yml"), "--json")["hash"] == trained_first.hash


def test_an_online_plan_turned_over_is_refused_as_nobody_else_turns_the_model_over(
    corpus_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {**minuscule_settings(corpus_file, tmp_path / "out"), "curriculum": "climb-perplexity-linear"}
    config = written(TrainingConfig.from_data({**settings, "arm": "anti"}, "test"), tmp_path / "c.yml")
    assert main(["train", "plan", str(config), "--out", str(tmp_path / "plan")]) == 2
    assert "arm: anti of an online curriculum" in capsys.readouterr().err
    assert not (tmp_path / "plan").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scores", "none.npy", "--curriculum", "shuffle"], "none.npy: no such file"),
        (["--scores", "none.npy"], "name a curriculum"),
        (["--scores", __file__, "--curriculum", "shuffle"], "one number for each example"),
        (["--corpus", __file__, "--samples", "5"], "--samples: examples and scores come from the corpus"),
    ],
)
def test_what_does_not_go_together_is_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "plan", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
