"""The YAML of the suites on well-known data of the Hub, in cloze form: written once, kept as files.

Run ``python -m e2lm_tasks.building.hub_files`` to write them again after a change here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "hub"
TEMPLATE = "_hub_template"
VERSION = 1

QUESTION = "Question: {{question.strip()}}\nAnswer:"
ABOUT = "The following are questions (with answers) about {}.\n\n"

#: The 57 subjects of MMLU (Hendrycks et al. 2021, arXiv 2009.03300) in its four categories.
MMLU: Mapping[str, Sequence[str]] = {
    "stem": (
        "abstract_algebra", "anatomy", "astronomy", "college_biology", "college_chemistry", "college_computer_science",
        "college_mathematics", "college_physics", "computer_security", "conceptual_physics", "electrical_engineering",
        "elementary_mathematics", "high_school_biology", "high_school_chemistry", "high_school_computer_science",
        "high_school_mathematics", "high_school_physics", "high_school_statistics", "machine_learning",
    ),
    "humanities": (
        "formal_logic", "high_school_european_history", "high_school_us_history", "high_school_world_history",
        "international_law", "jurisprudence", "logical_fallacies", "moral_disputes", "moral_scenarios", "philosophy",
        "prehistory", "professional_law", "world_religions",
    ),
    "social_sciences": (
        "econometrics", "high_school_geography", "high_school_government_and_politics", "high_school_macroeconomics",
        "high_school_microeconomics", "high_school_psychology", "human_sexuality", "professional_psychology",
        "public_relations", "security_studies", "sociology", "us_foreign_policy",
    ),
    "other": (
        "business_ethics", "clinical_knowledge", "college_medicine", "global_facts", "human_aging", "management",
        "marketing", "medical_genetics", "miscellaneous", "nutrition", "professional_accounting",
        "professional_medicine", "virology",
    ),
}  # fmt: skip
#: The subjects that Noor kept (E2LM 2025, best student entry).
NOOR = (
    "abstract_algebra", "college_computer_science", "college_mathematics", "college_physics", "conceptual_physics",
    "electrical_engineering", "elementary_mathematics", "high_school_computer_science", "high_school_mathematics",
    "high_school_physics", "high_school_statistics", "machine_learning",
)  # fmt: skip
SCIKNOWEVAL = ("Biology", "Chemistry", "Material", "Physics")


@dataclass(frozen=True, slots=True)
class HubTask:
    """One task; ``shots`` worked examples are the first of ``fewshot_split``."""

    name: str
    dataset: str
    subset: str | None
    split: str
    text: str
    choice: str
    gold: str
    chance: float
    shots: int = 0
    fewshot_split: str | None = None
    description: str = ""
    more: Mapping[str, str] = field(default_factory=dict)

    def yaml(self) -> str:
        """The task as lm-eval reads it."""
        lines = {
            "include": TEMPLATE,
            "task": self.name,
            "dataset_path": self.dataset,
            "dataset_name": self.subset,
            "test_split": self.split,
            "fewshot_split": self.fewshot_split,
            "num_fewshot": self.shots,
            "description": self.description or None,
            "doc_to_text": self.text,
            "doc_to_choice": self.choice,
            "doc_to_target": self.gold,
        }
        text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in lines.items() if value is not None)
        text += "fewshot_config: {sampler: first_n}\n" if self.shots else ""
        text += "".join(f"{key}: {value}\n" for key, value in self.more.items())
        return text + f"metadata:\n  version: {VERSION}\n  chance: {self.chance}\n"


TEMPLATE_TEXT = """\
class: !function e2lm_tasks.hub_cloze.HubCloze
output_type: multiple_choice
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
  - {metric: acc_bytes, aggregation: mean, higher_is_better: true}
"""


def _mmlu_like(name: str, dataset: str, subset: str | None, subject: str) -> HubTask:
    return HubTask(
        name, dataset, subset, "test", QUESTION, "{{choices}}", "{{answer}}", 0.25, 5, "dev", ABOUT.format(subject)
    )


def _labelled(name: str, dataset: str, subset: str | None, split: str, text: str, chance: float) -> HubTask:
    """A task whose data holds ``choices: {label, text}`` and the label of the true one."""
    gold = "{{choices.label.index(answerKey.strip())}}"
    return HubTask(name, dataset, subset, split, text, "{{choices.text}}", gold, chance)


def tasks_by_group() -> dict[str, list[HubTask]]:
    """Every task under the group that it belongs to."""
    subjects = [subject for category in MMLU.values() for subject in category]
    return {
        "e2lm_mmlu_cloze": [
            _mmlu_like(f"e2lm_mmlu_cloze_{subject}", "cais/mmlu", subject, subject.replace("_", " "))
            for subject in sorted(subjects)
        ],
        "e2lm_noor": [
            _mmlu_like(f"e2lm_noor_{subject}", "mdahba/noor_final2", subject, subject.replace("_", " "))
            for subject in NOOR
        ],
        "e2lm_morai": [
            _mmlu_like("e2lm_morai_mmlu", "giovanivaldrighi/mmlu", None, "{{subject.replace('_', ' ')}}"),
        ],
        "e2lm_sciknoweval": [
            _mmlu_like(f"e2lm_sciknoweval_{domain.lower()}", "ShAIkespear/SciKnowEval_mcqa", domain, domain)
            for domain in SCIKNOWEVAL
        ],
        "e2lm_arc": [
            _labelled("e2lm_arc_easy", "allenai/ai2_arc", "ARC-Easy", "test", QUESTION, 0.25),
            _labelled("e2lm_arc_challenge", "allenai/ai2_arc", "ARC-Challenge", "test", QUESTION, 0.25),
        ],
        "e2lm_commonsense": [
            _labelled("e2lm_csqa", "tau/commonsense_qa", None, "validation", QUESTION, 0.2),
            HubTask(
                "e2lm_hellaswag", "Rowan/hellaswag", None, "validation", "{{query}}", "choices", "gold", 0.25,
                more={"process_docs": "!function e2lm_tasks.hub_cloze.hellaswag_docs"},
            ),
            _labelled("e2lm_openbookqa", "allenai/openbookqa", "main", "test", "{{question_stem}}", 0.25),
            HubTask(
                "e2lm_piqa", "baber/piqa", None, "validation", "Question: {{goal}}\nAnswer:", "{{[sol1, sol2]}}",
                "label", 0.5,
            ),
            HubTask(
                "e2lm_sciq", "allenai/sciq", None, "test", "{{support.lstrip()}}\n" + QUESTION,
                "{{[distractor1, distractor2, distractor3, correct_answer]}}", "3", 0.25,
            ),
        ],
    }  # fmt: skip


def files() -> dict[str, str]:
    """Name and text of every file of the folder but its README."""
    found = {TEMPLATE: TEMPLATE_TEXT}
    for group, tasks in tasks_by_group().items():
        found |= {f"{task.name}.yaml": task.yaml() for task in tasks}
        members = "".join(f"  - {task.name}\n" for task in tasks)
        means = "".join(
            f"  - {{metric: {metric}, aggregation: mean, weight_by_size: true}}\n"
            for metric in ("acc", "acc_norm", "gold_minus_mean_wrong", "margin")
        )
        found[f"{group}.yaml"] = (
            f"group: {group}\ntask:\n{members}aggregate_metric_list:\n{means}metadata:\n  version: {VERSION}\n"
        )
    return found


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file_name, content in files().items():
        (FOLDER / file_name).write_text(content, encoding="utf-8", newline="\n")
