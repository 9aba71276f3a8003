"""A small MMLU: three subjects with few-shot examples, as lm-eval's tasks, and its logged samples of four models."""

import json

import numpy as np
import pytest

SUBJECTS = ("anatomy", "botany", "optics")
ITEMS, SHOTS, MODELS, STEPS = 70, 5, 4, range(3000, 15000, 3000)
#: As MMLU's cloze form in lm-eval.
TEMPLATE = """\
dataset_path: json
output_type: multiple_choice
test_split: test
fewshot_split: dev
fewshot_config:
  sampler: first_n
doc_to_text: "Question: {{question.strip()}}\\nAnswer:"
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
metadata:
  version: 1.0
"""


def document(subject, number):
    answer = number % 4
    choices = [f"the {word} {number}" for word in ("top", "end", "side", "core")]
    return {
        "question": f"Which part of {subject} is it in {number}?",
        "choices": choices,
        "answer": answer,
    }


@pytest.fixture(scope="session")
def mmlu(tmp_path_factory):
    """The tasks, in a folder for ``--include-path``."""
    folder = tmp_path_factory.mktemp("mmlu")
    (folder / "_template").write_text(TEMPLATE)
    for subject in SUBJECTS:
        for split, count in (("test", ITEMS), ("dev", SHOTS)):
            rows = [document(subject, number + (100 if split == "dev" else 0)) for number in range(count)]
            (folder / f"{subject}_{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        files = json.dumps({split: str(folder / f"{subject}_{split}.jsonl") for split in ("test", "dev")})
        (folder / f"tiny_mmlu_{subject}.yaml").write_text(
            f"include: _template\ntask: tiny_mmlu_{subject}\ntag: cloze\ndataset_kwargs:\n"
            f"  data_files: {files}\n"
            f'description: "The following are questions (with answers) about {subject}.\\n\\n"\n'
        )
    return folder


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Four untrained runs of two checkpoints each, whose prompts may have 512 tokens."""
    from e2lm_testing.tiny_checkpoint import write_tiny_llama

    root = tmp_path_factory.mktemp("models")
    for number in range(4):
        for step in (2000, 4000):
            folder = root / f"m{number}" / f"iter_{step:07d}"
            write_tiny_llama(folder, step + number)
            for name in ("config.json", "tokenizer_config.json"):
                (folder / name).write_text((folder / name).read_text().replace(": 256", ": 512"))
    return root


@pytest.fixture(scope="session")
def logged(tmp_path_factory):
    """What lm-eval 0.4.13 logs of four models at four checkpoints, five-shot."""
    root = tmp_path_factory.mktemp("logged")
    rng = np.random.default_rng(4)
    for model in range(MODELS):
        for step in STEPS:
            date = f"2025-08-01T00-00-{step // 1000:02d}.000000"
            folder = root / f"org__m{model}"
            folder.mkdir(exist_ok=True)
            names = [f"tiny_mmlu_{subject}" for subject in SUBJECTS]
            for subject, name in zip(SUBJECTS, names, strict=True):
                lines = [_sample(subject, item, model, step, rng) for item in range(ITEMS)]
                (folder / f"samples_{name}_{date}.jsonl").write_text("\n".join(lines) + "\n")
            data = {
                "results": {name: {"alias": name, "acc,none": 0.5} for name in names},
                "configs": {
                    name: {"task": name, "output_type": "multiple_choice", "target_delimiter": " "} for name in names
                },
                "versions": dict.fromkeys(names, 1), "n-shot": dict.fromkeys(names, SHOTS),
                "n-samples": {name: {"original": ITEMS, "effective": ITEMS} for name in names},
                "config": {"model": "hf", "model_args": f"pretrained=org/m{model},subfolder=iter_{step:07d}"},
            }  # fmt: skip
            (folder / f"results_{date}.json").write_text(json.dumps(data))
    return root


def _sample(subject, item, model, step, rng):
    """Items at odd places carry signal: the right choice gains with training, faster for later models."""
    doc = document(subject, item)
    logliks = -20 + 0.3 * rng.normal(size=4)
    logliks[doc["answer"]] += (item % 2) * (1 + model) * step / 12000
    pairs = [[str(float(one)), "False"] for one in logliks]
    return json.dumps(
        {
            "doc_id": item, "doc": doc, "target": str(doc["answer"]),
            "arguments": {
                f"gen_args_{place}": {"arg_0": f"Question: {doc['question']}\nAnswer:", "arg_1": f" {choice}"}
                for place, choice in enumerate(doc["choices"])
            },
            "resps": [[pair] for pair in pairs], "filtered_resps": pairs, "filter": "none", "metrics": ["acc"],
            "doc_hash": "d", "prompt_hash": "p", "target_hash": "t",
            "acc": float(int(np.argmax(logliks)) == doc["answer"]),
        }
    )  # fmt: skip


@pytest.fixture(scope="session")
def distilled(tmp_path_factory, mmlu, logged):
    """The easiest half of it as one benchmark, by one command."""
    from e2lm.command_line import main

    out = tmp_path_factory.mktemp("entry") / "early_mmlu"
    command = (
        "signal",
        "distil",
        logged,
        "--group",
        "early_mmlu",
        "--metric",
        "gold_minus_mean_wrong",
        "--keep",
        "0.5",
    )
    options = ("--method", "item-snr", "--repeats", "2", "--include-path", mmlu, "--out", out)
    assert main([str(one) for one in (*command, *options)]) == 0
    return out
