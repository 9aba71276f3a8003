"""From the queue to the table: refusals with reasons, numbers from the organiser's models, a run that was killed."""

from __future__ import annotations

import json
import re
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import numpy as np
import psutil
import pytest

from e2lm.errors import E2LMError, UserError
from e2lm.run_record import LeftOut, RunRecord
from e2lm_leaderboard.bundle.bundle import Bundle
from e2lm_leaderboard.bundle.check import check_archive
from e2lm_leaderboard.bundle.intake import take_in
from e2lm_leaderboard.bundle.items import TaskItem
from e2lm_leaderboard.cli.demo import demo_submissions
from e2lm_leaderboard.cli.entrant import SUBMISSION_YAML, TASK_YAML, sample_files, sample_items
from e2lm_leaderboard.ranking.table import NULL_CONTROL, season_table
from e2lm_leaderboard.season import evaluation
from e2lm_leaderboard.season import run as season_run
from e2lm_leaderboard.season.evaluation import Ending, OrganiserError, evaluate, run_watched
from e2lm_leaderboard.season.lease import is_gone
from e2lm_leaderboard.season.run import SeasonRun
from e2lm_leaderboard.season.season import Season
from e2lm_leaderboard.store.database import database_url
from e2lm_leaderboard.store.store import Entry, Incoming, LeaseLostError, LimitReachedError, Store
from e2lm_leaderboard.store.tables import State
from tests.e2lm_leaderboard.season_samples import NOW

SAMPLE = {name: text.encode() for name, text in sample_files().items()}

Make = Callable[..., SeasonRun]


@pytest.fixture
def season_of(tmp_path: Path, tiny_series: Path) -> Iterator[Make]:
    """A season over the tiny run."""
    stores = []

    def make(**changes: object) -> SeasonRun:
        season = Season.from_data({"title": "Test", "series": [str(tiny_series)], **changes}, "test")
        season.write(tmp_path)
        store = Store(database_url(str(tmp_path)))
        store.set_setting("split_salt", "salt")
        stores.append(store)
        return SeasonRun(tmp_path, season, store, tell=lambda _: None, now=lambda: NOW)

    yield make
    for store in stores:
        store.close()


def sent(run: SeasonRun, changes: dict[str, bytes], team: str = "reds") -> str:
    intake = take_in(run.store, run.season.rules, Bundle({**SAMPLE, **changes}).packed(), team, NOW)
    assert intake.entry is not None, intake.findings
    return intake.entry.id


def ended(monkeypatch: pytest.MonkeyPatch, *endings: Ending) -> None:
    """Let the next evaluations end so, without any model."""
    left = list(endings)
    monkeypatch.setattr(evaluation, "run_watched", lambda command, out, season: left.pop(0))


def test_an_evaluation_that_left_something_out_is_no_ground_for_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    season = Season.from_data({"title": "Test", "series": ["runs/a"]}, "test")
    out = tmp_path / "out"
    record = RunRecord(command="eval", config={}, versions={}, finished=True)
    ended(monkeypatch, *(Ending(0, "", ""),) * 2)
    monkeypatch.setattr(evaluation, "_own_fault", lambda season: None)
    record.write(out)
    evaluate(season, ["t"], tmp_path, out)
    spoilt = LeftOut(what="a step 20, t", why="the model gives a log-likelihood of nan", file="runs/a/checkpoint-20")
    record.model_copy(update={"left_out": (spoilt,)}).write(out)
    with pytest.raises(E2LMError, match=r"could not use everything: left out: a step 20, t: .*nan"):
        evaluate(season, ["t"], tmp_path, out)


def test_whose_fault_it_is_is_measured_by_questions_of_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    season = Season.from_data({"title": "Test", "series": ["runs/a"]}, "test")
    failed, too_long = Ending(2, "no such model", ""), Ending(2, "a continuation of 1460 tokens", "")
    ended(monkeypatch, failed, failed)
    with pytest.raises(OrganiserError, match=r"whatever is asked: .*no such model"):
        evaluate(season, ["t"], tmp_path, tmp_path / "out")
    ended(monkeypatch, too_long)
    monkeypatch.setattr(evaluation, "_own_fault", lambda season: None)
    with pytest.raises(E2LMError, match="1460 tokens") as caught:
        evaluate(season, ["t"], tmp_path, tmp_path / "out")
    assert not isinstance(caught.value, OrganiserError)
    ended(monkeypatch, Ending(3, "disk full", ""))
    with pytest.raises(OrganiserError, match="disk full"):
        evaluate(season, ["t"], tmp_path, tmp_path / "out")
    ended(monkeypatch, Ending(-9, "", "its evaluation took more than 1 s"))
    with pytest.raises(E2LMError, match="more than 1 s"):
        evaluate(season, ["t"], tmp_path, tmp_path / "out")


def test_an_evaluation_is_ended_with_all_it_started_at_its_limit(tmp_path: Path) -> None:
    season = Season.from_data({"title": "Test", "entry_wall_s": 5.0}, "test")
    code = "import subprocess, sys; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); p.wait()"
    done = run_watched([sys.executable, "-c", code], tmp_path / "out", season)
    assert "more than 5 s" in done.limit
    child = int(done.told)
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
    large = season.model_copy(update={"entry_wall_s": 60.0, "entry_memory_bytes": 50 << 20})
    code = "x = b'1' * (200 << 20)\nimport time; time.sleep(60)"
    assert "bytes of memory" in run_watched([sys.executable, "-c", code], tmp_path / "out", large).limit


def test_one_entrys_fault_refuses_it_and_the_next_has_its_turn(
    season_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = season_of()
    keys = [sent(run, {"README": name.encode()}, name) for name in ("reds", "blues", "whites")]
    faults = iter((E2LMError("too long for the models"), ValueError("half of a pair"), OrganiserError("no disk")))

    def failing(*_: object) -> None:
        raise next(faults)

    monkeypatch.setattr(season_run, "evaluate", failing)
    monkeypatch.setattr(SeasonRun, "_similarity", lambda self, entry, items: ("", []))
    with pytest.raises(OrganiserError, match=rf"counting-in-words \({keys[2][:12]}\) of whites waits: no disk"):
        run.run()
    states = [(entry.state, entry.reason) for entry in run.store.entries()]
    assert states[0] == (State.REFUSED, "it could not be evaluated: too long for the models")
    assert states[1] == (State.REFUSED, "it could not be scored: ValueError: half of a pair")
    assert states[2][0] == State.RUNNING
    assert run.store.claim("me", NOW, 60, is_gone) is not None, "the lease was given back"


def test_two_runs_share_the_queue_and_each_entry_is_taken_once(
    season_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = season_of()
    keys = [sent(run, {"README": str(k).encode()}, f"team-{k}") for k in range(12)]
    seen: list[str] = []

    def noted(self: SeasonRun, entry: Entry, worker: str) -> str:
        seen.append(entry.id)
        for state in (State.CHECKING, State.RUNNING):
            self.store.move(entry.id, state, NOW, worker=worker)
        self.store.record(entry.id, [], {}, NOW, worker)
        return "scored"

    monkeypatch.setattr(SeasonRun, "_taken_through", noted)
    with ThreadPoolExecutor(3) as pool:
        counts = list(pool.map(lambda _: run.run(), range(3)))
    assert sum(counts) == 12
    assert sorted(seen) == sorted(keys)
    assert run.store.verify() == []


def test_what_a_dead_worker_had_is_free_and_what_it_still_says_is_not_taken(season_of: Make) -> None:
    run = season_of()
    key = sent(run, {})
    dead = f"{socket.gethostname()[:60]}:{2**22 + 1}:0:abcd"
    for worker, gone in (("elsewhere:1:0:ab", False), (dead, True)):
        claimed = run.store.claim(worker, NOW, 60, is_gone)
        assert claimed is not None
        again = run.store.claim("me", NOW, 60, is_gone)
        assert (again is not None) == gone
        run.store.renew(key, "me" if gone else worker, NOW, 0)
    late = run.store.claim("slow", NOW, 60, is_gone)
    assert late is not None
    assert run.store.claim("me", NOW + timedelta(seconds=61), 60, is_gone) is not None
    with pytest.raises(LeaseLostError, match="me has taken it over"):
        run.store.move(key, State.CHECKING, NOW, worker="slow")
    assert not run.store.renew(key, "slow", NOW, 60)


def test_a_mistake_in_the_season_is_told_before_anything_is_run(season_of: Make) -> None:
    for changes, named in (
        (
            {"ranking_score": "signal_qality"},
            "field 'ranking_score': no plugin has a score 'signal_qality'. Did you mean",
        ),
        ({"series": ["/nowhere/runs"]}, "field 'series': /nowhere/runs: is not there"),
        ({"judge": "sience-words"}, "field 'judge'"),
        ({"rules": {"min_items": 9, "max_items": 8}}, "min_items 9 is more than max_items 8"),
        ({"rules": {"languages": []}}, "field 'rules.languages': is empty"),
        ({"corpora": ["/nowhere.txt"]}, "field 'corpora': /nowhere.txt: no such file"),
    ):
        run = season_of(**changes)
        with pytest.raises(UserError, match=re.escape(named)):
            run.run()


@pytest.mark.slow
def test_a_submission_is_scored_from_the_organisers_models(season_of: Make) -> None:
    run = season_of()
    key = sent(run, {})
    assert run.run() == 1
    entry = run.store.entry(key)
    assert entry.state == State.SCORED
    table = season_table(run.store, run.season, NOW)
    assert [row.entry.id for row in table.rows] == [key]
    assert table.rows[0].result.low is not None
    private = {result.score: result for _, result in run.store.results("private", key) if not result.series}
    assert set(private) == {*run.season.all_scores, *NULL_CONTROL, "alignment"}
    assert all(one.value is not None or one.reason for one in private.values())
    details = run.store.details(key)
    (task,) = details["tasks"]
    assert task["items"] == 160
    assert 20 < task["public"] < 80
    assert details["curves"][0]["steps"] == [0, 10, 20, 30]
    assert len(details["samples"]) == 5
    assert run.store.verify() == []
    assert run.run() == 0


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_and_gives_the_same_numbers(
    season_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = season_of()
    key = sent(run, {})

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(season_run, "submission_results", killed)
        with pytest.raises(KeyboardInterrupt):
            run.run()
    assert run.store.entry(key).state == State.RUNNING
    assert run.run() == 1
    first = run.store.results("private", key)
    again = season_of()
    again.store.move(key, State.CHECKING, NOW)
    assert again.run() == 1
    assert again.store.results("private", key) == first


@pytest.mark.slow
def test_a_metric_of_the_bundle_is_computed_in_the_sandbox_and_scored(season_of: Make) -> None:
    from e2lm_leaderboard.sandbox.check import sandbox_verdict

    if (reason := sandbox_verdict().reason) is not None:
        pytest.skip(f"no sandbox on this machine: {reason}")
    run = season_of()
    code = b"def gold(item):\n    return item['loglik'][item['gold']]\n"
    own = SUBMISSION_YAML.replace("declarative", "code")
    changed = {
        name: own.replace("metric: acc_norm", f"metric: {name}\nmetric_function: metric.gold").encode()
        for name in ("my-gold", "acc")
    }
    key = sent(run, {"submission.yaml": changed["my-gold"], "metric.py": code})
    taken = sent(run, {"submission.yaml": changed["acc"], "metric.py": code})
    assert run.run() == 2
    assert run.store.entry(key).state == State.SCORED, run.store.entry(key).reason
    details = run.store.details(key)
    assert details["curves"][0]["metric"] == "my-gold"
    assert max(details["curves"][0]["values"]) < 0
    assert details["environment"]["sandbox"] == "bubblewrap"
    assert "metric 'acc' is an installed one" in run.store.entry(taken).reason


def test_what_breaks_a_rule_is_refused_with_the_reason(season_of: Make) -> None:
    run = season_of()
    shell = TASK_YAML.replace(": choices", ": '{{ cycler.__init__ }}'")
    hostile = sent(run, {"counting.yaml": shell.encode()})
    short = sent(run, {"counting.jsonl": b"\n".join(SAMPLE["counting.jsonl"].splitlines()[:50])})
    assert run.run() == 2
    assert run.store.entry(hostile).state == run.store.entry(short).state == State.REFUSED
    assert "'__init__' is not allowed" in run.store.entry(hostile).reason
    assert "found 50 items" in run.store.entry(short).reason


def stories(seed: int, place: str, count: int = 160) -> list[dict[str, object]]:
    rows = [json.loads(line) for line in sample_items(np.random.default_rng(seed)).splitlines()[:count]]
    return [{**row, "story": f"{place} {k}, {row['story']}"} for k, row in enumerate(rows)]


def jsonl(rows: Sequence[dict[str, object]]) -> bytes:
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()


def filled(row: dict[str, object]) -> dict[str, object]:
    """The same with a filler after every six words."""
    words = str(row["story"]).split()
    return {**row, "story": " ".join(word + " well" * (k % 6 == 5) for k, word in enumerate(words))}


def test_a_copy_is_refused_the_organiser_told_all_and_the_entrant_nothing(
    season_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = season_of()
    monkeypatch.setattr(
        SeasonRun, "_score", lambda self, entry, worker, *rest: self.store.record(entry.id, [], {}, NOW)
    )
    victim, other = stories(1, "On day"), stories(2, "Beside the long blue river in spring of year")
    other = [
        {**row, "story": str(row["story"]).replace("in the morning", "at first").replace("noon", "dusk")}
        for row in other
    ]
    bundles = {
        "victims": {"counting.jsonl": jsonl(victim)},
        "strangers": {"counting.jsonl": jsonl(other)},
        "fillers": {"counting.jsonl": jsonl([filled(row) for row in victim])},
        "oracles": {"counting.jsonl": jsonl(victim[:40] + stories(3, "Far in the cold north on evening", 80))},
        "victims again": {"counting.jsonl": jsonl(victim[:150])},
    }
    keys = {team: sent(run, changes, team.partition(" ")[0]) for team, changes in bundles.items()}
    assert run.run() == 5
    states = {team: run.store.entry(key).state for team, key in keys.items()}
    assert states == dict.fromkeys(bundles, "scored") | {"fillers": "refused", "oracles": "refused"}
    reasons = {run.store.entry(keys[team]).reason for team in ("fillers", "oracles")}
    assert len(reasons) == 1, "neither how much nor of whom"
    assert "victims" not in reasons.pop()
    assert f"of its items stand in counting-in-words ({keys['victims'][:12]}) of victims" in run.store.notes(
        keys["oracles"]
    )
    assert run.store.notes(keys["strangers"]) == ""
    with pytest.raises(LimitReachedError):
        run.store.submit(Incoming("f" * 64, b"", "n", "t", "fillers"), 1, NOW)
    run.store.note(keys["fillers"], f"{season_run.ACCEPTED} by the organiser", NOW)
    run.store.move(keys["fillers"], State.QUEUED, NOW)
    assert run.run() == 1
    assert run.store.entry(keys["fillers"]).state == State.SCORED
    assert run.store.verify() == []


def test_an_earlier_entry_that_nobody_has_looked_at_yet_is_known_too(season_of: Make) -> None:
    run = season_of()
    sent(run, {"counting.jsonl": jsonl(stories(1, "On day"))}, "victims")
    copy = run.store.entry(sent(run, {"counting.jsonl": jsonl(stories(1, "On day")[:150])}, "thieves"))
    report = check_archive(run.store.archive(copy.id), run.season.rules)
    items = [task.items or () for task in report.tasks]
    assert [one.check for one in run._similarity(copy, items)[1]] == ["similarity"]
    assert run.store.without_fingerprints(9) == []


def test_items_that_code_made_are_known_too(season_of: Make) -> None:
    run = season_of()
    items = [
        TaskItem(f"The {k}th day of the old harbour was long and grey", ("calm", "stormy"), 0, k) for k in range(9)
    ]
    first, second = (run.store.submit(Incoming(key * 64, b"", "n", "t", key), 9, NOW)[0] for key in "ab")
    run.store.keep_fingerprints(first.id, [])
    assert run._similarity(first, [items])[1] == []
    assert [one.check for one in run._similarity(second, [items[:5]])[1]] == ["similarity"]


def test_code_is_refused_where_the_sandbox_fails_its_self_test(
    season_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from e2lm_leaderboard.sandbox.check import SandboxVerdict

    monkeypatch.setattr(season_run, "sandbox_verdict", lambda: SandboxVerdict({}, "bwrap is not installed"))
    run = season_of()
    task = TASK_YAML.replace(": choices", ": !function code.choices").encode()
    code = b"def choices(doc):\n    return doc['choices']\n"
    submission = SUBMISSION_YAML.replace("declarative", "code").encode()
    key = sent(run, {"counting.yaml": task, "code.py": code, "submission.yaml": submission})
    run.run()
    assert run.store.entry(key).state == State.REFUSED
    assert "bwrap is not installed" in run.store.entry(key).reason


def test_a_metric_that_is_not_installed_is_told(season_of: Make) -> None:
    run = season_of()
    key = sent(run, {"submission.yaml": SUBMISSION_YAML.replace("acc_norm", "nonsense").encode()})
    run.run()
    assert "metric 'nonsense' is not installed" in run.store.entry(key).reason


def test_the_five_of_the_demo_pass_the_door_and_two_fail_the_check(tmp_path: Path) -> None:
    from e2lm_leaderboard.season.season import SeasonRules

    for name in ("shuffled.jsonl", "cloze.jsonl", "swapped.jsonl"):
        rows = [
            {"context": f"It was the {k}th of the days in which they went to the sea and",
             "choices": [f"the {word} of it {k}" for word in ("end", "start", "half", "rest")], "gold": k % 4}
            for k in range(120)
        ]  # fmt: skip
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    verdicts = {
        one.team: check_archive(one.bundle.packed(), SeasonRules()).accepted for one in demo_submissions(tmp_path)
    }
    assert verdicts == {"astra": True, "borealis": True, "cygnus": True, "draco": True, "eridanus": False}
