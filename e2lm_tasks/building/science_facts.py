"""The suite of plain facts of science, in five grades from what a child says to what a handbook says."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import numpy as np

from e2lm import UserError
from e2lm_tasks.building import suite_files
from e2lm_tasks.building.facts import ARITHMETIC, GRADES, arithmetic_items, read_relations, with_false_twins
from e2lm_tasks.building.item import CHOICES, Item
from e2lm_tasks.building.text_suite import Suite
from e2lm_tasks.trivial_baselines import Baseline, ItemRow, share_baseline, tied_accuracy

NAME = "e2lm_science_facts"
VERSION = 1
SEED = 0

GRADE_DESCRIPTIONS = {
    1: "what a child says: sounds, colours, opposites, the next day",
    2: "what a pupil says: kinds of animals and plants, materials, small sums",
    3: "what a school book says: units, organs, planets, changes of state",
    4: "what a later school book says: chemical symbols, formulas, laws, moons",
    5: "what a handbook says: atomic numbers, scientific names, stars, squares",
}
#: When a grade is expected to leave chance; a guess from what small models learn first, not a measurement.
EXPECTED_START = {
    1: "1e8 to 1e9 training tokens",
    2: "1e9 tokens",
    3: "3e9 tokens",
    4: "1e10 tokens",
    5: "3e10 tokens and 1e9 parameters",
}


def build_science_facts(seed: int = SEED) -> Suite:
    """The suite as files; the same seed gives the same bytes."""
    if seed < 0:
        raise UserError(f"--seed: found {seed}; allowed are whole numbers from 0 on")
    rows_by_grade: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for stream, (relation, grade, items, rng) in enumerate(_made(seed)):
        for row in _placed(items, rng):
            rows_by_grade[grade].append(
                {"id": f"{relation}-{stream}-{len(rows_by_grade[grade])}", "relation": relation} | row
            )
    files = {suite_files.TEMPLATE: suite_files.template_yaml()}
    cards: dict[str, Any] = {}
    for grade in GRADES:
        rows, name, data_name = rows_by_grade[grade], f"{NAME}_{grade}", f"grade_{grade}.jsonl"
        files[data_name] = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        chance = sum(1 / len(row["choices"]) for row in rows) / len(rows)
        metadata = {"version": VERSION, "chance": round(chance, 4), "items": len(rows), "grade": grade}
        files[f"{name}.yaml"] = suite_files.choice_yaml(name, data_name, " ", metadata)
        cards[name] = _card(grade, rows, chance, files[data_name])
    files[f"{NAME}.yaml"] = suite_files.group_yaml(NAME, list(cards), VERSION)
    card = {
        "name": NAME,
        "builder_version": VERSION,
        "seed": seed,
        "licence": "Apache-2.0 (facts collected and written for e2lm)",
        "tasks": cards,
        "files": sorted([*files, suite_files.CARD]),
    }
    files[suite_files.CARD] = json.dumps(card, indent=1, ensure_ascii=False) + "\n"
    return Suite(files, card)


def _made(seed: int) -> list[tuple[str, int, list[Item], np.random.Generator]]:
    """Relation, grade and items; one stream of random numbers per relation, so that a new one changes no other."""
    made = []
    for relation in read_relations():
        for side, template in enumerate(relation.templates):
            rng = np.random.default_rng([seed, side, *relation.relation.encode()])
            items = with_false_twins(list(relation.questions(template)), relation.choices, rng)
            made.append((relation.relation, relation.grade, items, rng))
    for kind in ARITHMETIC:
        rng = np.random.default_rng([seed, 0, *kind.relation.encode()])
        made.append((kind.relation, kind.grade, arithmetic_items(kind, CHOICES, rng), rng))
    return made


def _placed(items: Sequence[Item], rng: np.random.Generator) -> list[dict[str, Any]]:
    rows = []
    for index, place in zip(range(len(items)), rng.permutation(len(items)).tolist(), strict=True):
        item = items[index]
        gold = place % (len(item.wrong) + 1)
        choices = [*item.wrong[:gold], item.true, *item.wrong[gold:]]
        rows.append({"context": item.context, "choices": choices, "gold": gold})
    return rows


def _card(grade: int, rows: Sequence[dict[str, Any]], chance: float, data: str) -> dict[str, Any]:
    return {
        "description": f"Plain facts of science, grade {grade}: {GRADE_DESCRIPTIONS[grade]}.",
        "items": len(rows),
        "relations": dict(sorted(Counter(row["relation"] for row in rows).items())),
        "chance": round(chance, 4),
        "expected_start_of_signal": EXPECTED_START[grade],
        "answer_in_prompt": False,
        "baselines": fact_baselines(rows),
        "data_sha256": sha256(data.encode()).hexdigest(),
    }


def fact_baselines(rows: Sequence[ItemRow]) -> dict[str, Baseline]:
    """Accuracy, in 0..1, of rules that know the choices but no facts; ties share the point.

    ``answer_prior`` knows how often each choice is right where it is shown, this very item included, so it is an upper
    bound for whatever the choices give away.
    """
    shown: Counter[tuple[str, str]] = Counter()
    right: Counter[tuple[str, str]] = Counter()
    for row in rows:
        right[row["relation"], row["choices"][row["gold"]]] += 1
        shown.update((row["relation"], choice) for choice in row["choices"])

    def prior(row: ItemRow, place: int) -> float:
        key = row["relation"], row["choices"][place]
        return right[key] / shown[key]

    lengths = {"longest_choice": 1, "shortest_choice": -1}
    points = {
        name: [tied_accuracy([sign * float(len(choice)) for choice in row["choices"]], row["gold"]) for row in rows]
        for name, sign in lengths.items()
    }
    points["answer_prior"] = [
        tied_accuracy([prior(row, place) for place in range(len(row["choices"]))], row["gold"]) for row in rows
    ]
    places = Counter(int(row["gold"]) for row in rows)
    points["constant_choice"] = [float(row["gold"] == places.most_common(1)[0][0]) for row in rows]
    return {name: share_baseline(sum(values) / len(values), len(values)) for name, values in points.items()}
