from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import e2lm_tasks
from e2lm import UserError
from e2lm.command_line import main
from e2lm_tasks.building.facts import ARITHMETIC, FactRelation, arithmetic_items, read_relations, with_false_twins
from e2lm_tasks.building.science_facts import build_science_facts

SHIPPED = Path(e2lm_tasks.__file__).parent / "science_facts"
CARD: dict[str, Any] = json.loads((SHIPPED / "card.json").read_text(encoding="utf-8"))


def rows() -> list[dict[str, Any]]:
    files = sorted(SHIPPED.glob("grade_*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def test_the_builder_gives_the_shipped_files_again() -> None:
    built = build_science_facts()
    assert {name: (SHIPPED / name).read_text(encoding="utf-8") for name in built.files} == built.files


def test_there_are_more_than_two_thousand_different_items_in_five_grades() -> None:
    found = rows()
    assert len(found) == sum(task["items"] for task in CARD["tasks"].values()) > 2_000
    assert len({row["id"] for row in found}) == len(found)
    assert len({(row["context"], row["choices"][row["gold"]]) for row in found}) == len(found)
    assert all(task["items"] > 300 for task in CARD["tasks"].values())


def test_no_wrong_choice_is_true_in_any_table() -> None:
    true: dict[str, set[str]] = {}
    for relation in read_relations():
        for template in relation.templates:
            for question in relation.questions(template):
                true.setdefault(question.context, set()).add(question.answer)
    for row in rows():
        right = row["choices"][row["gold"]]
        wrong = set(row["choices"]) - {right}
        assert len(wrong) == len(row["choices"]) - 1
        if row["context"] in true:
            assert right in true[row["context"]]
            assert not wrong & true[row["context"]], row


def test_neither_length_nor_place_nor_frequency_tells_which_choice_is_true() -> None:
    for task in CARD["tasks"].values():
        for name in ("longest_choice", "shortest_choice", "constant_choice"):
            assert task["baselines"][name]["low"] < task["chance"] + 0.03, name
        # It counts the items it is scored on, so chance is its lower bound.
        assert task["baselines"]["answer_prior"]["value"] < task["chance"] + 0.15


def test_an_answer_is_wrong_as_many_times_as_often_as_it_is_right() -> None:
    relation = next(one for one in read_relations() if one.relation == "element-symbol")
    questions = list(relation.questions(relation.prompt))
    items = with_false_twins(questions, 4, np.random.default_rng(0))
    wrong = Counter(choice for item in items for choice in item.wrong)
    assert {item.true for item in items} == set(wrong)
    assert max(wrong.values()) <= 4
    assert min(wrong.values()) >= 2
    assert sum(wrong.values()) == 3 * len(items)


def test_arithmetic_is_right_and_its_wrong_results_are_wrong() -> None:
    signs = {"plus": "+", "minus": "-", "times": "*", "divided": "/"}
    checked = 0
    for kind in ARITHMETIC:
        for item in arithmetic_items(kind, 4, np.random.default_rng(1)):
            words = item.context.split()
            if words[-1] == "equals":
                a, b = int(words[0]), int(words[-2])
                value = {"+": a + b, "-": a - b, "*": a * b, "/": a / b}[signs[words[1]]]
                assert float(item.true) == value
                checked += 1
            assert item.true not in item.wrong
            assert all(int(wrong) > 0 for wrong in item.wrong)
    assert checked > 300


def relation(**changes: Any) -> FactRelation:
    data = {"relation": "sound", "grade": 1, "prompt": "{subject}", "pairs": {"a": "1", "b": "2", "c": "3", "d": "4"}}
    return FactRelation.from_data(data | changes, "table")


def test_a_subject_with_two_true_answers_never_gets_one_of_them_as_wrong() -> None:
    both = relation(pairs=None, objects={"x": ["a", "b"], "y": ["a", "c"], "z": ["d"], "v": ["e"], "w": ["f"]})
    assert [question.others for question in both.questions("{subject}") if question.context == "A"] == [
        ("z", "v", "w"),
        ("z", "v", "w"),
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grade": 6}, "grade"),
        ({"prompt": "no placeholder"}, "must hold either"),
        ({"pairs": None}, "either pairs or objects"),
        ({"pairs": {"a": "1", "b": "1"}}, "1 answers, 4 are needed"),
        ({"inverse": "{subject}?"}, "same side"),
        ({"pairs": {"a": True}}, "pairs"),
        ({"promt": "x"}, "prompt"),
    ],
)
def test_a_faulty_table_is_named_with_its_field(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        relation(**changes)
    assert "\n" not in str(caught.value)


def test_a_relation_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    entry = "- {relation: r, grade: 1, choices: 2, prompt: '{subject}', pairs: {a: b, c: d}}\n"
    (tmp_path / "a.yaml").write_text(entry, encoding="utf-8")
    assert [one.relation for one in read_relations(tmp_path)] == ["r"]
    (tmp_path / "b.yaml").write_text(entry, encoding="utf-8")
    with pytest.raises(UserError, match="'r' is there twice"):
        read_relations(tmp_path)


def test_the_command_writes_the_suite_and_refuses_options_of_the_other_kind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "facts"
    assert main(["tasks", "build", "--facts", "--out", str(out)]) == 0
    assert {file.name for file in out.iterdir()} == set(CARD["files"])
    assert main(["tasks", "build", "--facts", "--out", str(out), "--items", "5"]) == 2
    assert "--items goes with --corpus" in capsys.readouterr().err
