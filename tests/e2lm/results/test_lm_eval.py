"""lm-eval's files are read whatever release wrote them; ``lm_eval_outputs`` holds what the releases wrote."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from e2lm.command_line import main
from e2lm.errors import UserError
from e2lm.results import read_lm_eval_samples, read_scores
from e2lm.results.lm_eval import sample_files
from e2lm.results.lm_eval_items import ItemSamples, logged_records, logged_samples
from e2lm.samples import Samples
from e2lm.scores import ScoreRow

OUTPUTS = Path(__file__).parent / "lm_eval_outputs"
VERSIONS = ("0.4.0", "0.4.2", "0.4.3", "0.4.5", "0.4.8", "0.4.9", "0.4.13")
#: Before, only the file of samples tells how many items there were.
COUNTED_FROM = ("0.4.3", "0.4.5", "0.4.8", "0.4.9", "0.4.13")
ITEMS = 3


def result_of(version: str) -> dict[str, Any]:
    (file,) = (OUTPUTS / version).rglob("results*.json")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def logged(version: str) -> list[list[float]]:
    """The log-likelihoods in the file of samples, read without our reader."""
    (file,) = (OUTPUTS / version).rglob("*tiny_mc*.jsonl")
    text = file.read_text(encoding="utf-8")
    items = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
    items.sort(key=lambda item: item["doc_id"])
    return [[float(loglik) for loglik, _ in item["filtered_resps"]] for item in items]


def test_all_versions_that_are_said_to_be_read_are_there() -> None:
    assert sorted(one.name for one in OUTPUTS.iterdir() if one.is_dir()) == sorted(VERSIONS)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_value_comes_out_with_series_step_and_number_of_items(version: str) -> None:
    source = read_scores(OUTPUTS / version)
    assert source.layout == "lm-eval"
    assert source.notes == ()
    rows = {(row.task, row.metric): row for row in source.scores.rows()}
    expected = result_of(version)["results"]
    for task, metric in (("tiny_mc", "acc,none"), ("tiny_mc", "acc_norm,none"), ("tiny_gen", "exact_match,first-word")):
        row = rows[task, metric.removesuffix(",none")]
        name, _, how = metric.partition(",")
        assert row.value == expected[task][metric]
        assert row.stderr == expected[task][f"{name}_stderr,{how}"]
        assert (row.series, row.step, row.n) == ("tiny", 20, ITEMS)
    assert not [key for key in rows if not key[1].strip() or key[1] in ("alias", "name", "sample_len")]


@pytest.mark.parametrize("version", VERSIONS)
def test_samples_give_the_log_likelihoods_and_the_metrics_that_were_not_reported(version: str) -> None:
    (samples,) = read_lm_eval_samples(OUTPUTS / version)
    assert (samples.series, samples.step, samples.task) == ("tiny", 20, "tiny_mc")
    expected = logged(version)
    choices = samples.choices
    assert [list(row[there]) for row, there in zip(choices.loglik_IC, choices.there_IC, strict=True)] == expected
    assert list(choices.gold_I) == [0, 1, 0]
    assert choices.bytes_IC.tolist() == [[4, 11, -1], [5, 4, -1], [4, 3, 4]]
    assert not samples.greedy_IC.any()
    rows = {row.metric: row for row in read_scores(OUTPUTS / version).scores.where(task="tiny_mc").rows()}
    margins = [
        logliks[gold] - max(logliks[:gold] + logliks[gold + 1 :])
        for logliks, gold in zip(expected, (0, 1, 0), strict=True)
    ]
    assert rows["margin"].value == pytest.approx(np.mean(margins), rel=1e-12)
    assert rows["margin"].stderr == pytest.approx(np.std(margins, ddof=1) / math.sqrt(ITEMS), rel=1e-12)
    assert not [name for name in rows if name.endswith("_per_token")]  # lm-eval does not log how many tokens there were


@pytest.mark.parametrize("version", VERSIONS)
def test_e2lm_signal_reads_a_run_that_this_version_evaluated(
    version: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in (10, 20, 30, 40):
        place = tmp_path / "results" / f"at-{step}"
        shutil.copytree(OUTPUTS / version, place)
        for file in [one for one in place.rglob("*") if one.is_file()]:
            file.write_text(file.read_text("utf-8").replace("checkpoint-20", f"checkpoint-{step}"), encoding="utf-8")
            file.rename(file.with_name(file.name.replace("checkpoint-20", f"checkpoint-{step}")))
    assert main(["signal", str(tmp_path / "results"), "--json", "--tasks", "tiny_mc", "--scores", "e2lmc_sq"]) == 0
    told = capsys.readouterr()
    report = json.loads(told.out)
    assert {"acc", "margin", "gold_minus_mean_wrong"} <= {row["metric"] for row in report["rows"]}
    assert {row["series"] for row in report["rows"]} == {"tiny"}
    assert "paired item bootstraps" in told.err + told.out


def test_before_0_4_3_a_file_of_any_name_may_hold_the_results(tmp_path: Path) -> None:
    shutil.copytree(OUTPUTS / "0.4.0", tmp_path / "out")
    (tmp_path / "out" / "results.json").rename(tmp_path / "out" / "my-run.json")
    (tmp_path / "out" / "unrelated.json").write_text('{"results": [1]}', encoding="utf-8")
    assert {row.step for row in read_scores(tmp_path / "out").scores.rows()} == {20}
    assert [len(one) for one in read_lm_eval_samples(tmp_path / "out")] == [ITEMS]


def test_from_0_4_9_on_a_name_of_ones_own_gets_the_date(tmp_path: Path) -> None:
    shutil.copytree(OUTPUTS / "0.4.13" / "runs__tiny__checkpoint-20", tmp_path / "out")
    (results,) = (tmp_path / "out").glob("results_*.json")
    results.rename(results.with_name(results.name.replace("results_", "mine_")))
    assert {row.step for row in read_scores(tmp_path / "out").scores.rows()} == {20}
    assert [len(one) for one in read_lm_eval_samples(tmp_path / "out")] == [ITEMS]


def test_a_results_json_of_another_program_is_passed_over(tmp_path: Path) -> None:
    shutil.copytree(OUTPUTS / "0.4.13", tmp_path / "out")
    (tmp_path / "out" / "results.json").write_text('{"results": "of an election"}', encoding="utf-8")
    assert {row.task for row in read_scores(tmp_path / "out").scores.rows()} == {"tiny_mc", "tiny_gen"}


def test_without_samples_the_number_of_items_is_unknown_before_0_4_3(tmp_path: Path) -> None:
    for version in VERSIONS:
        shutil.copytree(OUTPUTS / version, tmp_path / version, ignore=shutil.ignore_patterns("*.jsonl"))
        counts = {row.n for row in read_scores(tmp_path / version).scores.where(task="tiny_mc").rows()}
        assert counts == ({ITEMS} if version in COUNTED_FROM else {0})
        assert read_lm_eval_samples(tmp_path / version) == []


# -- kinds of items -----------------------------------------------------------------------------------------------


def record(
    doc_id: int, target: object, pairs: list[tuple[str, str]], logliks: list[float], **more: object
) -> dict[str, Any]:
    """One item as 0.4.3 and later log it."""
    arguments = {f"gen_args_{k}": {"arg_0": pair[0], "arg_1": pair[1]} for k, pair in enumerate(pairs)}
    answers = [[str(value), "False"] for value in logliks]
    return {"doc_id": doc_id, "target": target, "arguments": arguments, "filtered_resps": answers, **more}


def read_all(records: list[dict[str, Any]], folder: Path, **config: object) -> ItemSamples:
    file = folder / "samples_t_2026.jsonl"
    file.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in records), encoding="utf-8")
    return logged_samples(file, logged_records(file), "t", {"output_type": "multiple_choice", **config}, "run", 5)


def read(records: list[dict[str, Any]], folder: Path, **config: object) -> Samples | None:
    return read_all(records, folder, **config).samples


ABC = [("q", " a"), ("q", " b"), ("q", " c")]


@pytest.mark.parametrize(("target", "gold"), [(1, 1), ("1", 1), ("c", 2), ("0", 0)])
def test_the_true_choice_is_told_by_its_index_or_by_its_text(target: object, gold: int, tmp_path: Path) -> None:
    samples = read([record(0, target, ABC, [-1.0, -2.0, -3.0])], tmp_path)
    assert samples is not None
    assert samples.choices.gold_I.tolist() == [gold]


def test_an_item_with_several_right_answers_or_with_none_stays_and_what_none_means_is_a_line(tmp_path: Path) -> None:
    wrong = (
        "1 of 2 items count as wrong in accuracies, as in lm-eval, and nowhere else: the right answer is none of the"
    )
    for target, golds, lines in (
        ("[0, 2]", [True, False, True], ()),
        ("7", [False] * 3, (f"{wrong} choices (doc_id 0)",)),
    ):
        found = read_all([record(one, "0" if one else target, ABC, [-1.0, -2.0, -3.0]) for one in (1, 0)], tmp_path)
        assert found.samples is not None
        assert found.samples.doc_ids_I.tolist() == [0, 1]
        assert found.samples.choices.gold_IC.tolist() == [golds, [True, False, False]]
        assert found.left_out == lines


def test_nothing_is_believed_of_a_log_that_contradicts_itself_or_does_not_tell(tmp_path: Path) -> None:
    plain = [-1.0, -2.0, -3.0]
    disagreeing = read_all([record(1, "0", ABC, plain), record(0, "1", ABC, plain, acc=1.0)], tmp_path)
    assert disagreeing.samples is None
    assert disagreeing.left_out == ("lm-eval counts other choices as right than the task names: no item metrics",)
    winogrande = [record(0, "fell", [("he", " fell"), ("she", " fell")], [-1.0, -2.0])]
    assert read_all(winogrande, tmp_path).samples is None
    assert "which choice is right is not logged" in read_all(winogrande, tmp_path).left_out[0]
    generation = read_all([record(0, "x", [("q", "x")], [-1.0])], tmp_path, output_type="generate_until")
    assert generation == ItemSamples(None)


def test_of_two_contexts_the_accuracy_tells_which_is_right(tmp_path: Path) -> None:
    pairs = [("he", " fell"), ("she", " fell")]
    samples = read([record(k, "fell", pairs, [-1.0, -2.0], acc=float(k == 0)) for k in range(2)], tmp_path)
    assert samples is not None
    assert samples.choices.gold_I.tolist() == [0, 1]
    assert samples.choices.chars_IC.tolist() == [[4, 4], [4, 4]]


def test_a_target_that_may_be_a_position_or_a_text_is_neither_unless_the_accuracy_tells(tmp_path: Path) -> None:
    pairs = [("q", " 1"), ("q", " 0")]
    plain = record(0, "1", pairs, [-1.0, -2.0])
    assert read([plain], tmp_path) is None
    for acc, gold in ((1.0, 0), (0.0, 1)):
        told = read([plain | {"acc": acc}], tmp_path)
        assert told is not None
        assert told.choices.gold_I.tolist() == [gold]
    by_field = read([plain | {"doc": {"label": "1"}}], tmp_path, doc_to_target="label")
    assert by_field is not None
    assert by_field.choices.gold_I.tolist() == [0]
    by_template = read([plain], tmp_path, doc_to_target="{{label}}")
    assert by_template is not None
    assert by_template.choices.gold_I.tolist() == [1]


def test_a_damaged_file_costs_itself(tmp_path: Path) -> None:
    shutil.copytree(OUTPUTS / "0.4.13", tmp_path / "out")
    whole = read_scores(tmp_path / "out").scores.frame
    (tmp_path / "out" / "results_2030-01-01.json").write_text("", encoding="utf-8")
    source = read_scores(tmp_path / "out")
    assert source.scores.frame.equals(whole)
    assert len(source.notes) == 1
    assert "results_2030-01-01.json: not valid JSON" in source.notes[0]
    (samples,) = (tmp_path / "out").rglob("samples_tiny_mc_*.jsonl")
    samples.write_text("{", encoding="utf-8")
    source = read_scores(tmp_path / "out")
    assert {row.metric for row in source.scores.where(task="tiny_mc").rows()} == {"acc", "acc_norm"}
    assert "not lm-eval's samples" in source.notes[1]
    for file in (tmp_path / "out").rglob("results_*.json"):
        file.write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="not valid JSON"):
        read_scores(tmp_path / "out")


def test_choices_asked_again_without_context_are_no_choices(tmp_path: Path) -> None:
    pairs = [*ABC, ("", "a"), ("", "b"), ("", "c")]
    one = record(0, "0", pairs, [-1.0, -2.0, -3.0, -9.0, -9.0, -9.0], acc_mutual_info=1.0, acc=1.0)
    samples = read([one], tmp_path)
    assert samples is not None
    assert samples.choices.loglik_IC.tolist() == [[-1.0, -2.0, -3.0]]


def test_more_than_ten_choices_stay_in_their_order(tmp_path: Path) -> None:
    pairs = [("q", f" {k}x") for k in range(12)]
    samples = read([record(0, "11", pairs, [-float(k) for k in range(12)])], tmp_path)
    assert samples is not None
    assert samples.choices.loglik_IC[0].tolist() == [-float(k) for k in range(12)]


def test_delimiters_are_not_counted_and_line_separators_in_texts_are_kept(tmp_path: Path) -> None:
    pairs = [("q", "\na\u2028b"), ("q", "\n c")]
    samples = read([record(0, "0", pairs, [-1.0, -2.0])], tmp_path, target_delimiter="\n")
    assert samples is not None
    assert samples.choices.chars_IC.tolist() == [[3, 2]]


def test_one_text_has_one_choice(tmp_path: Path) -> None:
    one = record(0, " word", [("The last", " word")], [-2.5], acc=0.0)
    samples = read([one], tmp_path, output_type="loglikelihood")
    assert samples is not None
    assert samples.choices.loglik_IC.tolist() == [[-2.5]]


@pytest.mark.parametrize("text", ["{", '{"doc_id": 0}\n{"target"', "[1, 2]", '{"target": 1}'])
def test_a_damaged_file_is_one_line_that_names_it(text: str, tmp_path: Path) -> None:
    file = tmp_path / "samples_t_2026.jsonl"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"samples_t_2026\.jsonl: not lm-eval's samples"):
        logged_records(file)


def test_an_item_of_another_form_is_one_line_that_names_the_file(tmp_path: Path) -> None:
    broken = record(0, "0", ABC, [-1.0, -2.0, -3.0])
    del broken["arguments"]["gen_args_1"]["arg_1"]
    with pytest.raises(UserError, match="an item is not as lm-eval writes it"):
        read([broken], tmp_path)


def test_samples_belong_to_the_results_of_their_date(tmp_path: Path) -> None:
    for date in ("2026-01-01", "2026-01-02"):
        (tmp_path / f"samples_t_{date}.jsonl").write_text("", encoding="utf-8")
    found = sample_files(tmp_path / "results_2026-01-02.json", {"configs": {"t": {}, "u": {}}})
    assert found == {"t": tmp_path / "samples_t_2026-01-02.jsonl"}


def test_a_row_says_what_is_not_known() -> None:
    (row,) = [
        one for one in read_scores(OUTPUTS / "0.4.0").scores.rows() if (one.task, one.metric) == ("tiny_mc", "acc")
    ]
    assert isinstance(row, ScoreRow)
    assert math.isnan(row.params)
    assert math.isnan(row.tokens)
