import json

import pytest

from e2lm.asked_items import AskedItem
from e2lm.command_line import main
from e2lm.errors import UserError
from e2lm_tasks.compete.entry import entry_of
from e2lm_tasks.compete.patch import evaluation_patch
from e2lm_tasks.compete.rules import item_findings

WORDS = "Which of these is one that you can see in the air on a day that is clear"


def items(count=100, **changes):
    plain = {"question": WORDS, "context": f"{WORDS}?", "choices": (" a cloud", " a stone"), "gold": 0}
    return [AskedItem("quiz", number, **plain | changes) for number in range(count)]


def rules_broken(found):
    return [(one.level, one.rule) for one in found]


def bytes_of(text):
    return len(text.encode())


def test_an_entry_within_the_rules_has_no_findings():
    assert item_findings(items(), bytes_of) == []


@pytest.mark.parametrize(
    ("given", "broken"),
    [
        (items(99), ("refused", "samples")),
        (items(15_001), ("refused", "samples")),
        (items(context="word " * 500), ("refused", "prompt")),
        (items(choices=(" a" * 1100, " b")), ("refused", "completion")),
        (items(gold=None), ("refused", "answer")),
        (items(question=f"{WORDS}: a cloud?"), ("look at", "answer in the prompt")),
        (items(choices=(" a cloud", " a cloud")), ("look at", "choices")),
        (items(question="der die und nicht von zu", choices=(" Wolke", " Stein")), ("look at", "language")),
    ],
)
def test_every_rule_names_what_breaks_it(given, broken):
    assert rules_broken(item_findings(given, bytes_of)) == [broken]


def test_a_word_within_a_word_is_no_answer_given_away():
    assert item_findings(items(question="Is it in the cloudy air", choices=(" cloud", " stone")), bytes_of) == []


def own_task(tmp_path, count=120, **changes):
    rows = [{"context": f"{WORDS} ({n}):", "choices": [f"cloud {n}", f"stone {n}"], "gold": 0} for n in range(count)]
    (tmp_path / "quiz.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {
        "task": "quiz", "output_type": "multiple_choice", "test_split": "test", "num_fewshot": 0,
        "doc_to_text": "context", "doc_to_choice": "choices", "doc_to_target": "gold",
        "dataset_kwargs": {"data_files": "quiz.jsonl"},
    } | changes  # fmt: skip
    text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in config.items())
    (tmp_path / "quiz.yaml").write_text(f"class: !function e2lm_tasks.local_task.LocalTask\n{text}")
    return tmp_path


def test_a_task_of_our_own_class_becomes_one_of_plain_lm_eval(tmp_path):
    entry = entry_of(own_task(tmp_path), "quiz")
    assert sorted(entry.files) == ["quiz.jsonl", "quiz.yaml"]
    (task,) = entry.tasks
    assert task.config["dataset_path"] == "json"
    assert task.config["dataset_kwargs"]["data_files"] == {"test": "lm_eval/tasks/quiz/quiz.jsonl"}
    assert b"e2lm" not in evaluation_patch(entry)


def check(capsys, folder, *options):
    code = main(["compete", "check", str(folder), "--task", "quiz", *options])
    return code, capsys.readouterr()


def test_check_says_what_breaks_a_rule_and_ends_with_1(tmp_path, capsys):
    code, captured = check(capsys, own_task(tmp_path))
    assert code == 0
    assert "120 items looked at" in captured.out
    assert "not checked: alignment with science" in captured.out
    code, captured = check(capsys, own_task(tmp_path, 30), "--json", "--metric", "likelihood,none")
    report = json.loads(captured.out)
    assert code == 1
    assert report["accepted"] is False
    assert {one["rule"] for one in report["findings"]} == {"samples", "task_metric"}


def test_items_that_cannot_be_loaded_are_named_as_left_out(tmp_path, capsys):
    folder = own_task(tmp_path, dataset_path="nobody/nothing", dataset_kwargs={})
    _, captured = check(capsys, folder, "--json")
    (left_out,) = json.loads(captured.out)["left_out"]
    assert left_out["what"] == "items"
    assert "cannot load" in left_out["why"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"include": "missing.yaml"}, "no file 'missing.yaml'"),
        ({"dataset_kwargs": {"data_files": "other.jsonl"}}, "no file 'other.jsonl'"),
        ({"task": ["elsewhere"], "group": "quiz"}, "'elsewhere' is not in this folder"),
        ({"task": ["quiz"], "group": "quiz"}, "is a member of itself"),
    ],
)
def test_what_would_not_work_elsewhere_is_refused(tmp_path, changes, said):
    folder = own_task(tmp_path, **changes)
    with pytest.raises(UserError, match=said):
        entry_of(folder, "quiz")


def test_code_that_needs_e2lm_or_lies_nowhere_is_refused(tmp_path):
    folder = own_task(tmp_path)
    file = folder / "quiz.yaml"
    file.write_text(file.read_text() + "process_docs: !function mine.keep\n")
    with pytest.raises(UserError, match=r"no mine\.py beside"):
        entry_of(folder, "quiz")
    (folder / "mine.py").write_text("from e2lm import Scores\n\n\ndef keep(docs):\n    return docs\n")
    with pytest.raises(UserError, match="has no e2lm"):
        entry_of(folder, "quiz")
    (folder / "mine.py").write_text("import beside\n\n\ndef keep(docs):\n    return docs\n")
    (folder / "beside.py").write_text("X = 1\n")
    assert {"mine.py", "beside.py"} <= set(entry_of(folder, "quiz").files)


@pytest.mark.parametrize("winner", ["mmlu_early_training", "noor", "sciknoweval_mcqa"])
def test_the_winners_of_2025_are_entries_as_lm_eval_ships_them(winner):
    from importlib.util import find_spec
    from pathlib import Path

    folder = Path(str(find_spec("lm_eval").origin)).parent / "tasks" / "e2lmc" / winner
    entry = entry_of(folder, winner)
    leaves = {"mmlu_early_training": 1, "noor": 12, "sciknoweval_mcqa": 4}[winner]
    assert len(entry.tasks) == leaves
    assert {task.config["num_fewshot"] for task in entry.tasks} == {5}
    assert b"include:" not in evaluation_patch(entry)
