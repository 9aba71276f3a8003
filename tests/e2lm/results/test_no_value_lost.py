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

#: What a file may tell, each in a way of its own or not at all.
FILE = st.fixed_dictionaries(
    {
        "place": st.sampled_from(["orgA/tiny", "orgB/tiny", "tiny", "/data/run/step10/hf", "runs/wide-step20"]),
        "revision": st.sampled_from([None, "step10", "step20", "stage2-step10", "main"]),
        "folder": st.sampled_from(["", "step10", "0shot", "a/step20"]),
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


def may_be_one(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether nothing that two files both tell sets them apart."""
    if {one["place"], other["place"]} == {"orgA/tiny", "orgB/tiny"}:
        return False
    return all(untold in (one[name], other[name]) or one[name] == other[name] for name, untold in UNTOLD.items())


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
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
    for left in source.left_out:
        older, newer = (files[int(one)] for one in re.findall(r"results_2025-08-01T00-00-(\d\d)", left.what + left.why))
        assert may_be_one(older, newer), f"{older} was dropped for {newer}, which differs from it"
