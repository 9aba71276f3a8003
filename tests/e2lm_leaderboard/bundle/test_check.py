"""The sample passes, and every rule that it is made to break is told with file, field and fix."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from e2lm.errors import UserError
from e2lm_leaderboard.bundle.bundle import Findings
from e2lm_leaderboard.bundle.check import CheckReport, check_archive, check_path
from e2lm_leaderboard.bundle.items import TaskItem
from e2lm_leaderboard.bundle.rules import check_items
from e2lm_leaderboard.cli.entrant import SUBMISSION_YAML, TASK_YAML, sample_files, write_sample
from e2lm_leaderboard.season.season import SeasonRules

Check = Callable[..., CheckReport]

CODE = "def text(doc):\n    raise SystemExit('executed')\n\nopen('/tmp/e2lm-executed', 'w')\n"


def rows(count: int, **changes: object) -> str:
    """The first rows of the sample, with fields changed."""
    lines = sample_files()["counting.jsonl"].splitlines()[:count]
    return "".join(json.dumps({**json.loads(line), **changes}) + "\n" for line in lines)


def test_the_sample_is_accepted_as_folder_and_as_archive_with_one_id(tmp_path: Path) -> None:
    write_sample(tmp_path / "mine")
    report = check_path(tmp_path / "mine", SeasonRules())
    assert report.findings == ()
    assert [len(task.items or ()) for task in report.tasks] == [160]
    packed = check_archive(report.bundle.packed(), SeasonRules())
    assert packed.accepted
    assert packed.content_id == report.content_id
    assert report.bundle.packed() == packed.bundle.packed()


def test_an_entry_of_2025_is_told_what_makes_a_bundle_of_it(checked: Check) -> None:
    findings = checked({"submission.yaml": None, "metadata.yaml": "hf_token: ''\n"}).findings
    assert any("if this is an entry of 2025, e2lm leaderboard import" in str(one) for one in findings)


def test_items_come_out_as_lm_eval_would_make_them(checked: Check) -> None:
    task = checked({}).tasks[0]
    assert task.items is not None
    row = json.loads(sample_files()["counting.jsonl"].splitlines()[0])
    first = task.items[0]
    expected = f"{row['story']} The number of {row['thing']} that {row['person']} has now is"
    assert (first.context, list(first.choices), first.gold) == (expected, row["choices"], row["gold"])


@pytest.mark.parametrize(
    ("changes", "check", "file", "field"),
    [
        ({"submission.yaml": None}, "files", "submission.yaml", ""),
        ({"submission.yaml": SUBMISSION_YAML + "colour: red\n"}, "fields", "submission.yaml", "colour"),
        ({"submission.yaml": SUBMISSION_YAML.replace("name: c", "name: C")}, "fields", "submission.yaml", "name"),
        ({"submission.yaml": SUBMISSION_YAML.replace("version: 1", "version: 2")}, "fields", "submission.yaml", None),
        (
            {"submission.yaml": SUBMISSION_YAML.replace("version: 1", "version: true")},
            "fields",
            "submission.yaml",
            None,
        ),
        ({"submission.yaml": SUBMISSION_YAML.replace(": en", ": fr")}, "language", "submission.yaml", "language"),
        ({"submission.yaml": "a: &b [1]\nc: *b\n"}, "yaml", "submission.yaml", "line 1"),
        ({"submission.yaml": "a: 1\na: 2\n"}, "yaml", "submission.yaml", "line 2"),
        ({"submission.yaml": "a: !!python/object:os.system x\n"}, "yaml", "submission.yaml", "line 1"),
        ({"submission.yaml": b"\xff\xfe"}, "yaml", "submission.yaml", ""),
        ({"submission.yaml": SUBMISSION_YAML + "x: .nan\n"}, "yaml", "submission.yaml", None),
        ({"counting.yaml": None}, "files", "counting.yaml", ""),
        ({"counting.yaml": TASK_YAML + "unsafe_code: true\n"}, "fields", "counting.yaml", "unsafe_code"),
        ({"counting.yaml": TASK_YAML.replace(": json", ": owner/name")}, "fields", "counting.yaml", "dataset_path"),
        ({"counting.yaml": TASK_YAML.replace("multiple_choice", "generate_until")}, "fields", "counting.yaml", None),
        ({"counting.yaml": TASK_YAML.replace("counting.jsonl", "../../etc/passwd")}, "files", "counting.yaml", None),
        ({"counting.yaml": TASK_YAML.replace(": choices", ": '{{ cycler.next() }}'")}, "items", "counting.yaml", None),
        ({"counting.yaml": TASK_YAML.replace(": gold", ": nothing")}, "items", "counting.yaml", None),
        ({"counting.yaml": TASK_YAML + "process_docs: !function code.text\n"}, "tier", "counting.yaml", "process_docs"),
        ({"code.py": CODE}, "tier", "code.py", "tier"),
        ({"counting.jsonl": rows(99)}, "item-count", "counting.jsonl", ""),
        ({"counting.jsonl": rows(160, choices=["a", "a"], gold=0)}, "choices", "counting.jsonl", "line 1"),
        ({"counting.jsonl": rows(160, choices=["a", " "], gold=0)}, "choices", "counting.jsonl", "line 1"),
        ({"counting.jsonl": rows(160, gold=4)}, "items", "counting.yaml", None),
        ({"counting.jsonl": rows(160, gold=True)}, "items", "counting.yaml", None),
        ({"counting.jsonl": rows(160, story="word " * 2000)}, "tokens", "counting.jsonl", "line 1"),
        (
            {"counting.jsonl": rows(160, story="same", person="Anna", thing="pens", choices=["a", "b"], gold=0)},
            "repetition",
            "counting.jsonl",
            "",
        ),
        ({"counting.jsonl": rows(160, choices=["noon", "night"], gold=0)}, "answer-in-prompt", "counting.jsonl", None),
        (
            {"counting.jsonl": rows(160, story="Vier Äpfel lagen am Morgen vor ihr. " * 40)},
            "language",
            "counting.jsonl",
            "",
        ),
        ({"counting.jsonl": rows(120) + '{"gold": NaN}\n'}, "data", "counting.jsonl", "line 121"),
        ({"counting.jsonl": rows(120) + '{"gold": 1e999}\n'}, "data", "counting.jsonl", "line 121"),
        ({"counting.jsonl": rows(120) + '{"gold": 1, "gold": 2}\n'}, "data", "counting.jsonl", "line 121"),
        ({"counting.jsonl": rows(120) + "[1]\n"}, "data", "counting.jsonl", "line 121"),
        ({"counting.jsonl": rows(120) + '{"a": "\\ud800"}\n'}, "data", "counting.jsonl", "line 121"),
        ({"tool.exe": "MZ"}, "names", "tool.exe", ""),
    ],
)
def test_a_broken_rule_is_told(
    checked: Check, changes: dict[str, str | bytes | None], check: str, file: str, field: str | None
) -> None:
    report = checked(changes)
    found = [one for one in report.findings if one.check == check and one.file == file]
    assert found, report.findings
    assert field is None or field in [one.field for one in found]
    assert all(one.found and one.expected and one.fix for one in report.findings)


LM_EVAL_LINES = """\
task_alias: Counting
tag: [sums]
validation_split: null
fewshot_split: train
fewshot_config: {sampler: first_n}
metric_list: [{metric: acc}]
metadata: {version: 1.0}
"""


def test_fields_of_lm_eval_that_change_no_request_are_one_remark(checked: Check) -> None:
    report, plain = checked({"counting.yaml": TASK_YAML + LM_EVAL_LINES}), checked({})
    assert report.accepted, report.findings
    names = "task_alias, tag, validation_split, fewshot_split, fewshot_config, metric_list, metadata"
    assert (report.remark, plain.remark) == (f"ignored, for it changes nothing that is asked: {names}", "")
    assert report.as_json()["remark"] == report.remark
    assert report.tasks[0].items == plain.tasks[0].items


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"num_fewshot: 0": "num_fewshot: 5\nfewshot_split: train"}, "num_fewshot"),
        ({"num_fewshot: 0": "num_fewshot: 5\nfewshot_split: train"}, "fewshot_split"),
        ({"num_fewshot: 0": "gen_prefix: So"}, "gen_prefix"),
        ({"num_fewshot: 0": "include: base.yaml"}, "include"),
        ({"test_split: test": "validation_split: validation"}, "validation_split"),
    ],
)
def test_fields_of_lm_eval_that_change_requests_are_refused(
    checked: Check, changes: dict[str, str], field: str
) -> None:
    ((before, after),) = changes.items()
    report = checked({"counting.yaml": TASK_YAML.replace(before, after)})
    (found,) = [one for one in report.findings if one.field == field]
    assert field == "validation_split" or "import" in found.fix


def test_all_faults_are_told_at_once(checked: Check) -> None:
    report = checked(
        {
            "submission.yaml": SUBMISSION_YAML.replace("language: en", "language: fr"),
            "counting.jsonl": rows(50, story="word " * 2000),
            "evil.exe": "x",
        }
    )
    assert {one.check for one in report.findings} >= {"language", "item-count", "tokens", "names"}


def test_findings_of_one_kind_are_counted_beyond_ten(checked: Check) -> None:
    report = checked({"counting.jsonl": rows(160, story="word " * 2000)})
    told = [one for one in report.findings if one.check == "tokens"]
    assert len(told) == 11
    assert told[-1].found == "found 150 more of these"


def test_code_is_looked_up_and_never_executed(checked: Check) -> None:
    marker = Path("/tmp/e2lm-executed")
    marker.unlink(missing_ok=True)
    task = TASK_YAML.replace('"{{story}} The number of {{thing}} that {{person}} has now is"', "!function code.text")
    submission = SUBMISSION_YAML.replace("declarative", "code")
    report = checked({"submission.yaml": submission, "counting.yaml": task, "code.py": CODE})
    assert report.findings == ()
    assert report.tasks[0].items is None
    assert not marker.exists()
    wrong = checked({"submission.yaml": submission, "counting.yaml": task, "code.py": "x = 1\n"})
    assert [(one.check, one.field) for one in wrong.findings] == [("code", "doc_to_text")]
    forbidden = checked(
        {"submission.yaml": submission, "counting.yaml": task, "code.py": CODE}, SeasonRules(code_allowed=False)
    )
    assert [one.check for one in forbidden.findings] == ["tier"]


def test_parquet_that_swells_is_refused_before_it_is_held_in_memory(checked: Check, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = 15_000
    story = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * 60_000]))
    columns = {"story": story, "choices": [["a", "b"]] * rows, "gold": [0] * rows, "person": ["p"] * rows}
    pq.write_table(pa.table({**columns, "thing": ["t"] * rows}), tmp_path / "a.parquet")
    data = (tmp_path / "a.parquet").read_bytes()
    assert len(data) < 5000
    before = psutil.Process().memory_info().rss
    started = time.process_time()
    report = checked(
        {
            "counting.yaml": TASK_YAML.replace("counting.jsonl", "counting.parquet"),
            "counting.jsonl": None,
            "counting.parquet": data,
        }
    )
    assert time.process_time() - started < 2
    assert psutil.Process().memory_info().rss - before < 200 << 20
    assert any("bytes of rows" in finding.found for finding in report.findings)


def test_parquet_data_give_the_same_items(checked: Check, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([json.loads(line) for line in sample_files()["counting.jsonl"].splitlines()])
    pq.write_table(table, tmp_path / "a.parquet")
    changes = {
        "counting.yaml": TASK_YAML.replace("counting.jsonl", "counting.parquet"),
        "counting.jsonl": None,
        "counting.parquet": (tmp_path / "a.parquet").read_bytes(),
    }
    assert checked(changes).tasks[0].items == checked({}).tasks[0].items


def test_nothing_at_the_path_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="new-submission"):
        check_path(tmp_path / "nothing", SeasonRules())


def labelled(said: Callable[[int, int], str], choices: tuple[str, ...] = (" positive", " negative")) -> list[TaskItem]:
    """Items with drawn truths, and prompts that say something of them."""
    rng = np.random.default_rng(0)
    golds = (rng.random(200) < 0.4).astype(int).tolist()
    return [TaskItem(f"The film number {n} was {said(n, gold)}.", choices, gold, n + 1) for n, gold in enumerate(golds)]


@pytest.mark.parametrize(
    ("said", "is_given_away"),
    [
        (lambda n, gold: "positive or negative?", False),
        (lambda n, gold: ("positive", "negative", "fine")[n % 3], False),
        (lambda n, gold: ("positive", "negative")[gold] if n % 20 == 0 else "fine", True),
        (lambda n, gold: ("positive", "negative")[gold] if n % 3 == 0 else ("positive", "negative")[n % 2], True),
    ],
    ids=["names-all", "examples-of-either", "one-in-twenty", "hidden-among-examples"],
)
def test_a_prompt_gives_an_answer_away_where_it_says_it_more_often_than_chance(
    said: Callable[[int, int], str], is_given_away: bool
) -> None:
    findings = Findings()
    check_items("a.jsonl", labelled(said), SeasonRules(), "xx", findings)
    assert [one.check for one in findings.listed()] == ["answer-in-prompt"] * is_given_away
