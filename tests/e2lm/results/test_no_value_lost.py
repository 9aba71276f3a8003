"""Over folders that are drawn at random: no value disappears unsaid, and no two keys share a row."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from e2lm.results import read_scores
from e2lm.scores import ScoreSource

Json = dict[str, Any]

#: What a file may tell, each in a way of its own or not at all.
FILE = st.fixed_dictionaries(
    {
        "place": st.sampled_from(
            [
                *(
                    "orgA/tiny",
                    "orgB/tiny",
                    "tiny",
                    "/data/run/step10/hf",
                    "runs/wide-step20",
                    "/ck/runA/global_step10",
                ),
                *("/ck/runB/global_step10", "run/epoch=1-step=10.ckpt", "ck/tokens_4B", "org/tiny-4B", "nano/10"),
            ]
        ),
        "revision": st.sampled_from(
            [None, "step10", "step20", "stage2-step10", "main", "chck_1M", "4B", "ep0-ba10", "v1", "step10-tokens1B"]
        ),
        "folder": st.sampled_from(["", "step10", "0shot", "a/step20", "b/step20", "org__tiny__step10"]),
        "shots": st.sampled_from([None, 0, 5]),
        "limit": st.sampled_from(["", None, 100]),
        "dtype": st.sampled_from([None, "float", "bfloat16"]),
        "template": st.sampled_from(["", None, "{{ chat }}"]),
        "version": st.sampled_from([1, 2]),
        "is_old": st.booleans(),
        "tasks": st.sampled_from([("arc",), ("arc", "piqa")]),
    }
)


def written(root: Path, number: int, file: dict[str, Any]) -> dict[str, float]:
    """Write the file; its values, which no other file has, by task."""
    arguments = f"pretrained={file['place']}"
    arguments += f",revision={file['revision']}" if file["revision"] else ""
    arguments += f",dtype={file['dtype']}" if file["dtype"] else ""
    config: dict[str, Any] = {"model": "hf", "model_args": arguments}
    if file["limit"] != "":
        config["limit"] = file["limit"]
    values = {task: number + (1 + place) / 16 for place, task in enumerate(file["tasks"])}
    filtered = "" if file["is_old"] else ",none"
    data: dict[str, Any] = {
        "results": {task: {f"acc{filtered}": value} for task, value in values.items()},
        "versions": dict.fromkeys(values, file["version"]),
        "config": config,
    }
    if file["shots"] is not None:
        data["n-shot"] = dict.fromkeys(values, file["shots"])
    if file["template"] != "":
        data["chat_template"] = file["template"]
    folder = root / file["folder"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"results_2025-08-01T00-00-{number:02d}.json").write_text(json.dumps(data))
    return values


def said(source: ScoreSource) -> int:
    """How many values are said not to be used."""
    counts = [re.match(r"(\d+) values of ", one.what) for one in source.left_out]
    return sum(int(one[1]) for one in counts if one is not None)


#: Field -> how it stands in a file that does not tell it.
UNTOLD = {"shots": None, "limit": "", "dtype": None, "template": "", "version": 0}


#: Of these no two are checkpoints of one run.
NO_SAME_RUN = {"orgA/tiny", "orgB/tiny", "/ck/runA/global_step10", "/ck/runB/global_step10", "org/tiny-4B"}


def may_be_one(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether nothing that two files both tell sets them apart."""
    if one["place"] != other["place"] and {one["place"], other["place"]} <= NO_SAME_RUN:
        return False
    return all(untold in (one[name], other[name]) or one[name] == other[name] for name, untold in UNTOLD.items())


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(st.lists(FILE, min_size=1, max_size=7))
def test_every_value_is_in_the_table_or_said_to_be_left_out_and_a_row_has_one_key(files: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        told = [written(Path(folder), number, file) for number, file in enumerate(files)]
        source = read_scores(Path(folder))
    frame = source.scores.frame
    kept = set(frame["value"])
    values = [value for one in told for value in one.values()]
    assert kept <= set(values)
    assert len(frame) == len(kept)
    assert len(values) - len(kept) == said(source)
    assert not frame.duplicated(["series", "task", "metric", "step"]).any()
    assert (frame.groupby(["series", "task"])["key"].nunique() == 1).all()
    for one, file in zip(told, files, strict=True):
        for task, value in one.items():
            for key in map(json.loads, frame["key"][frame["value"] == value]):
                assert key["task"] == task
                assert key["version"] == str(file["version"])
                assert file["shots"] is None or key["shots"] == str(file["shots"])
                assert file["dtype"] is None or key["dtype"] == file["dtype"]
    for _, curve in frame.groupby(["series", "task"]):
        runs = {files[int(value)]["place"] for value in curve["value"]} & NO_SAME_RUN
        assert len(runs) <= 1, f"{runs} share a curve"
    for left in source.left_out:
        older, newer = (files[int(one)] for one in re.findall(r"results_2025-08-01T00-00-(\d\d)", left.what + left.why))
        assert may_be_one(older, newer), f"{older} was dropped for {newer}, which differs from it"


# -- files of several programs in one folder ----------------------------------------------------------------------

#: Program -> what it writes of ``task`` at ``step``: the name of a file, and its contents with the metrics.
METRICS = st.fixed_dictionaries(
    {
        "values": st.integers(1, 3),
        "odd": st.sampled_from([None, [0.5], "0.5", {"a": 1.0}]),
        "task": st.sampled_from(["arc", "piqa"]),
        "step": st.sampled_from([10, 20]),
        "shots": st.sampled_from([0, 5, 25]),
        "limit": st.sampled_from([None, 100]),
        "revision": st.sampled_from(["step{step}", "stage1-step{step}", "stage2-step{step}-tokens2B"]),
        "harness_version": st.sampled_from(["0.4.3", "0.4.9"]),
        "template": st.sampled_from([None, "{{ chat }}"]),
        "dtype": st.sampled_from(["float32", "bfloat16"]),
    }
)
PROGRAM = st.sampled_from(["lm-eval", "old", "lighteval", "olmes", "olmes-all", "bloom", "trainer", "csv", "e2lmc"])


def numbers(number: int, told: Json) -> dict[str, float]:
    """Metrics with values that no other file has."""
    return {f"metric{place}": number + (1 + place) / 16 for place in range(told["values"])}


def lm_eval_file(number: int, told: Json, suffix: str) -> tuple[str, Json]:
    values: Json = {f"{metric}{suffix}": value for metric, value in numbers(number, told).items()}
    if told["odd"] is not None:
        values[f"odd{suffix}"] = told["odd"]
    revision = told["revision"].format(step=told["step"])
    data = {
        "results": {told["task"]: values},
        "versions": {told["task"]: 1},
        "n-shot": {told["task"]: told["shots"]},
        "config": {
            "model_args": f"pretrained=org/tiny,revision={revision},dtype={told['dtype']}",
            "limit": told["limit"],
        },
        "chat_template": told["template"],
        "lm_eval_version": told["harness_version"],
    }
    return f"results_2025-08-01T00-00-{number:02d}.json", data


def lighteval_file(number: int, told: Json) -> tuple[str, Json]:
    values = {**numbers(number, told), **({} if told["odd"] is None else {"odd": told["odd"]})}
    general = {
        "model_config": {"model_name": "org/tiny", "revision": told["revision"].format(step=told["step"])},
        "model_dtype": told["dtype"],
        "max_samples": told["limit"],
    }
    task = f"leaderboard|{told['task']}|{told['shots']}"
    return f"results_2025-08-01T00-01-{number:02d}.json", {"config_general": general, "results": {task: values}}


def olmes_data(number: int, told: Json) -> Json:
    return {
        "task_name": told["task"],
        "metrics": {**numbers(number, told), **({} if told["odd"] is None else {"odd": told["odd"]})},
        "model_config": {"model": "org/tiny", "revision": told["revision"].format(step=told["step"])},
        "task_config": {"num_shots": told["shots"], "limit": told["limit"]},
    }


def bloom_file(number: int, told: Json) -> tuple[str, Json]:
    entries = [
        {"task_name": told["task"], "prompt_name": "one", metric: value}
        for metric, value in numbers(number, told).items()
    ]
    again = {"task_name": told["task"], "prompt_name": "one", "metric0": number + 15 / 16}
    more = [] if told["odd"] is None else [again]
    return f"tiny_lm-eval_global_step{told['step']}_{number}.json", {"results": [*entries, *more]}


def mixed_file(root: Path, number: int, program: str, told: Json) -> tuple[Path, int]:
    """Write the file; its path and how many values are in it, those that are no number with them."""
    folder = root / (f"out{number}" if program in ("olmes", "bloom", "trainer") else "")
    count = told["values"] + (told["odd"] is not None)
    if program in ("lm-eval", "old"):
        name, data = lm_eval_file(number, told, ",none" if program == "lm-eval" else "")
    elif program == "lighteval":
        name, data = lighteval_file(number, told)
    elif program == "olmes":
        name, data = f"task-{number:03d}-{told['task']}-metrics.json", olmes_data(number, told)
    elif program == "olmes-all":
        (root / "all").mkdir(exist_ok=True)
        path = root / "all" / "metrics-all.jsonl"
        path.write_text((path.read_text() if path.exists() else "") + json.dumps(olmes_data(number, told)) + "\n")
        return path, count
    elif program == "bloom":
        name, data = bloom_file(number, told)
    elif program == "trainer":
        history = [{"step": told["step"], **numbers(number, told)}]
        name, data = "trainer_state.json", {"global_step": told["step"], "log_history": history}
        count = told["values"]
    else:
        name = f"scores{number}.csv" if program == "csv" else f"consolidated{number}.json"
        data = {"data": {"a": {"iteration": [4000], "bench": [number]}}}
        count = 1
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("series,step,task,metric,value\na,1,t,m,1\n" if program == "csv" else json.dumps(data))
    return folder / name, count


def said_of(source: ScoreSource, path: Path, count: int) -> int:
    """How many values of the file are said not to be used: all of them where the file itself is named."""
    told = [one for one in source.left_out if one.file == str(path)]
    if any(one.what == path.name for one in told):
        return count
    counts = [re.match(r"(\d+) values of ", one.what) for one in told]
    return sum(int(one[1]) if one is not None else 1 for one in counts)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(st.lists(st.tuples(PROGRAM, METRICS), min_size=1, max_size=7))
def test_no_value_of_any_program_is_lost_where_their_files_lie_in_one_folder(files: list[tuple[str, Json]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        written_to: dict[Path, list[tuple[int, int]]] = {}
        for number, (program, told) in enumerate([("lm-eval", KNOWN), *files]):
            path, count = mixed_file(root, number, program, told)
            written_to.setdefault(path, []).append((number, count))
        source = read_scores(root)
    frame = source.scores.frame
    assert not frame.duplicated(["series", "task", "metric", "step"]).any()
    assert (frame.groupby(["series", "task"])["key"].nunique() == 1).all()
    for path, parts in written_to.items():
        kept = frame["value"].map(int).isin([number for number, _ in parts]).sum()
        total = sum(count for _, count in parts)
        assert kept + said_of(source, path, total) == total, path.name
    drawn = [("lm-eval", KNOWN), *files]
    for _, curve in frame.groupby(["series", "task"]):
        first, *others = sorted(set(curve["value"].map(int)))
        for other in others:
            assert set(set_apart(*drawn[first], *drawn[other])) <= {"step"}, f"{first} and {other} share a curve"
    told_in = {str(path): files[parts[0][0] - 1] for path, parts in written_to.items() if parts[0][0]}
    for left in source.left_out:
        older, newer = left.file, re.search(r"once; (.*) is newer", left.why)
        if newer is not None and older in told_in and newer[1] in told_in:
            assert set_apart(*told_in[older], *told_in[newer[1]]) == [], f"{older} was dropped for {newer[1]}"


#: What a program tells of how it evaluated.
_ALL = ("task", "step", "shots", "limit", "revision", "dtype", "harness_version", "template")
TELLS = {
    "lm-eval": _ALL,
    "old": _ALL,
    "lighteval": _ALL[:6],
    "olmes": _ALL[:5],
    "olmes-all": _ALL[:5],
    "bloom": _ALL[:2],
    "trainer": _ALL[1:2],
}


def set_apart(program: str, told: Json, other_program: str, other: Json) -> list[str]:
    """What both files tell and tell otherwise: one of them may not be dropped for the other."""
    return [one for one in TELLS[program] if one in TELLS[other_program] and told[one] != other[one]]


#: A file that can be read, for a folder of which nothing can be is refused.
KNOWN: Json = {
    "values": 1,
    "odd": None,
    "task": "arc",
    "step": 10,
    "shots": 1,
    "limit": None,
    "revision": "step{step}",
    "harness_version": "0.4.9",
    "template": None,
    "dtype": "float32",
}
