"""A comparison from configuration to report: trained, resumed, refused where its arms are unequal."""

from __future__ import annotations

import json
import os
import re
import shutil
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from e2lm.command_line import main, run_command
from e2lm.errors import UserError
from e2lm.samples import Samples
from e2lm.series import Series
from e2lm_curriculum.compare import held_out
from e2lm_curriculum.compare.runs import finished_runs, require_comparable
from e2lm_curriculum.messages import say
from e2lm_curriculum.plan.file import read_plan
from e2lm_curriculum.train.prepared import PREPARED_FOLDER
from tests.e2lm_curriculum.conftest import comparison_settings
from tests.pseudo_language import pseudo_language, words_outside


def written(data: dict[str, Any], folder: Path) -> Path:
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def comparison(corpus_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("comparison")
    out = folder / "out"
    assert run_command(["train", str(written(comparison_settings(corpus_file, out), folder)), "--json"]) == 0
    return out


def compared(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    capsys.readouterr()
    assert run_command(["train", "compare", *words, "--held-out-tokens", "4000", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_one_command_leaves_a_report_that_asks_nothing_of_the_network(comparison: Path) -> None:
    page = (comparison / "report.html").read_text(encoding="utf-8")
    for word in ("http://", "https://", "<script", "<link", "<img"):
        assert word not in page
    charts = page.count("<svg")
    assert charts == 3
    for part in page.split("<svg")[1:]:
        ET.fromstring("<svg" + part.split("</svg>")[0] + "</svg>")
    assert "Does the curriculum beat shuffling?" in page


def test_every_sentence_of_the_report_comes_from_the_catalogue(comparison: Path, tmp_path: Path) -> None:
    words = ["train", "compare", str(comparison), "--held-out-tokens", "4000", "--out", str(tmp_path)]
    with pseudo_language(say):
        assert run_command(words) == 0
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    named = re.sub(r"<pre>.*?</pre>", "", report, flags=re.DOTALL)  # the configuration
    names = {"lm", "train", "compare", "vanilla", "curriculum", "exposure", "matched", "cosine"}
    assert words_outside(named) - names == set()
    verdicts = json.loads((tmp_path / "comparison.json").read_text(encoding="utf-8"))["effects"]
    assert {one["final"]["verdict"] for one in verdicts} <= {"better", "worse", "no detectable difference"}


def test_the_json_has_everything_that_the_report_shows(comparison: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = compared(capsys, str(comparison))
    assert found == json.loads((comparison / "comparison.json").read_text(encoding="utf-8"))
    (measure,) = found["measures"]
    assert measure["name"] == "held-out text"
    assert measure["seeds"] == {"cosine": [0, 1, 2]}
    assert {arm["arm"] for arm in measure["arms"]} == {"vanilla", "curriculum", "exposure-matched"}
    assert set(measure["baselines"]) == {"constant", "unigram"}
    for effect in found["effects"]:
        assert effect["final"]["low"] <= effect["final"]["value"] <= effect["final"]["high"]
        assert effect["final"]["verdict"] in {"better", "worse", "no detectable difference"}
        assert effect["differences"][0]["value"] == 0.0  # the same weights at step 0
    assert [row["arm"] for row in found["verdicts"]] == ["curriculum", "exposure-matched"]
    assert found["power"]["detectable_sd_unpaired"] == 3.07


def test_a_report_says_what_it_is_of_and_how_to_repeat_and_cite_it(comparison: Path, corpus_file: Path) -> None:
    made = json.loads((comparison / "comparison.json").read_text(encoding="utf-8"))["made"]
    digest = sha256(corpus_file.read_bytes()).hexdigest()
    assert made["corpus"] == [{"file": corpus_file.name, "sha256": digest}]
    assert made["command"] == f"e2lm train compare {comparison} --held-out-tokens 4000"
    assert made["recipe"]["learning_rate"] == 0.01
    assert {"e2lm", "torch", "transformers"} <= set(made["versions"])
    assert made["data_hash"][:16] in made["citation"]
    page = (comparison / "report.html").read_text(encoding="utf-8")
    assert digest in page
    assert made["citation"].split(":")[0] in page


def test_arms_start_from_the_same_weights_cost_the_same_and_see_what_they_should(
    comparison: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = finished_runs([comparison])
    assert len({run.flops for run in runs}) == 1
    assert len({run.tokens for run in runs}) == 1
    first = [run for run in runs if run.seed == 0]
    weights = {(run.series_folder / "checkpoint-0" / "model.safetensors").read_bytes() for run in first}
    assert len(weights) == 1
    draws = {run.arm: np.sort(read_plan(run.folder / PREPARED_FOLDER).indices_SB.ravel()) for run in first}
    assert np.array_equal(draws["curriculum"], draws["exposure-matched"])
    exposure = {row["arm"]: row["ratios"] for row in compared(capsys, str(comparison))["exposure_by_decile"]}
    assert exposure["curriculum"][0] > 1.5 > exposure["curriculum"][9]
    assert exposure["curriculum"] == exposure["exposure-matched"]


def test_the_same_command_again_trains_nothing(comparison: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in comparison.glob("*/1x16/checkpoint-*/model.safetensors")}
    assert len(before) == 3 * 3 * 4
    assert run_command(["train", str(comparison.parent / "study.yaml"), "--json"]) == 0
    assert {file: file.stat().st_mtime_ns for file in before} == before


def test_without_a_vanilla_arm_nothing_is_claimed(
    comparison: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in comparison.glob("[ce]*-s?"):
        shutil.copytree(folder, tmp_path / folder.name)
    found = compared(capsys, str(tmp_path))
    assert found["verdicts"] == "no baseline, no claim"
    assert found["effects"] == []
    assert run_command(["train", "compare", str(tmp_path), "--held-out-tokens", "4000"]) == 0
    assert capsys.readouterr().out.startswith("no baseline, no claim")


def edited(file: Path, **fields: Any) -> None:
    data = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**data, **fields}), encoding="utf-8")


def test_arms_of_unequal_cost_are_refused_in_one_line(comparison: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(comparison, copy)
    record = copy / "curriculum-cosine-s1" / "1x16" / "run.json"
    edited(record, flops=1.02 * json.loads(record.read_text(encoding="utf-8"))["flops"])
    with pytest.raises(UserError, match=r"curriculum-cosine-s1: .* FLOPs .* unequal arms are not compared"):
        require_comparable(finished_runs([copy]))


def test_runs_with_another_recipe_are_refused_in_one_line(comparison: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(comparison, copy)
    record = copy / "vanilla-cosine-s2" / "1x16" / "run.json"
    config = json.loads(record.read_text(encoding="utf-8"))["config"]
    edited(record, config={**config, "learning_rate": 0.5})
    with pytest.raises(UserError, match=r"field 'learning_rate' is 0\.5, in .* it is 0\.01"):
        require_comparable(finished_runs([copy]))


def test_tasks_are_compared_from_what_e2lm_eval_scored(
    comparison: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = tmp_path / "scores"
    rng = np.random.default_rng(0)
    for run in finished_runs([comparison]):
        for point in Series.read(run.series_folder).checkpoints:
            # A task on which the curriculum is right throughout, and all others guess.
            write_samples(scores, run.series.name, point.step, rng, right=run.arm == "curriculum" and point.step > 0)
    found = compared(capsys, str(comparison), "--scores", str(scores))
    effects = {(one["measure"], one["arm"]): one for one in found["effects"]}
    assert effects["pairs", "curriculum"]["final"]["verdict"] == "better"
    assert effects["pairs", "exposure-matched"]["final"]["verdict"] == "no detectable difference"
    task = next(one for one in found["explanations"] if one["measure"] == "pairs")
    assert task["sentence"].startswith("Order explains it")
    assert next(one for one in found["measures"] if one["name"] == "pairs")["baselines"] == {"constant": 0.5}


def write_samples(scores: Path, series: str, step: int, rng: np.random.Generator, right: bool) -> None:
    from e2lm.item_metric import ItemChoices

    items = 60
    loglik_IC = rng.normal(-10, 1, (items, 2))
    if right:
        loglik_IC[:, 0] = 0.0
    whole_IC = np.full((items, 2), 5)
    choices = ItemChoices(loglik_IC, np.ones((items, 2), bool), whole_IC, whole_IC, whole_IC, np.zeros(items, np.int64))
    Samples(series, step, "pairs", np.arange(items), choices, np.zeros((items, 2), bool)).write(
        scores / "samples" / series / "pairs" / f"checkpoint-{step}.parquet"
    )


@pytest.fixture(scope="module")
def undecided_comparison(corpus_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shuffle against the same examples in another order, looked at with 3 and with 4 seeds."""
    folder = tmp_path_factory.mktemp("looks")
    data = comparison_settings(corpus_file, folder / "out")
    data |= {"tokens": 4 * 4 * 32, "checkpoints": 1, "curriculum": "shuffle"}
    data["compare"] |= {"arms": ["vanilla", "curriculum"], "most_seeds": 4, "held_out_tokens": 1000}
    assert run_command(["train", str(written(data, folder)), "--json", "--quiet"]) == 0
    return folder / "out"


def test_seeds_are_added_until_it_is_decided_or_there_are_no_more(
    undecided_comparison: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = undecided_comparison
    found = json.loads((out / "comparison.json").read_text(encoding="utf-8"))
    assert found["measures"][0]["seeds"] == {"cosine": [0, 1, 2, 3]}
    assert [look["seeds"] for look in found["sequential"]["looks"]] == [3, 4]
    assert (found["sequential"]["look"], found["sequential"]["undecided"]) == (2, ["cosine"])
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "this is look 2, planned were looks after 3, 4 seeds" in page
    assert "Not decided with 4 seeds (learning rate cosine)." in page
    words = ["train", "compare", str(out), "--held-out-tokens", "1000", "--json"]
    capsys.readouterr()
    assert run_command(words) == 0
    assert json.loads(capsys.readouterr().out) == found
    # A look at what is there before all arms have the next seed is the look before it.
    shutil.copytree(out, tmp_path / "killed")
    shutil.rmtree(tmp_path / "killed" / "curriculum-cosine-s3")
    assert run_command([*words[:2], str(tmp_path / "killed"), *words[3:]]) == 0
    earlier = json.loads(capsys.readouterr().out)
    assert (earlier["sequential"]["look"], earlier["power"]["seeds"]) == (1, 3)


def test_a_difference_too_small_to_matter_ends_a_comparison_at_its_first_look(
    undecided_comparison: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(undecided_comparison, out)
    for file in (out / "looks.json", out / "comparison.json"):
        file.unlink()
    data = yaml.safe_load((undecided_comparison.parent / "study.yaml").read_text(encoding="utf-8"))
    data["out"], data["compare"]["smallest"] = str(out), {"held-out text": 1000.0}
    file = written(data, tmp_path)
    capsys.readouterr()
    assert run_command(["train", str(file), "--json", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out)
    # The seed of a later look is there and not looked at.
    assert (found["sequential"]["look"], found["sequential"]["decided"], found["power"]["seeds"]) == (1, True, 3)
    assert found["sequential"]["within"] == [{"measure": "held-out text", "schedule": "cosine", "smallest": 1000.0}]
    assert "any difference is smaller than 1000" in (out / "report.html").read_text(encoding="utf-8")
    assert run_command(["train", str(file), "--dry-run", "--json"]) == 0
    assert [row["look"] for row in json.loads(capsys.readouterr().out)["runs"]] == [1] * 6 + [2] * 2
    data["compare"]["most_seeds"] = 9
    with pytest.raises(UserError, match="begun with other looks"):
        run_command(["train", str(written(data, tmp_path)), "--json", "--quiet"])


def test_a_report_tells_of_looks_that_nobody_planned(
    comparison: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compared(capsys, str(comparison))["looks_before"] == []
    earlier = json.loads((comparison / "comparison.json").read_text(encoding="utf-8"))
    earlier["power"]["seeds"] = 2
    (tmp_path / "comparison.json").write_text(json.dumps(earlier), encoding="utf-8")
    for _ in range(2):  # the same report again is no other look
        found = compared(capsys, str(comparison), "--out", str(tmp_path))
        assert found["looks_before"] == [2]
    assert "up to 10 of 100" in (tmp_path / "report.html").read_text(encoding="utf-8")
    (tmp_path / "comparison.json").write_text(json.dumps(earlier | {"made": {}}), encoding="utf-8")
    assert compared(capsys, str(comparison), "--out", str(tmp_path))["looks_before"] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sizes": ["1x16", "2x16"]}, "a comparison trains one size"),
        ({"arm": "anti"}, "field 'arm': set by the arms of section 'compare'"),
        ({"compare": {"seeds": 2}}, "field 'seeds': found 2"),
        ({"compare": {"arms": ["vanila"]}}, "arms"),
        ({"compare": {"seads": 3}}, "Did you mean 'seeds'"),
        ({"compare": {"arms": ["vanilla", "vanilla"]}}, "a value is there twice"),
        ({"curriculum": "climb-ngram-liner"}, "Did you mean 'climb-ngram-linear'"),
    ],
)
def test_a_mistake_in_the_configuration_is_named_and_nothing_is_written(
    corpus_file: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    out = tmp_path / "out"
    file = written({**comparison_settings(corpus_file, out), **change}, tmp_path)
    with pytest.raises(UserError, match=message):
        run_command(["train", str(file)])
    assert not out.exists()


def test_dry_run_lists_every_run_and_writes_nothing(
    corpus_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = comparison_settings(corpus_file, tmp_path / "out")
    data["compare"] = None
    assert run_command(["train", str(written(data, tmp_path)), "--dry-run", "--json"]) == 0
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert len(runs) == 5 * 5 * 2  # arms x seeds x learning rates
    assert {run["schedule"] for run in runs} == {"cosine", "constant"}
    assert not (tmp_path / "out").exists()


def test_an_arm_with_two_objectives_at_once_gets_half_the_tokens(
    corpus_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = comparison_settings(corpus_file, tmp_path / "out")
    data["curriculum"] = {"objectives": [{"objective": "mlm"}, {"objective": "pos-all"}]}
    data["family"] = "roberta"
    assert run_command(["train", str(written(data, tmp_path)), "--dry-run", "--json"]) == 0
    tokens = {run["arm"]: run["tokens"] for run in json.loads(capsys.readouterr().out)["runs"]}
    assert tokens["vanilla"] == 30 * 4 * 32
    assert tokens["curriculum"] == tokens["exposure-matched"] == 15 * 4 * 32


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["."], "no finished run of e2lm train in it"),
        ([".", "--threshold", "2"], "--threshold: found 2"),
        ([".", "--jobs", "0"], "--jobs: found 0"),
    ],
)
def test_mistakes_on_the_command_line_are_one_line(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        run_command(["train", "compare", *words])


@pytest.mark.parametrize("name", ["held_out.txt", "tokenizer.json", "plan.npy", "series.json", "run.json", "*.npz"])
def test_a_file_cut_short_is_made_anew_or_named_and_no_number_changes(
    comparison: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_out, "ProcessPoolExecutor", lambda count, *_: ThreadPoolExecutor(count))
    out = tmp_path / "out"
    shutil.copytree(comparison, out)
    for file in (one for one in sorted(out.rglob(name)) if "checkpoint-" not in str(one)):
        os.truncate(file, file.stat().st_size // 2)
    code = main(["train", "compare", str(out), "--held-out-tokens", "4000", "--json"])
    said = capsys.readouterr()
    if name == "*.npz":
        assert (code, said.err) == (0, "")
        whole = np.load(comparison / file.relative_to(out))["nats_KI"]
        assert np.load(file)["nats_KI"] == pytest.approx(whole, rel=1e-6)
    else:
        assert code == 2
        assert file.name in said.err
        assert said.err.strip().count("\n") == 0
