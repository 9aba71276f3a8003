"""An lm-eval task as people have it becomes a bundle whose requests are lm-eval's own, to the byte."""

from __future__ import annotations

import json
import random
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from e2lm.asked_items import AskedItem, AskingError, asked_items, loaded_tasks
from e2lm.command_line import main
from e2lm.errors import UserError
from e2lm.season_bundle import bundle_files
from e2lm_leaderboard.bundle.check import check_path
from e2lm_leaderboard.bundle.official_archive import official_tasks, patch_files
from e2lm_leaderboard.cli.import_task import remarks
from e2lm_leaderboard.sandbox.check import sandbox_verdict
from e2lm_leaderboard.sandbox.import_runner import NoMetrics, holds_data, scores_by_code, without_examples
from e2lm_leaderboard.sandbox.lm_eval_import import Needed, data_of, source_of
from e2lm_leaderboard.season.evaluation import write_tasks
from e2lm_leaderboard.season.season import SeasonRules

ITEMS = 100
BASE = """\
dataset_path: owner/quiz
output_type: multiple_choice
test_split: test
fewshot_split: dev
num_fewshot: 2
process_docs: !function utils.process
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_choice: "{{choices}}"
doc_to_target: answer
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_mutual_info, aggregation: mean, higher_is_better: true}
"""
#: Task code that shuffles, as people's does, and that looks for what it must not see.
UTILS = """\
import random
from pathlib import Path

def process(docs):
    assert not any(Path(one).exists() for one in ("/root", "/home", "/etc/passwd")), "it sees the desk"
    return docs.map(lambda row: {"question": row["question"].strip(), "choices": random.sample(row["choices"], 4)})
"""
#: The same where the test asks lm-eval itself.
UNFENCED = UTILS.replace("    assert", "    # assert")


def tasks(utils: str) -> dict[str, str]:
    return {
        "_base": BASE,
        "utils.py": utils,
        "a.yaml": 'include: _base\ntask: quiz_a\ndataset_name: a\ndescription: "About the {{question[0]}}.\\n\\n"\n',
        "deep/b.yaml": "include: ../_base\ntask: quiz_b\ndataset_name: b\ntarget_delimiter: ''\n",
        "deep/group.yaml": "group: quiz\ntask: [quiz_a, quiz_b]\n",
    }


def rows(config: str, split: str) -> list[dict[str, Any]]:
    return [
        {
            "question": f"  Which is the {config} that was in {split} number {number} then?\u00a0",
            "choices": [f"the {word} of {number}" for word in ("top", "end", "säde", "back ")],
            "answer": number * 7 % 4,
        }
        for number in range(ITEMS if split == "test" else 5)
    ]


def written(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def archive(folder: Path, files: dict[str, str]) -> Path:
    """As entrants of 2025 handed it in."""
    patch = ""
    for name, text in files.items():
        lines = text.splitlines()
        patch += f"diff --git a/lm_eval/tasks/mine/{name} b/lm_eval/tasks/mine/{name}\nnew file mode 100644\n"
        patch += f"--- /dev/null\n+++ b/lm_eval/tasks/mine/{name}\n@@ -0,0 +1,{len(lines)} @@\n"
        patch += "".join(f"+{line}\n" for line in lines)
    path = folder / "submission.zip"
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("evaluation.patch", patch)
        opened.writestr("metadata.yaml", 'task_name: "quiz"\ntask_metric: "acc_norm,none"\nhf_token: "hf_secret"\n')
    return path


def requests(folder: Path, name: str) -> list[tuple[str, str]]:
    """What lm-eval asks: of mutual information the choices in their context."""
    found = []
    for task in loaded_tasks(str(folder), name):
        task.set_fewshot_seed(1234)
        task.build_all_requests(limit=None, rank=0, world_size=1)
        twice = "acc_mutual_info" in task._metric_fn_list
        by_doc: dict[int, list[tuple[str, str]]] = {}
        for one in task.instances:
            by_doc.setdefault(one.doc_id, []).append(one.args)
        found += [pair for pairs in by_doc.values() for pair in (pairs[: len(pairs) // 2] if twice else pairs)]
    return found


def test_a_task_with_group_includes_shots_and_code_becomes_a_bundle_that_asks_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if (why := sandbox_verdict().reason) is not None:
        pytest.skip(why)
    data = {
        f"owner/quiz/{config}/{split}.jsonl": "".join(json.dumps(row) + "\n" for row in rows(config, split))
        for config in "ab"
        for split in ("test", "dev")
    }
    stand_in, out = written(tmp_path / "data", data), tmp_path / "bundle"
    command = ["leaderboard", "import", archive(tmp_path, tasks(UTILS)), "--data", stand_in, "--out", out]
    assert main([*map(str, command), "--license", "MIT", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["accepted"], told["items"], told["metric"], told["left_out"]) == (True, 2 * ITEMS, "acc_norm", [])
    assert [one["what"] for one in told["notes"]] == ["target_delimiter '', ' '"]
    assert "hf_secret" not in "".join(path.read_text() for path in out.iterdir())

    report = check_path(out, SeasonRules())
    (checked,) = report.tasks
    assert checked.items is not None
    (name,) = write_tasks(tmp_path / "season", report.content_id, [(checked.task, checked.items)])

    import datasets

    def stood_in(path: str, name: str, **_: object) -> Any:
        splits = ("dev", "test")
        return datasets.DatasetDict({split: datasets.Dataset.from_list(rows(name, split)) for split in splits})

    asked = requests(tmp_path / "season", name)
    monkeypatch.setattr(datasets, "load_dataset", stood_in)
    own = requests(written(tmp_path / "desk", tasks(UNFENCED)), "quiz")
    assert asked == own
    assert len(own) == 2 * ITEMS * 4
    assert own[0][0].startswith("About the ")


def test_a_patch_that_changes_lm_eval_itself_is_refused() -> None:
    head = b"diff --git a/lm_eval/api/metrics.py b/lm_eval/api/metrics.py\n"
    with pytest.raises(UserError, match=r"changes lm_eval/api/metrics.py"):
        patch_files(head + b"index 1..2 100644\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n", "p")
    with pytest.raises(UserError, match=r"adds lm_eval/api/new.py"):
        patch_files(head.replace(b"metrics", b"new") + b"new file mode 100644\n--- /dev/null\n+++ b/x\n", "p")


def of_git(name: str, hunk: str) -> bytes:
    """One new file as git writes it."""
    return f"diff --git {name}\nnew file mode 100644\nindex 0000000..1\n--- /dev/null\n+++ x\n{hunk}".encode()


def test_names_that_git_puts_into_quotation_marks_are_read() -> None:
    name = '"a/lm_eval/tasks/mine/caf\\303\\251.yaml" "b/lm_eval/tasks/mine/caf\\303\\251.yaml"'
    assert patch_files(of_git(name, "@@ -0,0 +1 @@\n+task: x\n"), "p") == {"mine/café.yaml": b"task: x\n"}


@pytest.mark.parametrize(
    ("name", "hunk", "told"),
    [
        ("a/lm_eval/tasks/a.jsonl b/lm_eval/tasks/a.jsonl", "@@ -0,0 +1,3 @@\n+1\n+2\n", "2 lines .* cut short"),
        ("what is this", "@@ -0,0 +1 @@\n+1\n", "cannot be read"),
    ],
)
def test_a_patch_that_is_not_whole_is_refused_and_no_file_of_it_is_missed(name: str, hunk: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        patch_files(of_git(name, hunk), "p")


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ("task_name: quiz", "quiz"),
        ("evaluation: {tasks: [quiz]}", "quiz"),
        ("evaluation: {tasks: [a, b]}", ""),
    ],
)
def test_the_task_of_an_entry_stands_in_its_metadata(told: str, name: str, tmp_path: Path) -> None:
    path = archive(tmp_path, {"quiz.yaml": "task: quiz\n"})
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as opened:
        opened.writestr("evaluation.patch", zipfile.ZipFile(path).read("evaluation.patch"))
        opened.writestr("metadata.yaml", told)
    assert official_tasks((tmp_path / "other.zip").read_bytes(), "p") == ({"mine/quiz.yaml": b"task: quiz\n"}, name, "")


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("/etc", {}),
        ("json", {"data_files": "/etc/passwd"}),
        ("owner/quiz", {"data_files": {"test": ["../../x.json"]}}),
        ("owner/quiz", {"data_files": "https://elsewhere/x"}),
        ("owner/quiz", {"storage_options": {}}),
        ("../quiz", {}),
    ],
)
def test_code_of_others_gets_data_of_the_hub_and_nothing_else_of_the_desk(
    tmp_path: Path, path: str, options: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match="not a data set of the Hub"):
        data_of(tmp_path)(Needed(path, None, options))


def test_a_folder_brings_what_its_tasks_include_from_above(tmp_path: Path) -> None:
    folder = written(tmp_path / "mine", tasks(UTILS))
    source = source_of(folder / "deep", "quiz")
    assert (source.root, sorted(source.files)) == (str(folder), sorted(tasks(UTILS)))


@pytest.mark.parametrize(
    "line", ["include: ../base", '"include": "../base"', "'include': '../base' # shared", "include:\n  - ../base"]
)
def test_an_include_is_seen_however_its_line_is_written(line: str, tmp_path: Path) -> None:
    folder = written(tmp_path / "mine", {"base": "test_split: test\n", "deep/quiz.yaml": f"task: quiz\n{line}\n"})
    assert sorted(source_of(folder / "deep", "quiz").files) == ["base", "deep/quiz.yaml"]


def test_a_folder_of_tasks_with_the_name_of_a_data_set_is_none(tmp_path: Path) -> None:
    written(tmp_path / "lab" / "quiz", {"quiz.yaml": "task: quiz\n", "utils.py": ""})
    assert not holds_data(tmp_path / "lab" / "quiz")
    written(tmp_path / "lab" / "rows", {"test.jsonl": "{}\n"})
    assert holds_data(tmp_path / "lab" / "rows")


def test_names_of_columns_may_be_told_to_the_loader(tmp_path: Path) -> None:
    written(tmp_path / "lab" / "quiz", {"test.jsonl": '{"question": "q"}\n'})
    options = {"data_files": {"test": "a.csv"}, "column_names": ["question"]}
    assert list(data_of(tmp_path)(Needed("lab/quiz", None, options))) == ["test"]


def test_a_task_that_names_no_data_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="names no data"):
        data_of(tmp_path)(Needed("", None, {}))


def asked(pairs: list[tuple[str, str]], choices: list[str]) -> Any:
    """A task that asks these."""
    instances = [SimpleNamespace(doc_id=0, idx=k, args=pair, doc={}) for k, pair in enumerate(pairs)]
    return SimpleNamespace(
        config=SimpleNamespace(task="who"), OUTPUT_TYPE="multiple_choice", _metric_fn_list={"acc": None},
        set_fewshot_seed=lambda seed: None, build_all_requests=lambda **_: None, instances=instances,
        doc_to_text=lambda doc: "Who?", doc_to_choice=lambda doc: choices,
        doc_to_target=lambda doc: random.randrange(1),
    )  # fmt: skip


def test_what_stands_before_choices_is_in_no_length_that_scores_divide_by() -> None:
    (item,) = asked_items(asked([("Who?", " dog"), ("Who?", "  cat")], ["dog", " cat"]))
    assert (item.choices, item.delimiter) == ((" dog", "  cat"), " ")
    files = bundle_files("who", [item], "acc_norm", "MIT")
    assert json.loads(files["who.jsonl"])["choices"] == ["dog", " cat"]
    assert 'target_delimiter: " "' in files["who.yaml"]


def test_choices_keep_what_stands_before_them_where_tasks_differ_and_that_is_said() -> None:
    items = [AskedItem("a", 0, "", "", (" x", " y"), 0, " "), AskedItem("b", 0, "", "", ("x", "y"), 0, "")]
    files = bundle_files("who", items, "acc_norm", "MIT")
    assert [json.loads(line)["choices"] for line in files["who.jsonl"].splitlines()] == [[" x", " y"], ["x", "y"]]
    assert [one.what for one in remarks("who", items, [], "acc")] == ["target_delimiter '', ' '"]


def test_what_a_bundle_does_not_keep_of_the_scoring_is_said() -> None:
    found = [AskedItem("a", 0, "", "", (" x", " y"), 0, " ")]
    assert remarks("who", found, ["likelihood"], "gold_minus_mean_wrong") == []
    assert [one.what for one in remarks("who", found, ["f1", "mcc"], "acc_norm")] == ["metrics f1, mcc"]
    assert [one.what for one in remarks("who", found, [], "acc", ["a"])] == ["scoring of a"]
    task = SimpleNamespace(config=SimpleNamespace(process_results=lambda doc, results: {}))
    assert scores_by_code(task)
    assert not scores_by_code(SimpleNamespace(config=SimpleNamespace(process_results=None)))


def test_examples_are_asked_for_as_lm_eval_takes_their_number() -> None:
    def task(name: str, shots: int | None) -> Any:
        config = SimpleNamespace(task=name, num_fewshot=shots)
        return SimpleNamespace(
            config=config,
            get_config=lambda key: getattr(config, key),
            set_config=lambda key, value: setattr(config, key, value),
        )

    tasks = [task("fixed", 0), task("open", None), task("five", 5)]
    assert without_examples(tasks, None) == []
    assert without_examples(tasks, 2) == ["fixed"]
    assert [one.config.num_fewshot for one in tasks] == [0, 2, 2]


def test_looking_at_items_draws_nothing_that_the_next_task_would_draw() -> None:
    random.seed(3)
    expected = random.Random(3).random()
    list(asked_items(asked([("Who?", " dog"), ("Who?", " cat")], ["dog", "cat"])))
    assert random.random() == expected


def test_metrics_are_not_looked_for_where_nothing_is_scored() -> None:
    stands_in = NoMetrics()
    assert stands_in.load("f1").compute is not None
    with pytest.raises(RuntimeError, match="no metric"):
        stands_in.load("f1").compute()


def test_a_task_with_a_prompt_for_each_choice_is_refused_and_not_asked_by_its_first() -> None:
    task = asked([("He left because the dog", " ran."), ("He left because the cat", " ran.")], ["dog", "cat"])
    with pytest.raises(AskingError, match="2 prompts, one for each choice"):
        list(asked_items(task))
