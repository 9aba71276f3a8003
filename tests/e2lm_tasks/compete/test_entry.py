"""From logged samples to `submission.zip`: what the organisers' lm-eval makes of it is what was distilled."""

import io
import json
import shlex
import subprocess
import zipfile
from pathlib import Path

import pytest

from e2lm.asked_items import loaded_tasks
from e2lm.command_line import main
from e2lm_tasks.compete.items import entry_items
from tests.e2lm_tasks.compete.conftest import ITEMS, SHOTS, SUBJECTS


def exported(entry, tmp_path, *options):
    archive = tmp_path / "submission.zip"
    arguments = ("compete", "export", entry, "--task", "early_mmlu", "--metric", "likelihood,none", "--out", archive)
    assert main([str(one) for one in (*arguments, *options)]) == 0
    return archive


@pytest.fixture(scope="module")
def applied(distilled, tmp_path_factory):
    """The tasks as git puts them into the organisers' checkout."""
    archive = exported(distilled, tmp_path_factory.mktemp("zip"))
    checkout = tmp_path_factory.mktemp("checkout")
    with zipfile.ZipFile(archive) as opened:
        assert sorted(opened.namelist()) == ["evaluation.patch", "metadata.yaml"]
        patch = opened.read("evaluation.patch")
    subprocess.run(["git", "init", "-q"], cwd=checkout, check=True)
    subprocess.run(["git", "apply", "--check", "-"], input=patch, cwd=checkout, check=True)
    subprocess.run(["git", "apply", "-"], input=patch, cwd=checkout, check=True)
    return checkout


def test_a_group_is_distilled_as_one_benchmark_and_keeps_the_items_with_signal(distilled, capsys):
    ids = json.loads((distilled / "items.json").read_text())
    assert sum(map(len, ids.values())) == ITEMS * len(SUBJECTS) // 2
    assert sum(one % 2 for kept in ids.values() for one in kept) > 0.95 * ITEMS * len(SUBJECTS) / 2
    card = json.loads((distilled / "card.json").read_text())
    assert card["items"] == ITEMS * len(SUBJECTS)
    assert card["kept_by_task"] == {task: len(kept) for task, kept in ids.items()}
    assert len(card["held_out"]) > 0


def test_prompts_of_the_entry_are_to_the_byte_those_that_lm_eval_makes_of_the_whole_task(
    mmlu, distilled, applied, monkeypatch
):
    ids = json.loads((distilled / "items.json").read_text())
    monkeypatch.chdir(applied)
    asked = entry_items(applied / "lm_eval" / "tasks" / "early_mmlu", "early_mmlu")
    whole = {}
    for subject in SUBJECTS:
        (task,) = loaded_tasks(str(mmlu), f"tiny_mmlu_{subject}")
        task.set_config("num_fewshot", SHOTS)
        task.set_fewshot_seed(1234)
        task.build_all_requests(limit=None, rank=0, world_size=1)
        for instance in task.instances:
            whole.setdefault((subject, instance.doc_id), []).append(instance.args)
    expected = [whole[subject, one] for subject in SUBJECTS for one in ids.get(f"tiny_mmlu_{subject}", [])]
    assert [[(item.context, choice) for choice in item.choices] for item in asked] == expected
    assert asked[0].context.count("Question:") == SHOTS + 1
    assert len(asked) == ITEMS * len(SUBJECTS) // 2


def test_lm_eval_reports_the_metric_that_the_entry_names(applied, monkeypatch):
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    monkeypatch.chdir(applied)
    manager = TaskManager(include_path=str(applied / "lm_eval" / "tasks"), include_defaults=False)
    found = simple_evaluate(model="dummy", tasks=["early_mmlu"], task_manager=manager, bootstrap_iters=0, limit=8)
    assert "likelihood,none" in found["results"]["early_mmlu"]
    task = found["samples"]["tiny_mmlu_anatomy_distilled"]
    logliks = [[pair[0] for pair in sample["filtered_resps"]] for sample in task]
    golds = [int(sample["target"]) for sample in task]
    expected = sum(row[g] - (sum(row) - row[g]) / 3 for row, g in zip(logliks, golds, strict=True)) / len(task)
    assert found["results"]["tiny_mmlu_anatomy_distilled"]["likelihood,none"] == pytest.approx(expected)


def test_nothing_of_this_machine_is_left_in_the_entry(distilled, applied):
    texts = [file.read_text() for file in applied.rglob("lm_eval/**/*") if file.is_file()]
    assert len(texts) > 8
    assert all("include:" not in text and "e2lm" not in text for text in texts)
    assert all(str(distilled.parent.parent) not in text for text in texts)


def test_the_same_entry_gives_the_same_archive(distilled, tmp_path):
    (tmp_path / "again").mkdir()
    assert exported(distilled, tmp_path).read_bytes() == exported(distilled, tmp_path / "again").read_bytes()
    with zipfile.ZipFile(io.BytesIO((tmp_path / "submission.zip").read_bytes())) as archive:
        metadata = archive.read("metadata.yaml").decode()
    assert 'task_name: "early_mmlu"' in metadata
    assert 'task_metric: "likelihood,none"' in metadata
    assert 'hf_token: ""' in metadata


def test_a_dry_run_writes_nothing(distilled, tmp_path, capsys):
    archive = tmp_path / "submission.zip"
    arguments = (
        "compete",
        "export",
        distilled,
        "--task",
        "early_mmlu",
        "--metric",
        "likelihood,none",
        "--out",
        archive,
    )
    assert main([*map(str, arguments), "--dry-run"]) == 0
    assert "would write" in capsys.readouterr().out
    assert not archive.exists()


def test_the_entry_becomes_a_bundle_that_our_leaderboard_takes(distilled, tmp_path, capsys):
    bundle = tmp_path / "bundle"
    options = ("--task", "early_mmlu", "--license", "MIT", "--metric", "gold_minus_mean_wrong", "--out", bundle)
    assert main([str(one) for one in ("compete", "bundle", distilled, *options)]) == 0
    rows = [json.loads(line) for line in (bundle / "early_mmlu.jsonl").read_text().splitlines()]
    assert len(rows) == ITEMS * len(SUBJECTS) // 2
    assert rows[0]["context"].count("Question:") == SHOTS + 1
    # What stands before choices is not one of the characters that acc_norm divides by.
    assert 'target_delimiter: " "' in (bundle / "early_mmlu.yaml").read_text()
    assert not any(choice.startswith(" ") for choice in rows[0]["choices"])


def test_the_commands_of_the_page_lead_from_checkpoints_to_zip_and_bundle(mmlu, models, tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[3] / "docs" / "competition.md").read_text(encoding="utf-8")
    blocks = "\n".join(block.split("```")[0] for block in page.split("```bash\n")[1:])
    commands = [shlex.split(line) for line in blocks.replace("\\\n", " ").splitlines() if line.strip()]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").symlink_to(models)
    (tmp_path / "tasks").symlink_to(mmlu)
    for command in commands:
        assert command[0] == "e2lm"
        assert main(command[1:]) == 0, command
    assert [one[1] for one in commands] == ["eval", "signal", "compete", "compete", "compete", "leaderboard"]
    card = json.loads((tmp_path / "entry" / "card.json").read_text())
    assert (card["items"], card["models"]) == (ITEMS * len(SUBJECTS), 4)
    assert f"num_fewshot: {SHOTS}" in (tmp_path / "entry" / "tiny_mmlu_anatomy_distilled.yaml").read_text()
    assert (tmp_path / "submission.zip").is_file()
    assert "accepted" in capsys.readouterr().out


def test_documents_of_other_data_are_refused_instead_of_taken(distilled):
    namespace = {"__file__": str(distilled / "kept_documents.py")}
    exec(compile((distilled / "kept_documents.py").read_text(), "kept_documents.py", "exec"), namespace)
    keep = namespace["kept"]

    class Documents(list):
        split = "test"

        def select(self, ids):
            return [self[place] for place in ids]

    ids = json.loads((distilled / "items.json").read_text())["tiny_mmlu_anatomy"]
    assert keep(Documents(range(ITEMS)), "tiny_mmlu_anatomy", "test") == ids
    # more documents than were logged (a --limit, an item without a number) are the same data still
    assert keep(Documents(range(ITEMS + 7)), "tiny_mmlu_anatomy", "test") == ids
    with pytest.raises(ValueError, match="other data"):
        keep(Documents(range(3)), "tiny_mmlu_anatomy", "test")
    few = Documents(range(ITEMS))
    few.split = "dev"
    assert keep(few, "tiny_mmlu_anatomy", "test") is few
