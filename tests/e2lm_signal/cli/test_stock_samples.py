"""What lm-eval logs with --log_samples is Samples: noise and distil say of it what they say of those of `e2lm eval`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from e2lm.command_line import main
from e2lm.results import read_lm_eval_samples

STEPS = (10, 20, 30, 40)
ITEMS = 12


def item(doc_id: int, logliks: list[float]) -> dict[str, Any]:
    """One item of three choices, of which the first is right, as lm-eval logs it."""
    return {
        "doc_id": doc_id,
        "doc": {"answer": 0, "type": f"mcq-{3 + doc_id % 2}", "details": {"level": f"L{doc_id % 3}"}},
        "target": "0",
        "arguments": {
            f"gen_args_{k}": {"arg_0": "Q:", "arg_1": f" choice {k}"} for k in range(len(logliks))
        },
        "filtered_resps": [[str(value), "False"] for value in logliks],
        "acc": float(np.argmax(logliks) == 0),
    }  # fmt: skip


def stock_folder(folder: Path, steps: dict[str, tuple[int, ...]]) -> Path:
    """Results and samples of one task for every series at its steps."""
    rng = np.random.default_rng(5)
    for number, (series, own) in enumerate(steps.items()):
        place = folder / f"org__{series}"
        place.mkdir(parents=True)
        for step in own:
            date = f"2026-01-01T00-00-{step}.0"
            logliks_IC = rng.normal(size=(ITEMS, 3)) - 3 + np.array([step / 40 + number / 4, 0, 0])
            records = [item(doc_id, row.tolist()) for doc_id, row in enumerate(logliks_IC)]
            lines = "".join(json.dumps(one) + "\n" for one in records)
            (place / f"samples_arc_{date}.jsonl").write_text(lines, encoding="utf-8")
            data = {
                "results": {"arc": {"acc,none": float(np.mean([one["acc"] for one in records]))}},
                "configs": {"arc": {"output_type": "multiple_choice", "doc_to_target": "answer"}},
                "versions": {"arc": 1},
                "config": {"model_args": f"pretrained=org/{series},revision=step{step}"},
            }
            (place / f"results_{date}.json").write_text(json.dumps(data), encoding="utf-8")
    return folder


@pytest.mark.parametrize("verb", [("noise",), ("distil", "--repeats", "2", "--keep", "0.5")])
def test_noise_and_distil_say_of_stock_samples_what_they_say_of_ours(
    verb: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stock = stock_folder(tmp_path / "stock", dict.fromkeys(("a", "b", "c", "d"), STEPS))
    for number, samples in enumerate(read_lm_eval_samples(stock)):
        samples.write(tmp_path / "ours" / f"{number}.parquet")
    told = []
    for place in (stock, tmp_path / "ours"):
        assert main(["signal", verb[0], str(place), *verb[1:], "--json"]) == 0
        told.append(json.loads(capsys.readouterr().out))
    assert told[0] == told[1]
    assert told[0]["tasks"][0]["task"] == "arc"


def test_checkpoints_that_only_some_series_have_are_said_to_be_unused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stock = stock_folder(tmp_path, {"a": STEPS, "b": STEPS[1:], "c": STEPS[1:]})
    assert main(["signal", "noise", str(stock)]) == 0
    assert "note: arc: 1 checkpoints of single series are not used; 3 are common to all" in capsys.readouterr().out


def test_logged_samples_beside_parquet_are_said_not_to_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stock = stock_folder(tmp_path, dict.fromkeys(("a", "b", "c", "d"), STEPS))
    for number, samples in enumerate(read_lm_eval_samples(stock)):
        samples.write(tmp_path / "ours" / f"{number}.parquet")
    assert main(["signal", "noise", str(stock)]) == 0
    assert "Parquet is read alone; what lm-eval logged is not, with" in capsys.readouterr().out.replace("\n  ", " ")


def test_results_without_samples_say_how_to_log_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stock = stock_folder(tmp_path, {"a": STEPS})
    for file in stock.rglob("*.jsonl"):
        file.unlink()
    assert main(["signal", "noise", str(stock)]) == 2
    assert "as lm-eval writes them with --log_samples" in capsys.readouterr().err


@pytest.mark.parametrize(
    "verb", [("noise",), ("distil", "--repeats", "2", "--keep", "0.5"), ("compare",), ("outliers",), ("versus",)]
)
def test_every_verb_reads_stock_samples_and_no_table_is_wider_than_a_terminal(
    verb: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stock = stock_folder(tmp_path / "stock", dict.fromkeys(("a", "b", "c", "d"), (10, 20, 30, 40, 50)))
    places = [f"{stock}@a@30", f"{stock}@b@30"] if verb == ("versus",) else [str(stock)]
    assert main(["signal", verb[0], *places, *verb[1:]]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "arc" in " ".join(lines) or verb == ("outliers",)
    assert [line for line in lines if len(line) > 100 and not line.startswith("note:")] == []


def distilled(capsys: pytest.CaptureFixture[str], folder: Path, *options: str) -> tuple[int, dict[str, Any], str]:
    code = main(["signal", "distil", str(folder), "--repeats", "1", "--json", *options])
    captured = capsys.readouterr()
    return code, json.loads(captured.out or "{}"), captured.err


def test_items_are_taken_by_what_their_logged_document_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stock = stock_folder(tmp_path / "stock", dict.fromkeys(("a", "b", "c", "d"), STEPS))
    where = ("--where", "type=mcq-4", "details.level=L[01]", "--out", str(tmp_path / "out"))
    _, told, said = distilled(capsys, stock, "--method", "all", *where)
    assert json.loads((tmp_path / "out" / "items.json").read_text()) == {
        "arc": [one for one in range(ITEMS) if one % 2 and one % 3 < 2]
    }
    assert told["tasks"][0]["items"] == 4
    assert "arc: --where leaves 4 of 12 items" in said
    either = distilled(capsys, stock, "--where", "details.level=L0", "details.level=L2", "--keep", "0.5")[1]
    assert either["tasks"][0]["items"] == 8


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--where", "kind=mcq"), "no document has a field 'kind'. Known: answer, details, type"),
        (("--where", "type=essay"), "no item of arc is left"),
        (("--where", "mcq"), "FIELD=PATTERN is expected"),
        (("--tasks", "ark"), "no task 'ark' in the Samples. Did you mean 'arc'?"),
    ],
)
def test_a_choice_that_leaves_nothing_is_one_line(
    options: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stock = stock_folder(tmp_path, dict.fromkeys(("a", "b", "c", "d"), STEPS))
    code, _, error = distilled(capsys, stock, *options)
    assert code == 2
    assert said in error


def test_samples_without_documents_cannot_be_taken_by_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stock = stock_folder(tmp_path / "stock", dict.fromkeys(("a", "b", "c", "d"), STEPS))
    for number, samples in enumerate(read_lm_eval_samples(stock)):
        samples.write(tmp_path / "ours" / f"{number}.parquet")
    code, _, error = distilled(capsys, tmp_path / "ours", "--where", "type=mcq*")
    assert code == 2
    assert "only what lm-eval logs with --log_samples holds them" in error
