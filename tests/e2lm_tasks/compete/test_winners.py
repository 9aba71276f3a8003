"""The three winning entries of 2025, rebuilt from logged samples by one command each, against lm-eval's own YAML.

What lm-eval ships of them reads data that were filtered beforehand. Here the whole data (stand-ins of the same schema)
were evaluated, one command filters them, and lm-eval must ask of its own YAML with the filtered data, byte for byte,
what it asks of the exported entry.
"""

import json
import shlex
import subprocess
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import yaml

from e2lm.asked_items import loaded_tasks
from e2lm.command_line import main
from e2lm_tasks.compete.items import entry_items

SHIPPED = Path(str(find_spec("lm_eval").origin)).parent / "tasks" / "e2lmc"
MODELS, STEPS, SHOTS = 4, (2000, 4000, 6000, 8000), 5
STEM = (
    "abstract_algebra", "college_computer_science", "college_mathematics", "college_physics", "conceptual_physics",
    "electrical_engineering", "elementary_mathematics", "high_school_computer_science", "high_school_mathematics",
    "high_school_physics", "high_school_statistics", "machine_learning",
)  # fmt: skip
DOMAINS = ("Biology", "Chemistry", "Material", "Physics")


def of_mmlu(subject, number):
    """As MMLU has its rows; those at odd places are learned."""
    return {
        "question": f" What is part {number} of {subject.replace('_', ' ')} made of? ",
        "subject": subject,
        "choices": [f"{word} of kind {number}" for word in ("stone", "water", "air", "ore")],
        "answer": number % 4,
    }


def of_sciknoweval(domain, number):
    """As SciKnowEval has its rows: several types, levels L1 to L5."""
    row = of_mmlu(domain, number)
    return {
        "question": row["question"],
        "choices": {"text": row["choices"], "label": list("ABCD")},
        "answerKey": "ABCD"[row["answer"]],
        "type": ("mcq-4-choices", "mcq-4-choices", "true_or_false")[number % 3],
        "domain": domain,
        "details": {"level": f"L{number % 5 + 1}", "task": "a task"},
    }


def in_the_shipped_schema(row):
    """A row as the winner handed it in: choices as a list, the answer as its place."""
    if "answerKey" not in row:
        return row
    return {
        "question": row["question"], "choices": row["choices"]["text"], "answer": "ABCD".index(row["answerKey"])
    }  # fmt: skip


def is_asked_by_sciknoweval(row):
    return row["type"].startswith("mcq") and row["details"]["level"] in ("L1", "L2", "L3")


class Winner:
    """One of the three: its whole data, by the name of the data set, and the YAML of what was evaluated."""

    def __init__(self, name, row, parts, items, is_kept, config):
        self.name, self.items, self.is_kept, self.config = name, items, is_kept, config
        self.whole = {part: [row(*one) for one in rows] for part, rows in parts(items).items()}
        self.dev = {part: [row(*one) for one in rows] for part, rows in parts(range(100, 100 + SHOTS)).items()}

    def task_of(self, part):
        """What the task of the whole data is called."""
        return f"sciknoweval_{part}" if part in DOMAINS else f"mmlu_{part}"

    def base_tasks(self, folder):
        """The cloze form over the whole data, as somebody evaluated it."""
        names = {}
        for part, rows in self.whole.items():
            files = {}
            for split, own in (("test", rows), ("dev", self.dev[part])):
                file = folder / f"{part}_{split}.jsonl"
                file.write_text("".join(json.dumps(row) + "\n" for row in own))
                files[split] = str(file)
            config = {
                **{key: value for key, value in self.config(part).items() if key not in ("tag", "metadata")},
                "task": self.task_of(part), "dataset_path": "json", "dataset_kwargs": {"data_files": files},
                "metadata": {"version": 1.0},
            }  # fmt: skip
            config.pop("dataset_name", None)
            (folder / f"{self.task_of(part)}.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
            names[self.task_of(part)] = rows
        return names

    def filtered(self, part):
        return [in_the_shipped_schema(row) for place, row in enumerate(self.whole[part]) if self.is_kept(place, row)]


def shipped_config(folder, file, template=None):
    """lm-eval's own YAML of the winner, without code."""
    texts = [(SHIPPED / folder / one).read_text() for one in (template, file) if one]
    merged = {}
    for text in texts:
        merged |= yaml.safe_load(text.replace("!function ", ""))
    return {key: value for key, value in merged.items() if key not in ("include", "metric_list")}


def one_by_one(subjects):
    return lambda items: {subject: [(subject, number) for number in items] for subject in subjects}


def all_in_one(items):
    return {"cloze": [(subject, number) for subject in STEM[:2] for number in items]}


def sciknoweval_config(domain):
    return shipped_config("sciknoweval_mcqa", f"sciknoweval_{domain}.yaml", "_var5shots_template_yaml") | {
        "doc_to_choice": "{{choices.text}}", "doc_to_target": "{{choices.label.index(answerKey)}}",
    }  # fmt: skip


def noor_config(subject):
    name = subject if subject in STEM else STEM[0]
    return shipped_config("noor", f"noor_{name}.yaml", "_noor_template")


def winners():
    learned = lambda place, row: place % 2 == 1  # noqa: E731
    return {
        "mmlu_early_training": Winner(
            "mmlu_early_training", of_mmlu, all_in_one, range(10), learned,
            lambda part: shipped_config("mmlu_early_training", "mmlu_early_training.yaml"),
        ),
        "noor": Winner("noor", of_mmlu, one_by_one((*STEM, "virology")), range(4), learned, noor_config),
        "sciknoweval_mcqa": Winner(
            "sciknoweval_mcqa", of_sciknoweval, one_by_one(DOMAINS), range(15),
            lambda place, row: is_asked_by_sciknoweval(row), sciknoweval_config,
        ),
    }  # fmt: skip


PAGE = Path(__file__).parents[3] / "docs" / "competition.md"
REPORTED = {"mmlu_early_training": "likelihood,none", "noor": "likelihood,none", "sciknoweval_mcqa": "acc,none"}


def logged(folder, tasks):
    """What lm-eval 0.4.13 logs of four models at four checkpoints; odd items rise, even ones fall."""
    rng = np.random.default_rng(7)
    for model in range(MODELS):
        place = folder / f"org__m{model}"
        place.mkdir(parents=True)
        for step in STEPS:
            date = f"2025-08-01T00-00-{step // 2000:02d}.000000"
            for name, rows in tasks.items():
                lines = [sample(number, row, model, step, rng) for number, row in enumerate(rows)]
                (place / f"samples_{name}_{date}.jsonl").write_text("\n".join(lines) + "\n")
            data = {
                "results": {name: {"alias": name, "acc,none": 0.5} for name in tasks},
                "configs": {name: {"task": name, "output_type": "multiple_choice"} for name in tasks},
                "versions": dict.fromkeys(tasks, 1), "n-shot": dict.fromkeys(tasks, SHOTS),
                "config": {"model": "hf", "model_args": f"pretrained=org/m{model},subfolder=iter_{step:07d}"},
            }  # fmt: skip
            (place / f"results_{date}.json").write_text(json.dumps(data))
    return folder


def sample(number, row, model, step, rng):
    row_as_handed_in = in_the_shipped_schema(row)
    logliks = -20 + 0.05 * rng.normal(size=4)
    logliks[row_as_handed_in["answer"]] += (1 if number % 2 else -1) * (2 + model) * step / 8000
    pairs = [[str(float(one)), "False"] for one in logliks]
    return json.dumps(
        {
            "doc_id": number, "doc": row, "target": str(row_as_handed_in["answer"]),
            "arguments": {
                f"gen_args_{place}": {"arg_0": "Q", "arg_1": f" {choice}"}
                for place, choice in enumerate(row_as_handed_in["choices"])
            },
            "resps": [[pair] for pair in pairs], "filtered_resps": pairs, "filter": "none", "metrics": ["acc"],
            "doc_hash": "d", "prompt_hash": "p", "target_hash": "t",
            "acc": float(int(np.argmax(logliks)) == row_as_handed_in["answer"]),
        }
    )  # fmt: skip


def asked_of_the_shipped_yaml(winner, monkeypatch):
    """What lm-eval asks by the YAML it ships, of data filtered as the winner did."""
    import datasets

    def load(path, name=None, **_):
        part = name if name in winner.whole else next(iter(winner.whole))
        splits = {"test": winner.filtered(part), "dev": [in_the_shipped_schema(row) for row in winner.dev[part]]}
        splits["validation"] = splits["dev"]
        return datasets.DatasetDict({split: datasets.Dataset.from_list(rows) for split, rows in splits.items()})

    monkeypatch.setattr(datasets, "load_dataset", load)
    asked = []
    for task in loaded_tasks(str(SHIPPED / winner.name), winner.name):
        task.set_fewshot_seed(1234)
        task.build_all_requests(limit=None, rank=0, world_size=1)
        asked.append([instance.args for instance in task.instances])
    monkeypatch.undo()
    return sorted(asked)


def command_of(name, **places):
    """The one command of the page that makes the entry."""
    lines = PAGE.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    (found,) = [line for line in lines if line.startswith(f"e2lm signal distil RUNS --group {name} ")]
    return [places.get(word, word) for word in shlex.split(found)[1:]]


@pytest.mark.parametrize("name", list(REPORTED))
def test_a_winning_entry_is_rebuilt_by_one_command_and_asks_what_lm_eval_asks(name, tmp_path, monkeypatch):
    winner = winners()[name]
    (tmp_path / "tasks").mkdir()
    runs = logged(tmp_path / "runs", winner.base_tasks(tmp_path / "tasks"))
    places = {"RUNS": str(runs), "TASKS": str(tmp_path / "tasks"), "ENTRY": str(tmp_path / "entry")}
    assert main([*command_of(name, **places), "--repeats", "1"]) == 0
    archive = tmp_path / "submission.zip"
    task = ("--task", name, "--metric", REPORTED[name])
    assert main(["compete", "export", str(tmp_path / "entry"), *task, "--out", str(archive)]) == 0
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    with zipfile.ZipFile(archive) as opened:
        patch = opened.read("evaluation.patch")
    subprocess.run(["git", "init", "-q"], cwd=checkout, check=True)
    subprocess.run(["git", "apply", "-"], input=patch, cwd=checkout, check=True)
    monkeypatch.chdir(checkout)
    by_task = {}
    for item in entry_items(checkout / "lm_eval" / "tasks" / name, name):
        by_task.setdefault(item.task, []).extend((item.context, choice) for choice in item.choices)
    assert sorted(by_task.values()) == asked_of_the_shipped_yaml(winner, monkeypatch)
    assert next(iter(by_task.values()))[0][0].count("Question:") == SHOTS + 1
    assert len(by_task) == {"mmlu_early_training": 1, "noor": 12, "sciknoweval_mcqa": 4}[name]
