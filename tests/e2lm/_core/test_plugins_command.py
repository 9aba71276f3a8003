"""``e2lm plugins list`` tells what became of every plugin, whatever state it is in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FIELDS = {"name", "distribution", "version", "hooks", "status", "error"}


def e2lm(*arguments: str, path: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """The real command in a process of its own."""
    variables = {**os.environ, **environment}
    if path is not None:
        variables["PYTHONPATH"] = str(path)
    return subprocess.run(
        [sys.executable, "-m", "e2lm", *arguments],
        check=False,
        capture_output=True,
        text=True,
        env=variables,
        timeout=120,
    )


@pytest.fixture
def neighbours(install) -> Path:
    """Two broken plugins: one at import, one when asked."""
    return install(
        "broken-neighbours",
        {"bad-import": "bad_import_module", "bad-hook": "bad_hook_module"},
        {
            "bad_import_module": "import a_module_that_nobody_has\n",
            "bad_hook_module": """
                from e2lm import hookimpl

                @hookimpl
                def e2lm_register_metrics():
                    raise ValueError("no luck")
            """,
        },
    )


def test_the_json_report_has_exactly_the_promised_fields_and_a_traceback_for_what_failed(neighbours: Path) -> None:
    done = e2lm("plugins", "list", "--json", path=neighbours)
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert set(report) == {"plugins", "conflicts", "remarks", "verbs"}
    assert all(set(plugin) == FIELDS for plugin in report["plugins"])
    by_name = {plugin["name"]: plugin for plugin in report["plugins"]}
    assert by_name["bad-import"]["status"] == by_name["bad-hook"]["status"] == "failed"
    assert by_name["bad-import"]["distribution"] == "broken-neighbours"
    assert by_name["bad-import"]["version"] == "1.0"
    assert "Traceback" in by_name["bad-import"]["error"]
    assert "ModuleNotFoundError" in by_name["bad-import"]["error"]
    assert by_name["bad-hook"]["error"].endswith("ValueError: no luck\n")
    ours = [plugin for plugin in report["plugins"] if plugin["distribution"] == "e2lm"]
    assert len(ours) >= 7
    assert {plugin["status"] for plugin in ours} == {"active"}
    assert {plugin["error"] for plugin in ours} == {None}
    assert "e2lm_register_signal_scores" in by_name["signal"]["hooks"]
    assert report["conflicts"] == []


def test_the_list_for_people_names_each_plugin_with_its_state_and_what_failed(neighbours: Path) -> None:
    done = e2lm("plugins", "list", path=neighbours)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert any(line.startswith("failed   bad-import  (broken-neighbours 1.0)") for line in lines)
    assert any(line.startswith("active   signal  (e2lm ") and "register_signal_scores" in line for line in lines)
    assert "ModuleNotFoundError" in done.stdout


def test_disabled_plugins_are_listed_as_disabled(neighbours: Path) -> None:
    done = e2lm("plugins", "list", "--json", path=neighbours, E2LM_PLUGINS="signal")
    status = {plugin["name"]: plugin["status"] for plugin in json.loads(done.stdout)["plugins"]}
    assert status.pop("signal") == "active"
    assert set(status.values()) == {"disabled"}
    assert "bad-import" in status


def test_two_plugins_that_claim_one_name_are_a_conflict_in_the_report(install) -> None:
    claim = """
        from e2lm import ScoreValue, SignalScore, hookimpl

        @hookimpl
        def e2lm_register_signal_scores():
            return [SignalScore("twice", "Claimed twice.", lambda curve, rng: ScoreValue(0.0))]
    """
    first = install("first", {"one": "first_module"}, {"first_module": claim})
    second = install("second", {"two": "second_module"}, {"second_module": claim})
    both = Path(f"{first}{os.pathsep}{second}")
    done = e2lm("plugins", "list", "--json", path=both)
    assert json.loads(done.stdout)["conflicts"] == [
        {"hook": "e2lm_register_signal_scores", "name": "twice", "distributions": ["first", "second"]}
    ]
    told = e2lm("plugins", "list", path=both)
    assert told.returncode == 0
    assert told.stderr == "conflict: e2lm_register_signal_scores: 'twice' is claimed by first and second\n"


def test_a_restriction_to_an_unknown_name_is_one_line_and_exit_2() -> None:
    done = e2lm("plugins", "list", E2LM_PLUGINS="sginal")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "E2LM_PLUGINS: no plugin named 'sginal' is installed. Did you mean 'signal'?" in done.stderr


def test_an_empty_restriction_leaves_the_list_working() -> None:
    done = e2lm("plugins", "list", "--json", E2LM_PLUGINS="")
    assert done.returncode == 0
    assert {plugin["status"] for plugin in json.loads(done.stdout)["plugins"]} == {"disabled"}
