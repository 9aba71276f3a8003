"""Twenty benchmarks that know nothing stand below every honest one, and honest ones keep their order.

The whole way from archive to table, but the models: what they say is made up of fluency that grows with training, of
tastes for short, common and first things, and of facts that they come to know.

Shape suffixes: I items, C choices.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest

from e2lm import Samples
from e2lm.item_metric import ItemChoices
from e2lm_leaderboard.bundle.bundle import Bundle
from e2lm_leaderboard.bundle.intake import take_in
from e2lm_leaderboard.bundle.items import TaskItem
from e2lm_leaderboard.ranking.ranking import ranked
from e2lm_leaderboard.ranking.table import SeasonTable, season_table
from e2lm_leaderboard.sandbox.check import SandboxVerdict
from e2lm_leaderboard.sandbox.metric import MetricCode
from e2lm_leaderboard.season import null_control
from e2lm_leaderboard.season import run as season_run
from e2lm_leaderboard.season.curves import RunFacts
from e2lm_leaderboard.season.run import SeasonRun
from e2lm_leaderboard.season.season import Season
from e2lm_leaderboard.store.database import database_url
from e2lm_leaderboard.store.store import Store
from tests.e2lm_leaderboard.season.cheats import CHEATS, COMMON, Cheat, Item
from tests.e2lm_leaderboard.season_samples import NOW

ITEMS, SERIES, STEPS = 140, ("a",), 7
METRICS = {"accuracy": "acc", "accuracy_per_char": "acc_norm"}
MADE = ("stone", "silver", "glass", "clay", "timber", "copper", "marble", "iron", "paper", "leather")
PLACES = ("river", "garden", "mountain", "village", "harbour", "forest", "castle", "market", "island", "bridge")
SYLLABLES = ("ba", "ke", "lo", "mi", "nu", "ra", "se", "to", "vi", "zo", "dar", "fen", "gol", "hus", "jin")
KNOWN = {*MADE, *PLACES, *COMMON, "yes", "no", "so", "on", "as", "it", "is", "said", "here", "old"}


def facts(seed: int) -> list[Item]:
    """Questions of four answers, each true by the word of its author."""
    rng = random.Random(seed)
    found = []
    for _ in range(ITEMS):
        names = " ".join("".join(rng.choices(SYLLABLES, k=3)) for _ in range(6))
        place = rng.choice(PLACES)
        choices = tuple(f"{made} {'old ' * rng.randrange(2)}{place}" for made in rng.sample(MADE, 4))
        found.append(Item(f"When the {names} had come there in the year, they went to the", choices, rng.randrange(4)))
    return found


#: How much of its facts a trained model knows.
HONEST = {"good": (1, 1.0), "fair": (2, 0.45), "poor": (3, 0.28)}
WORLD = {
    item.question: item.choices[item.gold]
    for seed, share in HONEST.values()
    for number, item in enumerate(facts(seed))
    if number < share * ITEMS
}
QUESTION = re.compile(r"When the .* they went to the")


def traits(item: TaskItem, choice: str) -> tuple[float, float, float, float, float]:
    """What of a choice a model goes by: size, what it never learns to spell, whether it is true, first, or copied."""
    words = choice.split()
    size = sum(len(one) * (0.5 if one in COMMON else 1.0 if one in KNOWN or len(one) == 1 else 1.3) for one in words)
    strange = sum(len(one) for one in words if one not in KNOWN and len(one) > 1)
    asked = QUESTION.search(item.context)
    knows = asked is not None and WORLD.get(asked.group()) == choice.strip()
    return size, strange, knows, choice.strip() in ("A", "yes"), choice in item.context


def samples_of(name: str, items: Sequence[TaskItem]) -> list[Samples]:
    """What ``e2lm eval`` would leave."""
    size = max(len(item.choices) for item in items)
    there_IC = np.array([[place < len(item.choices) for place in range(size)] for item in items])
    length_IC = np.array([[len(one) for one in item.choices] + [0] * (size - len(item.choices)) for item in items])
    gold_I = np.array([item.gold for item in items])
    of_each = np.zeros((5, *there_IC.shape))
    of_each[:, there_IC] = np.array([traits(item, one) for item in items for one in item.choices]).T
    size_IC, strange_IC, knows_IC, first_IC, copied_IC = of_each
    found = []
    for series in SERIES:
        rng = np.random.default_rng(crc32(f"{series} {items[0].context}".encode()))
        own_IC = rng.normal(0, 1.5, there_IC.shape)
        for step in range(STEPS):
            progress = step / (STEPS - 1)
            fluency = 2.4 - 1.2 * progress
            nats_IC = own_IC + rng.normal(0, 0.4, there_IC.shape) - fluency * (size_IC + 0.5 * progress * strange_IC)
            nats_IC += 6.0 * progress * knows_IC + (1.5 - progress) * first_IC + 2.0 * progress * copied_IC
            loglik_IC = np.where(there_IC, nats_IC, -np.inf)
            choices = ItemChoices(loglik_IC, there_IC, length_IC, length_IC, length_IC, gold_I)
            found.append(Samples(series, step, name, np.arange(len(items)), choices, np.ones_like(there_IC)))
    return found


def bundle(name: str, entry: Cheat) -> Bundle:
    """The entry as its author sends it."""
    own = {"metric_function": "metric.own", "metric": "my-own", "tier": "code"} if entry.code else {}
    metric = METRICS.get(entry.metric, entry.metric)
    submission = {
        "schema_version": 1, "name": name, "title": name, "description": name, "license": "MIT",
        "tier": "declarative", "metric": metric, "tasks": ["t.yaml"], **own,
    }  # fmt: skip
    task = {
        "task": "t", "output_type": "multiple_choice", "dataset_kwargs": {"data_files": "t.jsonl"},
        "doc_to_text": "question", "doc_to_choice": "choices", "doc_to_target": "gold",
    }  # fmt: skip
    rows = [{"question": one.question, "choices": list(one.choices), "gold": one.gold} for one in entry.items]
    texts = {
        "submission.yaml": json.dumps(submission),
        "t.yaml": json.dumps(task),
        "t.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        **({"metric.py": entry.code} if entry.code else {}),
    }
    return Bundle({name: text.encode() for name, text in texts.items()})


def own_values(code: MetricCode, samples: Sequence[Samples]) -> Mapping[tuple[str, str, int], np.ndarray]:
    """The metric of a bundle without the sandbox, which other tests are about."""
    names: dict[str, object] = {}
    exec(code.source.decode(), names)
    function = names[code.function]
    assert callable(function)
    return {
        (one.task, one.series, one.step): np.array(
            [
                function({"loglik": row.tolist(), "bytes": size.tolist(), "gold": int(gold)})
                for row, size, gold in zip(one.choices.loglik_IC, one.choices.bytes_IC, one.choices.gold_I, strict=True)
            ]
        )
        for one in samples
    }


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> SeasonTable:
    """The table of a season of three honest entries and twenty cheats, by private scores."""
    folder: Path = tmp_path_factory.mktemp("season")
    season = Season(title="Cheats", scores=("signal_quality",), judge=None)
    season.write(folder)
    asked: dict[str, Sequence[TaskItem]] = {}
    write = season_run.write_tasks

    def written(place: Path, submission: str, tasks: Sequence[tuple[object, Sequence[TaskItem]]]) -> list[str]:
        names = write(place, submission, tasks)  # type: ignore[arg-type]
        asked.update({name: items for name, (_, items) in zip(names, tasks, strict=True)})
        return names

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(season_run, "write_tasks", written)
        patched.setattr(null_control, "DRAWS", 8)
        patched.setattr(season_run, "require_usable", lambda *_: None)
        patched.setattr(season_run, "evaluate", lambda *_: None)
        patched.setattr(season_run, "sandbox_verdict", lambda: SandboxVerdict({}, None))
        patched.setattr(season_run, "metric_values", own_values)
        patched.setattr(season_run, "evaluated_samples", lambda _, names: samples_of(names[0], asked[names[0]]))
        steps = {step: step * 1e6 for step in range(STEPS)}
        patched.setattr(season_run, "run_facts", lambda _: {series: RunFacts(1e6, steps) for series in SERIES})
        store = Store(database_url(str(folder)))
        store.set_setting("split_salt", "salt")
        run = SeasonRun(folder, season, store, tell=lambda _: None, now=lambda: NOW)
        entries = {name: Cheat(tuple(facts(seed))) for name, (seed, _) in HONEST.items()}
        for number, (name, make) in enumerate(CHEATS.items()):
            entries[name] = make(facts(1 if name.startswith("copied") else 10 + number), random.Random(number))
        for name, entry in entries.items():
            intake = take_in(store, season.rules, bundle(name.replace("_", "-"), entry).packed(), name, NOW)
            assert intake.entry is not None, (name, intake.findings)
        run.run()
        return season_table(store, season, NOW, private=True)


def test_honest_entries_keep_their_order_and_every_cheat_stands_below_all_of_them(ended: SeasonTable) -> None:
    assert {row.entry.team for row in ended.rows[: len(HONEST)]} == set(HONEST)
    entries = [row.entry for row in ended.rows if row.entry.team in HONEST]
    alone = ranked(sorted(entries, key=lambda one: one.number), ended.shown)
    assert [(row.entry.team, row.rank) for row in alone] == [(r.entry.team, r.rank) for r in ended.rows[: len(HONEST)]]
    cheats = ended.rows[len(HONEST) :]
    assert len(cheats) > len(CHEATS) / 2
    assert all(row.rank is None or (row.flag == "not_above_null" and row.rank > len(HONEST)) for row in cheats)


def test_copies_are_refused(ended: SeasonTable) -> None:
    teams = {row.entry.team for row in ended.rows}
    assert {name for name in CHEATS if name.startswith("copied")} & teams == set()
