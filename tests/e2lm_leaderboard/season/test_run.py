"""From the queue to the table: refusals with reasons, numbers from the organiser's models, a run that was killed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2lm.errors import E2LMError
from e2lm.run_record import LeftOut, RunRecord
from e2lm_leaderboard.bundle.bundle import Bundle
from e2lm_leaderboard.bundle.intake import take_in
from e2lm_leaderboard.cli.demo import demo_submissions
from e2lm_leaderboard.cli.entrant import SUBMISSION_YAML, TASK_YAML, sample_files
from e2lm_leaderboard.ranking.table import season_table
from e2lm_leaderboard.season.run import SeasonRun
from e2lm_leaderboard.season.season import Season
from e2lm_leaderboard.store.database import database_url
from e2lm_leaderboard.store.store import Store
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


def test_an_evaluation_that_left_something_out_is_no_ground_for_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from e2lm_leaderboard.season import run as season_run

    season = Season.from_data({"title": "Test", "series": ["runs/a"]}, "test")
    out = tmp_path / "out"
    record = RunRecord(command="eval", config={}, versions={}, finished=True)
    monkeypatch.setattr(season_run, "run_command", lambda words: 0)
    record.write(out)
    season_run.evaluate(season, ["t"], tmp_path, out)
    spoilt = LeftOut(what="a step 20, t", why="the model gives a log-likelihood of nan", file="runs/a/checkpoint-20")
    record.model_copy(update={"left_out": (spoilt,)}).write(out)
    with pytest.raises(E2LMError, match=r"could not use everything: left out: a step 20, t: .*nan"):
        season_run.evaluate(season, ["t"], tmp_path, out)


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
    assert set(private) == {*run.season.all_scores, "alignment"}
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
    from e2lm_leaderboard.season import run as season_run

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


def test_a_copy_of_another_teams_items_is_refused(season_of: Make) -> None:
    run = season_of()
    sent(run, {})
    copy = sent(run, {"README": b"mine now"}, "blues")
    run.store.move(run.store.entries()[0].id, State.CHECKING, NOW)
    run.store.move(run.store.entries()[0].id, State.RUNNING, NOW)
    run.store.record(run.store.entries()[0].id, [], {}, NOW)
    assert run.run() == 1
    assert "100% of the items stand in counting-in-words of reds" in run.store.entry(copy).reason


def test_code_is_refused_where_the_sandbox_fails_its_self_test(
    season_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from e2lm_leaderboard.sandbox.check import SandboxVerdict
    from e2lm_leaderboard.season import run as season_run

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
    from e2lm_leaderboard.bundle.check import check_archive
    from e2lm_leaderboard.season.season import SeasonRules

    for name in ("shuffled.jsonl", "cloze.jsonl"):
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
