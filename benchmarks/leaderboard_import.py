"""Imports lm-eval's own multiple-choice tasks with stand-in data, and compares what a season would ask with lm-eval.

    python benchmarks/leaderboard_import.py [--only NAME ...]

Stand-in data has the fields that a task's templates and ``process_docs`` read, filled with drawn English. For each:
how many items came, whether the bundle passes the built-in rules, and whether every request is lm-eval's to the byte.
The denominator is the list :data:`TASKS`; lm-eval 0.4.13 has 474 files that say ``output_type: multiple_choice``, most
of them subjects or languages of one family, or built by an include.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import datasets
import lm_eval

from e2lm.asked_items import loaded_tasks
from e2lm.command_line import main as e2lm
from e2lm_leaderboard.bundle.check import check_path
from e2lm_leaderboard.season.evaluation import write_tasks
from e2lm_leaderboard.season.season import SeasonRules

ROOT = Path(lm_eval.__file__).parent / "tasks"
WORDS = (
    "the of and to a in is it that was for on with as at by river garden mountain village winter summer teacher",
    "letter stone silver bridge forest island market painter window engine signal harvest doctor travel music",
)
SPLITS = ("train", "validation", "test", "dev", "train_r1", "dev_r1", "test_r1")
Row = Callable[[random.Random], dict[str, Any]]


def text(rng: random.Random, words: int = 12) -> str:
    """Drawn English, more or less."""
    return " ".join(rng.choices(" ".join(WORDS).split(), k=words))


def four(rng: random.Random, count: int = 4) -> list[str]:
    """Answers, all different."""
    return [f"{text(rng, 3)} {number}" for number in rng.sample(range(100), count)]


def labelled(rng: random.Random, count: int = 4) -> dict[str, list[str]]:
    """As ARC writes choices."""
    return {"text": four(rng, count), "label": list("ABCDE"[:count])}


def mmlu(rng: random.Random) -> dict[str, Any]:
    """MMLU's fields."""
    return {"question": text(rng), "choices": four(rng), "answer": rng.randrange(4), "subject": "anatomy"}


def two(rng: random.Random, *names: str, labels: int = 2) -> dict[str, Any]:
    """Texts by name, and a label."""
    return {**{name: text(rng) for name in names}, "label": rng.randrange(labels)}


#: By task: where it lies below lm-eval's tasks, and a row of its data.
TASKS: Mapping[str, tuple[str, Row]] = {
    "mmlu_early_training": ("e2lmc/mmlu_early_training", mmlu),
    "noor": ("e2lmc/noor", mmlu),
    "sciknoweval_mcqa": ("e2lmc/sciknoweval_mcqa", mmlu),
    "mmlu_anatomy": ("mmlu/default", mmlu),
    "mmlu_anatomy_continuation": ("mmlu/continuation", mmlu),
    "arc_easy": ("arc", lambda r: {"question": text(r), "choices": labelled(r), "answerKey": r.choice("ABCD")}),
    "hellaswag": (
        "hellaswag",
        lambda r: {
            "ctx_a": text(r),
            "ctx_b": text(r, 3),
            "activity_label": text(r, 2),
            "endings": four(r),
            "label": "1",
        },
    ),
    "piqa": ("piqa", lambda r: {**two(r, "goal", "sol1", "sol2")}),
    "openbookqa": (
        "openbookqa",
        lambda r: {"question_stem": text(r), "choices": labelled(r), "answerKey": r.choice("ABCD")},
    ),
    "sciq": (
        "sciq",
        lambda r: {
            "support": text(r),
            "question": text(r),
            "correct_answer": text(r, 4),
            **{f"distractor{k}": text(r, 5) for k in (1, 2, 3)},
        },
    ),
    "boolq": ("super_glue/boolq", lambda r: two(r, "passage", "question")),
    "copa": (
        "super_glue/copa",
        lambda r: {**two(r, "premise", "choice1", "choice2"), "question": r.choice(["cause", "effect"])},
    ),
    "commonsense_qa": (
        "commonsense_qa",
        lambda r: {"question": text(r), "choices": labelled(r, 5), "answerKey": r.choice("ABCDE")},
    ),
    "social_iqa": (
        "siqa",
        lambda r: {
            **{name: text(r) for name in ("context", "question", "answerA", "answerB", "answerC")},
            "label": r.choice("123"),
        },
    ),
    "logiqa": (
        "logiqa",
        lambda r: {"context": text(r), "question": text(r), "options": four(r), "label": r.choice("abcd")},
    ),
    "truthfulqa_mc1": (
        "truthfulqa",
        lambda r: {"question": text(r), "mc1_targets": {"choices": four(r), "labels": [1, 0, 0, 0]}},
    ),
    "winogrande": (
        "winogrande",
        lambda r: {"sentence": f"{text(r)} _ {text(r)}", "option1": "Ann", "option2": "Eve", "answer": r.choice("12")},
    ),
    "headqa_en": (
        "headqa",
        lambda r: {"qtext": text(r), "answers": [{"aid": k, "atext": one} for k, one in enumerate(four(r))], "ra": 2},
    ),
    "medmcqa": (
        "medmcqa",
        lambda r: {"question": text(r), **{f"op{k}": text(r, 3) for k in "abcd"}, "cop": r.randrange(4)},
    ),
    "pubmedqa": (
        "pubmedqa",
        lambda r: {"QUESTION": text(r), "CONTEXTS": [text(r)], "final_decision": r.choice(["yes", "no", "maybe"])},
    ),
    "prost": (
        "prost",
        lambda r: {**two(r, "context", "ex_question", labels=4), **{key: text(r, 4) for key in "ABCD"}},
    ),
    "anli_r1": ("anli", lambda r: two(r, "premise", "hypothesis", labels=3)),
    "sst2": ("glue/sst2", lambda r: two(r, "sentence")),
    "swag": ("swag", lambda r: {**two(r, "startphrase", labels=4), **{f"ending{k}": text(r, 5) for k in range(4)}}),
}


#: Of groups a few rows a task make enough items.
ROWS = {"noor": 10, "sciknoweval_mcqa": 30}
LEAST = 105


def stand_in(folder: Path, row: Row, count: int) -> Callable[..., Any]:
    """Stands for ``datasets.load_dataset``: the same rows whatever is asked, as files too."""
    rows = {}
    for number, split in enumerate(SPLITS):
        rng = random.Random(number)
        rows[split] = [row(rng) for _ in range(count if number < 3 or "_r1" in split else 8)]

    def load(path: str, name: str | None = None, *, split: str | None = None, data_files: Any = None, **_: Any) -> Any:
        if path == "json" and isinstance(data_files, dict):  # data of the Hub by address
            path = "/".join(str(next(iter(data_files.values()))).split("/")[3:5])
        place = folder / path / (name or "")
        place.mkdir(parents=True, exist_ok=True)
        for one, listed in rows.items():
            (place / f"{one}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in listed))
        made = datasets.DatasetDict({one: datasets.Dataset.from_list(listed) for one, listed in rows.items()})
        return made if split is None else made[split]

    return load


def requests(folder: Path, name: str) -> list[tuple[str, str]]:
    """What lm-eval asks, each choice once."""
    found = []
    for task in loaded_tasks(str(folder), name):
        task.set_fewshot_seed(1234)
        task.build_all_requests(limit=None, rank=0, world_size=1)
        twice = "acc_mutual_info" in task._metric_fn_list
        by_doc: dict[int, list[Any]] = {}
        for one in task.instances:
            by_doc.setdefault(one.doc_id, []).append(one.args)
        for pairs in by_doc.values():
            found += pairs[: len(pairs) // 2] if twice else pairs
    return found


def outcome(name: str, place: str, row: Row, folder: Path) -> str:
    """One line: imported, passed, equal; or why not."""
    real, datasets.load_dataset = datasets.load_dataset, stand_in(folder / "data", row, ROWS.get(name, LEAST))
    try:
        own = requests(ROOT / place, name)
    finally:
        datasets.load_dataset = real
    command = ["leaderboard", "import", ROOT / place, "--task", name, "--license", "X", "--out", folder / "out"]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = e2lm([*map(str, command), "--data", str(folder / "data"), "--json"])
    if not (folder / "out").is_dir():
        return f"not imported: {said.getvalue().strip().splitlines()[-1][:150]}"
    report = check_path(folder / "out", SeasonRules())
    found = report.findings[0].sentence[:120] if report.findings else "passes"
    if not report.tasks or report.tasks[0].items is None:
        return f"imported; {found}"
    items = report.tasks[0].items
    (written,) = write_tasks(folder / "season", report.content_id, [(report.tasks[0].task, items)])
    equal = requests(folder / "season", written) == own
    return f"imported, exit code {code}; {len(items)} items; {found}; {'EQUAL' if equal else 'OTHER'} requests"


def main() -> None:
    """Print a line a task, then the count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(TASKS), choices=list(TASKS), metavar="NAME")
    held = 0
    names = parser.parse_args().only
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            try:
                told = outcome(name, *TASKS[name], Path(folder))
            except Exception as error:  # of lm-eval or the stand-in: the next task goes on
                told = f"failed: {type(error).__name__}: {error}"[:200]
        held += "passes; EQUAL" in told
        print(f"{name}: {told}", flush=True)
    print(f"{held} of {len(names)} imported, passed and equal to the byte")


if __name__ == "__main__":
    main()
