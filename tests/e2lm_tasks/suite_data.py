"""Small files of the schemas that the suites read, written here: every suite runs offline on them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np

from e2lm_tasks.building.families import LADDER, SuiteFamily, domain_family
from e2lm_tasks.building.hub_files import MMLU, tasks_by_group
from e2lm_tasks.building.prose import CorpusText, WordFrequency
from e2lm_tasks.building.text_suite import build_suite
from e2lm_tasks.hub_cloze import data_folder

ITEMS, SHOTS = 5, 6

Row = dict[str, Any]


def mmlu(i: int) -> Row:
    return {
        "question": f"What is {i}? ",
        "subject": "anatomy",
        "choices": [f"a{i}", f"b {i}", "c", f"d{i}"],
        "answer": i % 4,
    }


def labelled(i: int, question: str = "question") -> Row:
    labels = ["A", "B", "C", "D"] if i % 2 else ["1", "2", "3", "4"]
    return {
        question: f"Why is it so {i}?",
        "choices": {"text": ["w", f"x{i}", "y", "z z"], "label": labels},
        "answerKey": labels[i % 4],
    }


def piqa(i: int) -> Row:
    return {"goal": f"To open {i}", "sol1": "push it", "sol2": f"pull it {i} times", "label": i % 2}


def sciq(i: int) -> Row:
    return {
        "question": f"Which {i}?",
        "support": f" It says {i}.",
        "correct_answer": f"r{i}",
        "distractor1": "p",
        "distractor2": "q",
        "distractor3": "s",
    }


def hellaswag(i: int) -> Row:
    return {
        "activity_label": "Cooking",
        "ctx_a": "He cuts. [header] Then",
        "ctx_b": "he",
        "endings": [f"stirs [step] {i}", "runs", "sings", "sleeps"],
        "label": str(i % 4),
    }


#: Schema of every dataset, by its path on the Hub.
SCHEMAS: dict[str, Callable[[int], Row]] = {
    "cais/mmlu": mmlu,
    "mdahba/noor_final2": mmlu,
    "giovanivaldrighi/mmlu": mmlu,
    "ShAIkespear/SciKnowEval_mcqa": mmlu,
    "allenai/ai2_arc": labelled,
    "tau/commonsense_qa": labelled,
    "allenai/openbookqa": lambda i: labelled(i, "question_stem"),
    "Rowan/hellaswag": hellaswag,
    "baber/piqa": piqa,
    "allenai/sciq": sciq,
}  # fmt: skip


def write_hub_data(root: Path) -> None:
    """Every data set of the suites on data of the Hub, as ``E2LM_DATA`` wants it."""
    for tasks in tasks_by_group().values():
        for task in tasks:
            folder = data_folder(root, task.dataset, task.subset)
            folder.mkdir(parents=True, exist_ok=True)
            for split, count in ((task.split, ITEMS), (task.fewshot_split, SHOTS)):
                if split is not None:
                    lines = (json.dumps(SCHEMAS[task.dataset](i)) + "\n" for i in range(count))
                    (folder / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")


#: Rows of BLiMP's schema, written for this test.
BLIMP = [
    ("birds_sing", "agreement", "The birds sing.", "The birds sings."),
    ("birds_sing", "agreement", "The cats run.", "The cats runs."),
    ("birds_sing", "agreement", "The dogs bark.", "The dogs barks."),
    ("word_order", "order", "We saw a red house.", "We saw a house red."),
    ("word_order", "order", "They ate two green pears.", "They ate green two pears."),
]


def blimp_lines(uid: str) -> str:
    members = [row for row in BLIMP if row[0] == uid]
    return "".join(
        json.dumps(
            {
                "sentence_good": good,
                "sentence_bad": bad,
                "field": "syntax",
                "linguistics_term": term,
                "UID": uid,
                "pairID": str(number),
            }
        )
        + "\n"
        for number, (_, term, good, bad) in enumerate(members)
    )


def write_pair_data(root: Path) -> None:
    """BLiMP, its filter and Zorro."""
    (root / "blimp").mkdir()
    for uid in ("birds_sing", "word_order"):
        (root / "blimp" / f"{uid}.jsonl").write_text(blimp_lines(uid), encoding="utf-8")
    # What else lies in the repository of BLiMP must not be taken for pairs.
    (root / "blimp" / "models_summary.jsonl").write_text('{"UID": "birds_sing", "gpt2": 0.9}\n', encoding="utf-8")
    (root / "blimp" / "babylm_filtered_pair_ids.json").write_text('{"birds_sing": [0, 2], "word_order": [1]}')
    sentences = root / "zorro" / "sentences" / "own"
    sentences.mkdir(parents=True)
    (sentences / "agreement-neighbours.txt").write_text(
        "these dog ran .\nthis dog ran .\nthis dogs ran .\nthe dogs ran .\n"
    )
    (sentences / "filler-gap-object.txt").write_text("who did he see her ?\nwho did he see ?\n")


def made_domain() -> tuple[list[CorpusText], SuiteFamily]:
    """Documents with terms and facts enough for the three tasks of a domain."""
    rng = np.random.default_rng(0)
    nouns = [a + b for a in ("bar", "tel", "mon", "fis", "gor", "lan", "vep", "sul") for b in ("tron", "bex", "mul")]
    materials = ["copper", "silver", "timber", "marble", "cotton", "leather", "ivory", "amber", "bronze", "velvet"]
    letters = "abcdefghijklmnopqrstuvwxyz"

    def fact(i: int, noun: str, j: int, verb: str) -> str:
        first, second = (materials[place] for place in rng.integers(len(materials), size=2).tolist())
        return f"The {noun} {verb} {first} and some more {second} near {letters[i]}{letters[j]} when {noun} works."

    verbs = ("contains", "uses", "holds", "needs", "takes", "gives")
    text = " ".join(fact(i, noun, j, verb) for j, verb in enumerate(verbs) for i, noun in enumerate(nouns))
    # Words that everybody uses, as often as the things (12), the verbs (24) and the materials (30 or so).
    text += " " + " ".join(f"Nobody could know when another {noun} would come before winter." for noun in nouns[:12])
    text += " " + " ".join(f"People there never spoke about {noun} after their evening meals." for noun in nouns)
    usual_words = re.findall(r"[a-z]{4,}", "could know another would come before there never spoke about after their")
    usual = WordFrequency(Counter(dict.fromkeys(usual_words, 2000)), 100_000)
    return [CorpusText.of("made.txt", text)], domain_family(usual)


def write_built_suites(root: Path) -> None:
    """A ladder and a domain, as ``e2lm tasks build`` writes them."""
    documentation = CorpusText.of("documentation.txt", "\n\n".join(topics[name] for name in sorted(topics)))
    corpus, family = made_domain()
    built = {
        "e2lm_ladder": build_suite([documentation], seed=1, items=100, name="e2lm_ladder", family=LADDER),
        "e2lm_domain": build_suite(corpus, 0, 100, "e2lm_domain", family=family),
    }
    for name, suite in built.items():
        (root / name).mkdir(parents=True)
        for file, text in suite.files.items():
            (root / name / file).write_text(text, encoding="utf-8")


#: Two of the 57 subjects stand for all: they differ in nothing but their data.
MMLU_SUBJECTS = ("e2lm_mmlu_cloze_anatomy", "e2lm_mmlu_cloze_virology")
#: Everything that is shipped or built, by group.
SUITES = (
    "e2lm_early",
    "e2lm_science_facts",
    "e2lm_blimp",
    "e2lm_blimp_babylm",
    "e2lm_zorro",
    "e2lm_ladder",
    "e2lm_domain",
    *(group for group in tasks_by_group() if group != "e2lm_mmlu_cloze"),
    *MMLU_SUBJECTS,
)
#: Tasks that ``SUITES`` leave out.
OTHER_SUBJECTS = {f"e2lm_mmlu_cloze_{subject}" for category in MMLU.values() for subject in category} - set(
    MMLU_SUBJECTS
)
#: Items of each task that are scored; data sets of the Hub have no more than ``ITEMS``.
LIMIT = 4


def suite_manager(root: Path) -> Any:
    """lm-eval's tasks: ours, and those built below ``root``; ``E2LM_DATA`` must name a folder with the data."""
    from lm_eval.tasks import TaskManager

    import e2lm_tasks

    shipped = Path(e2lm_tasks.__file__).parent
    folders = [shipped / name for name in ("early", "science_facts", "hub", "minimal_pairs")]
    return TaskManager(include_path=[str(one) for one in (*folders, root)], include_defaults=False)


def answers(results: Row) -> dict[str, list[tuple[float, bool | None]]]:
    """Log-likelihood and greedy flag of every request, by task; whole texts have no flag."""
    return {task: list(_answers(samples)) for task, samples in results["samples"].items()}


def _answers(samples: list[Row]) -> Iterator[tuple[float, bool | None]]:
    for sample in sorted(samples, key=lambda one: int(one["doc_id"])):
        for (answer,) in sample["resps"]:
            yield (float(answer[0]), answer[1]) if isinstance(answer, list | tuple) else (float(answer), None)


def assert_alike(first: Row, second: Row, tolerance: float) -> None:
    """Same requests, same greedy flags, log-likelihoods and metrics no further apart than ``tolerance`` (nats)."""
    theirs, ours = answers(first), answers(second)
    assert set(theirs) == set(ours)
    for task, expected in theirs.items():
        assert len(expected) == len(ours[task]) > 0, task
        for (loglik, greedy), (own, own_greedy) in zip(expected, ours[task], strict=True):
            assert abs(loglik - own) <= tolerance, (task, loglik, own)
            assert greedy == own_greedy, task
    for task, values in first["results"].items():
        for metric, value in values.items():
            if isinstance(value, float):
                assert abs(value - second["results"][task][metric]) <= tolerance, (task, metric)
