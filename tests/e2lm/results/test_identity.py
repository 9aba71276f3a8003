"""What results are about: whatever differs but the step is another curve, what is not used is named with a reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2lm import UserError
from e2lm.results import Reading, read_scores
from e2lm.results.collection import kept_apart
from e2lm.results.result import Notes
from e2lm.scores import ScoreRow, Scores

DATES: Iterator[int] = count(1)


def results(folder: Path, model_args: str, acc: float, task: str = "arc", **more: Any) -> Path:
    """A file of results as lm-eval 0.4.13 writes it, cut to what tells evaluations apart."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model": "hf", "model_args": model_args, "limit": None, "gen_kwargs": None, **more.pop("config", {})}
    data: dict[str, Any] = {
        "results": {task: {"alias": task, "acc,none": acc, "acc_stderr,none": 0.01}},
        "configs": {task: {"task": task}},
        "versions": {task: 1.0},
        "n-shot": {task: 0},
        "n-samples": {task: {"original": 500, "effective": 500}},
        "config": config,
        "lm_eval_version": "0.4.13",
        "chat_template": None,
    }
    number = next(DATES)
    file = folder / f"results_2026-01-01T{number // 3600:02}-{number // 60 % 60:02}-{number % 60:02}.{number}.json"
    file.write_text(json.dumps({**data, **more}), encoding="utf-8")
    return file


def curves(folder: Path, **reading: Any) -> dict[tuple[str, str], list[tuple[int, float]]]:
    """Step and value by series and task."""
    found: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for row in read_scores(folder, Reading(**reading)).scores.rows():
        found.setdefault((row.series, row.task), []).append((row.step, row.value))
    return found


DIFFERENCES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"n-shot": {"arc": 0}}, {"n-shot": {"arc": 25}}, "shots"),
    ({"versions": {"arc": 1}}, {"versions": {"arc": 2}}, "version"),
    ({"task_hashes": {"arc": "ab" * 8}}, {"task_hashes": {"arc": "cd" * 8}}, "hash"),
    ({}, {"n-samples": {"arc": {"original": 500, "effective": 100}}}, "limit"),
    ({}, {"n-samples": {"arc": {"original": 700, "effective": 700}}}, "items"),
    ({}, {"chat_template": "{{ messages }}"}, "chat_template"),
    ({"system_instruction": None}, {"system_instruction": "Be brief."}, "system_prompt"),
    ({}, {"config": {"gen_kwargs": {"temperature": 1.0}}}, "gen_kwargs"),
    ({}, {"lm_eval_version": "0.4.2"}, "harness_version"),
    ({"config": {"model_dtype": "torch.float32"}}, {"config": {"model_dtype": "torch.bfloat16"}}, "dtype"),
]


@pytest.mark.parametrize(("one", "two", "name"), DIFFERENCES, ids=[name for *_, name in DIFFERENCES])
def test_what_differs_is_another_curve_at_whatever_steps(
    one: dict[str, Any], two: dict[str, Any], name: str, tmp_path: Path
) -> None:
    for step, more, acc in ((10, one, 0.1), (20, one, 0.2), (20, two, 0.8), (30, two, 0.9)):
        results(tmp_path, f"pretrained=org/tiny,revision=step{step}", acc, **dict(more))
    found = curves(tmp_path)
    assert sorted(found.values()) == [[(10, 0.1), (20, 0.2)], [(20, 0.8), (30, 0.9)]]
    source = read_scores(tmp_path)
    assert any(f"differ in {name} are kept apart" in note for note in source.notes)
    keys = {row.key for row in source.scores.rows()}
    assert len({json.loads(key)[name] for key in keys}) == len(keys) == 2


@pytest.mark.parametrize("setting", ["load_in_4bit=True", "max_length=512", "add_bos_token=True"])
def test_arguments_that_change_numbers_split_and_those_that_do_not_do_not(setting: str, tmp_path: Path) -> None:
    for step, more in ((10, ""), (20, ",device_map=auto"), (20, f",{setting}")):
        results(tmp_path, f"pretrained=org/tiny,revision=step{step}{more}", step / 100)
    assert sorted(map(len, curves(tmp_path).values())) == [1, 2]


def test_revisions_that_tell_no_step_are_models_of_their_own(tmp_path: Path) -> None:
    for revision in ("v1", "v2"):
        results(tmp_path, f"pretrained=stepfun-ai/Step-3-mini,revision={revision}", 0.3)
    assert set(curves(tmp_path)) == {("Step-3-mini (revision=v1)", "arc"), ("Step-3-mini (revision=v2)", "arc")}


def test_a_stage_of_training_is_a_series_of_its_own(tmp_path: Path) -> None:
    for stage in (1, 2):
        results(tmp_path, f"pretrained=allenai/OLMo-2,revision=stage{stage}-step1000", stage / 10)
    assert set(curves(tmp_path)) == {("OLMo-2-stage1", "arc"), ("OLMo-2-stage2", "arc")}


def test_what_one_file_does_not_tell_is_taken_as_the_others_have_it_while_they_agree(tmp_path: Path) -> None:
    results(tmp_path, "pretrained=org/tiny,revision=step10", 0.1, **{"n-shot": {}})
    results(tmp_path, "pretrained=org/tiny,revision=step20", 0.2, **{"n-shot": {"arc": 5}})
    assert curves(tmp_path) == {("tiny", "arc"): [(10, 0.1), (20, 0.2)]}
    results(tmp_path, "pretrained=org/tiny,revision=step20", 0.3, **{"n-shot": {"arc": 0}})
    assert set(curves(tmp_path)) == {("tiny", f"arc ({told})") for told in ("shots unknown", "shots=0", "shots=5")}


def test_a_group_was_evaluated_as_its_tasks_were(tmp_path: Path) -> None:
    for shots in (0, 5):
        more = {"n-shot": {"arc": shots}, "group_subtasks": {"both": ["arc"]}}
        file = results(tmp_path, "pretrained=org/tiny,revision=step10", 0.1, **more)
        data = json.loads(file.read_text("utf-8"))
        data["results"]["both"] = {"acc,none": shots / 10}
        file.write_text(json.dumps(data), encoding="utf-8")
    assert {task: values for (_, task), values in curves(tmp_path).items() if task.startswith("both")} == {
        "both (shots=0)": [(10, 0.0)],
        "both (shots=5)": [(10, 0.5)],
    }


def test_split_by_names_all_that_splits_and_what_is_joined_is_said(tmp_path: Path) -> None:
    results(tmp_path, "pretrained=org/tiny,revision=step10", 0.1, lm_eval_version="0.4.12")
    results(tmp_path, "pretrained=org/tiny,revision=step20", 0.2, lm_eval_version="0.4.13")
    assert curves(tmp_path, split_by=("model", "shots")) == {("tiny", "arc"): [(10, 0.1), (20, 0.2)]}
    notes = read_scores(tmp_path, Reading(split_by=("shots",))).notes
    assert any("joined though harness_version differs (0.4.12, 0.4.13)" in note for note in notes)


def test_split_by_joins_no_two_values_of_one_place(tmp_path: Path) -> None:
    for shots in (0, 5):
        results(tmp_path, "pretrained=org/tiny,revision=step10", 0.1, **{"n-shot": {"arc": shots}})
    with pytest.raises(UserError, match=r"shots 5, and .*: shots 0, are both arc of tiny at step 10; add shots to"):
        read_scores(tmp_path, Reading(split_by=("dtype",)))
    with pytest.raises(UserError, match=r"--split-by: results have no field 'shot'. Did you mean 'shots'"):
        read_scores(tmp_path, Reading(split_by=("shot",)))


def test_split_by_may_name_what_splits_only_where_asked(tmp_path: Path) -> None:
    for model in ("hf", "vllm"):
        results(tmp_path, f"pretrained=org/tiny,revision=step{10 * len(model)}", 0.1, config={"model": model})
    assert set(curves(tmp_path)) == {("tiny", "arc")}
    apart = curves(tmp_path, split_by=("backend",))
    assert set(apart) == {("tiny (backend=hf)", "arc"), ("tiny (backend=vllm)", "arc")}


@pytest.mark.parametrize(
    ("names", "steps"),
    [
        (["pretrained=b/tiny,revision=chck_1M", "pretrained=b/tiny,revision=chck_2M"], [1_000_000, 2_000_000]),
        (["pretrained=b/tiny,revision=2B", "pretrained=b/tiny,revision=10B"], [2 * 10**9, 10**10]),
        (["pretrained=b/tiny,revision=tokens_1B", "pretrained=b/tiny,revision=tokens_2B"], [10**9, 2 * 10**9]),
        (["pretrained=/ck/tiny/epoch-1", "pretrained=/ck/tiny/epoch-10"], [1, 10]),
        (["pretrained=/ck/tiny/samples_1000", "pretrained=/ck/tiny/samples_900"], [900, 1000]),
        (["pretrained=/ck/tiny/1000", "pretrained=/ck/tiny/2000"], [1000, 2000]),
    ],
)
def test_names_that_count_something_else_than_steps_are_one_run_and_it_is_said(
    names: list[str], steps: list[int], tmp_path: Path
) -> None:
    for name in names:
        results(tmp_path, name, 0.1)
    assert {key: [step for step, _ in values] for key, values in curves(tmp_path).items()} == {("tiny", "arc"): steps}
    assert any("tell no step but count" in note for note in read_scores(tmp_path).notes)


def test_patterns_say_how_names_are_read(tmp_path: Path) -> None:
    for run, number in (("a", 7), ("a", 9), ("b", 7)):
        results(tmp_path, f"pretrained=/runs/{run}/weights_v{number}", number / 10)
    steps = {"step_pattern": "weights_v([0-9]+)"}
    assert curves(tmp_path, **steps) == {("a", "arc"): [(7, 0.7), (9, 0.9)], ("b", "arc"): [(7, 0.7)]}
    named = curves(tmp_path, **steps, series_pattern="/runs/(?P<series>[^/]+)/")
    assert named == {("a", "arc"): [(7, 0.7), (9, 0.9)], ("b", "arc"): [(7, 0.7)]}


@pytest.mark.parametrize(
    ("pattern", "said"), [("it[", "no regular expression"), ("it", "has no group"), ("/(runs)/", "is no step")]
)
def test_a_pattern_that_cannot_be_is_one_line(pattern: str, said: str, tmp_path: Path) -> None:
    results(tmp_path, "pretrained=/runs/a/it7", 0.1)
    with pytest.raises(UserError, match=f"--step-pattern: .*{said}"):
        read_scores(tmp_path, Reading(step_pattern=pattern))


def test_a_table_with_keys_has_a_curve_for_each() -> None:
    rows = [
        ScoreRow("run", step, "arc", "acc", value, key=json.dumps({"shots": shots}))
        for step, value, shots in ((1, 0.1, 0), (2, 0.2, 0), (1, 0.6, 5), (2, 0.7, 5))
    ]
    apart = kept_apart(Scores.from_rows(rows), Reading(), Path("t.csv"), Notes())
    assert [(row.task, row.value) for row in apart.rows()] == [
        *(("arc (shots=0)", value) for value in (0.1, 0.2)),
        *(("arc (shots=5)", value) for value in (0.6, 0.7)),
    ]
    plain = Scores.from_rows(rows[:2])
    assert kept_apart(plain, Reading(), Path("t.csv"), Notes()) is plain


# -- no value disappears unsaid, no two keys share a row ----------------------------------------------------------

MODELS = st.sampled_from(
    [
        *("orgA/tiny", "orgB/tiny", "/ck/tiny", "/other/ck/tiny", "orgA/wide"),
        *("/ck/tiny/global_step{}", "/ck/b/tiny/global_step{}", "/ck/tiny/{}", "/ck/tiny-step{}"),
    ]
)
EVALUATIONS = st.fixed_dictionaries(
    {
        "place": MODELS,
        "revision": st.sampled_from(["", "step{}", "stage1-step{}", "v{}", "tokens_{}B", "main"]),
        "step": st.sampled_from([10, 20, 30]),
        "shots": st.sampled_from([None, 0, 5]),
        "effective": st.sampled_from([500, 100]),
        "dtype": st.sampled_from(["", "float32"]),
        "folder": st.sampled_from(["a", "b", "a/x"]),
    }
)


def written(one: dict[str, Any], root: Path, value: float) -> Path:
    place, revision = (one[name].format(one["step"]) for name in ("place", "revision"))
    parts = {"pretrained": place, "revision": revision, "dtype": one["dtype"]}
    return results(
        root / one["folder"],
        ",".join(f"{name}={told}" for name, told in parts.items() if told),
        value,
        **{
            "n-shot": {} if one["shots"] is None else {"arc": one["shots"]},
            "n-samples": {"arc": {"original": 500, "effective": one["effective"]}},
        },
    )


@given(st.lists(EVALUATIONS, min_size=1, max_size=7))
@settings(deadline=None, max_examples=60)
def test_no_value_disappears_unsaid_and_no_two_keys_share_a_row(evaluations: list[dict[str, Any]]) -> None:
    with TemporaryDirectory() as folder:
        root = Path(folder)
        files = {index / 64: written(one, root, index / 64) for index, one in enumerate(evaluations)}
        source = read_scores(root)
    rows = {row.value: row for row in source.scores.rows()}
    places = [(row.series, row.task, row.metric, row.step) for row in source.scores.rows()]
    assert len(set(places)) == len(places)
    for value, file in files.items():
        if value not in rows:
            assert any(str(file) in str(left.file) for left in source.left_out), f"{file} disappeared unsaid"
            assert any("evaluated more than once" in note for note in source.notes)
    facts: dict[tuple[str, str], set[tuple[object, ...]]] = {}
    for index, one in enumerate(evaluations):
        row = rows.get(index / 64)
        if row is not None:
            stage = "stage1" if one["revision"].startswith("stage1") and "{}" not in one["place"] else ""
            version = one["revision"].format(one["step"]) if one["revision"] == "v{}" else ""
            told = (one["place"], stage, one["effective"], version)
            facts.setdefault((row.series, row.task), set()).add(told)
            shots = {other["shots"] for other in evaluations} - {None}
            assert len(shots) < 2 or ("shots" in row.task), row
    # Of two models with one name at the same or another place, one curve has the values of one of them.
    for told in facts.values():
        assert len({tuple(one[1:]) for one in told}) == 1
        assert len({_run_of(place) for place, *_ in told}) == 1, told


def _run_of(place: str) -> str:
    """The folder of the run, or the repository."""
    for ending in ("/global_step{}", "/{}", "-step{}"):
        place = place.removesuffix(ending)
    return place


def test_a_revision_that_only_counts_tokens_is_not_taken_for_that_of_its_neighbour(tmp_path: Path) -> None:
    for value, revision in ((0.1, "v10"), (0.2, "tokens_10B"), (0.3, "tokens_20B")):
        results(tmp_path / revision, f"pretrained=orgB/tiny,revision={revision}", value)
    series = {row.value: row.series for row in read_scores(tmp_path).scores.rows()}
    assert series[0.2] == series[0.3] != series[0.1]
