import json

import pytest
import yaml

from e2lm.command_line import main


def table(tmp_path, *rows):
    path = tmp_path / "own.csv"
    lines = [",".join([*map(str, row[:6]), '"' + row[6].replace('"', '""') + '"']) for row in rows]
    path.write_text("\n".join(["series,step,task,metric,value,stderr,key", *lines]))
    return path


def about(**fields):
    return json.dumps(fields)


def row(task, value, step=20, series="m", metric="acc", **fields):
    return (series, step, task, metric, value, 0.01, about(task=task, **fields))


def export(tmp_path, path, *options):
    out = ("--out", str(tmp_path / "repo"))
    return main(["signal", "export", str(path), *options, *out])


def test_the_last_checkpoint_becomes_entries_of_the_hubs_schema(tmp_path):
    path = table(tmp_path, row("quiz", 0.3, step=10), row("quiz", 0.4, shots="5"), row("other", 0.7))
    options = ("--dataset", "quiz=org/quiz:hard", "other=org/other", "--source-url", "https://example.org/run")
    assert export(tmp_path, path, *options) == 0
    files = {file.name: yaml.safe_load(file.read_text()) for file in (tmp_path / "repo" / ".eval_results").iterdir()}
    assert sorted(files) == ["other.yaml", "quiz.yaml"]
    [entry] = files["quiz.yaml"]
    assert entry["dataset"] == {"id": "org/quiz", "task_id": "hard"}
    assert entry["value"] == 0.4
    assert entry["source"] == {"url": "https://example.org/run"}
    assert "shots 5" in entry["notes"]
    assert "step 20" in entry["notes"]
    assert files["other.yaml"][0]["dataset"]["task_id"] == "default"


def test_the_entries_are_what_huggingface_hub_reads(tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    if not hasattr(hub, "parse_eval_result_entries"):
        pytest.skip("this huggingface_hub knows no such entries")
    assert export(tmp_path, table(tmp_path, row("quiz", 0.4)), "--dataset", "quiz=org/quiz") == 0
    data = yaml.safe_load((tmp_path / "repo" / ".eval_results" / "quiz.yaml").read_text())
    [entry] = hub.parse_eval_result_entries(data)
    assert (entry.dataset_id, entry.task_id, entry.value) == ("org/quiz", "default", 0.4)


@pytest.mark.parametrize(
    ("rows", "options", "said"),
    [
        ([row("quiz", 0.4), row("quiz", 0.5, metric="acc_norm")], ("quiz=org/quiz",), "would have two values"),
        ([row("quiz", 0.4), row("quiz 5-shot", 0.5)], ("quiz*=org/quiz",), "would have two values"),
        ([row("quiz", 0.4), row("quiz", 0.5, series="n")], ("quiz=org/quiz",), "of one model: choose with --series"),
        ([row("quiz", 0.4)], ("quitz=org/quiz",), "Did you mean 'quiz'"),
        ([row("quiz", 0.4)], ("quiz=quiz",), "TASK=OWNER/DATASET"),
    ],
)
def test_values_of_different_kinds_never_share_an_id(tmp_path, capsys, rows, options, said):
    assert export(tmp_path, table(tmp_path, *rows), "--dataset", *options) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "repo").exists()


def test_a_dry_run_writes_nothing_and_tasks_without_a_benchmark_are_named(tmp_path, capsys):
    path = table(tmp_path, row("quiz", 0.4), row("mine", 0.4))
    assert export(tmp_path, path, "--dataset", "quiz=org/quiz", "--dry-run") == 0
    out = capsys.readouterr().out
    assert "would write" in out
    assert "no --dataset names a benchmark for: mine" in out
    assert not (tmp_path / "repo").exists()
