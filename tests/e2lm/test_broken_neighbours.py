"""Plugins that print, hang, mutate or raise in use: the others still work, and the list says what happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from e2lm import Command, Curve, ScoreValue, SignalScore, UserError, hookimpl
from e2lm._core import plugin_watch
from e2lm._core.plugins_command import plugin_report
from e2lm.command_line import PluginFailureError, failed_plugin, main
from e2lm.item_metric import ItemChoices
from e2lm.plugin_manager import PluginManager, PluginRecord, found_plugins
from e2lm.scaling_predictor import LossTable

GOOD = """
from e2lm import Command, hookimpl

@hookimpl
def e2lm_register_commands():
    return [Command("fine", "Does nothing.", lambda parser: None, lambda arguments: print("fine") or 0)]
"""

PRINTS = """
import os, sys
from e2lm import hookimpl

print("at import")
kept = sys.stdout
os.system("echo from a child process")

@hookimpl
def e2lm_register_commands():
    print("in a hook", file=kept)
    return []
"""

HANGS = "import time\nwhile True:\n    time.sleep(0.05)\n"


def e2lm(*arguments: str, site: Path, code: str = "", **environment: str) -> subprocess.Popen[str]:
    """The command in a process of its own, after ``code``."""
    program = f"{code}\nimport sys\nfrom e2lm.command_line import main\nsys.exit(main({list(arguments)!r}))"
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(site), **environment},
    )


def test_what_a_plugin_prints_never_reaches_standard_output(install) -> None:
    site = install("loud", {"loud": "loud_module"}, {"loud_module": PRINTS})
    out, err = e2lm("plugins", "list", "--json", site=site).communicate(timeout=120)
    report = json.loads(out)
    assert "at import" in err
    assert "from a child process" in err
    assert "in a hook" in err
    assert {plugin["status"] for plugin in report["plugins"]} == {"active"}
    (first, second) = report["remarks"]
    assert first == {
        "plugin": "loud",
        "distribution": "loud",
        "remark": "import: it printed to standard output, which was sent to standard error",
    }
    assert second["remark"].startswith("e2lm_register_commands: it printed")


def test_the_list_for_people_shows_the_remark_below_its_plugin(install, capfd) -> None:
    install("loud", {"loud": "loud_module"}, {"loud_module": "print('hello')\n"})
    manager = PluginManager()
    manager.load_installed("loud")
    assert manager.records[-1].remarks == ["import: it printed to standard output, which was sent to standard error"]
    assert plugin_report(manager)["remarks"][0]["plugin"] == "loud"
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "hello\n")


def test_a_plugin_that_replaces_standard_output_does_not_keep_it(install, capfd) -> None:
    source = "import io, sys\nsys.stdout = io.StringIO()\n"
    install("thief", {"thief": "thief_module"}, {"thief_module": source})
    before = sys.stdout
    PluginManager().load_installed("thief")
    assert sys.stdout is before
    print("seen")
    assert capfd.readouterr().out == "seen\n"


def test_a_hook_that_hangs_is_named_with_the_way_around_it_and_the_others_go_on(install, capfd, monkeypatch) -> None:
    monkeypatch.setattr(plugin_watch, "PATIENCE_S", 0.1)
    slow = "import time\n" + GOOD.replace("    return", "    time.sleep(0.5)\n    return").replace('"fine"', '"slow"')
    install("slow", {"slow": "slow_module"}, {"slow_module": slow})
    install("zz-good", {"good": "good_module"}, {"good_module": GOOD})
    manager = PluginManager()
    manager.load_installed("slow,good")
    assert set(manager.registered("e2lm_register_commands", Command)) == {"slow", "fine"}
    said = capfd.readouterr().err.splitlines()
    assert said[0].startswith("e2lm: plugin 'slow' (slow 1.0) has been busy for 0 s (e2lm_register_commands)")
    assert said[0].endswith("go on without it: E2LM_PLUGINS=good")
    assert 2 <= len(said) <= 3  # after one patience, after two, perhaps after four: never a flood
    (slow_record,) = [record for record in manager.records if record.name == "slow"]
    (remark,) = slow_record.remarks
    assert remark.startswith("e2lm_register_commands: it took ")


def test_an_import_that_never_ends_can_be_interrupted_and_left_out(install) -> None:
    site = install("stuck", {"stuck": "stuck_module"}, {"stuck_module": HANGS})
    # Whoever runs the tests in the background may have had Ctrl-C ignored.
    heard = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    impatient = "from e2lm._core import plugin_watch\nplugin_watch.PATIENCE_S = 0.2"
    running = e2lm("plugins", "list", site=site, code=heard + impatient)
    assert running.stderr is not None
    said = running.stderr.readline()
    assert "plugin 'stuck' (stuck 1.0) has been busy for" in said
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=60)
    assert running.returncode == 130
    without = said.rpartition("E2LM_PLUGINS=")[2].strip()
    ours = [record.name for record in found_plugins() if record.distribution == "e2lm"]
    assert set(without.split(",")) >= set(ours)
    out, _ = e2lm("plugins", "list", "--json", site=site, E2LM_PLUGINS=without).communicate(timeout=120)
    status = {plugin["name"]: plugin["status"] for plugin in json.loads(out)["plugins"]}
    assert status.pop("stuck") == "disabled"
    assert set(status.values()) == {"active"}


def test_a_missing_dependency_is_said_with_what_to_do(install) -> None:
    install("needy", {"needy": "needy_module"}, {"needy_module": "import a_library_that_nobody_has\n"})
    manager = PluginManager()
    manager.load_installed("needy")
    error = next(record.error for record in manager.records if record.name == "needy")
    assert error == (
        "ModuleNotFoundError: No module named 'a_library_that_nobody_has'; needy needs it: pip install it, or "
        "uninstall needy"
    )


def test_a_command_that_raises_is_blamed_on_its_plugin_with_the_traceback(install) -> None:
    raising = GOOD.replace("print", "undefined_name")
    site = install("raising", {"raising": "raising_module"}, {"raising_module": raising})
    process = e2lm("fine", site=site)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (1, "")
    assert "Traceback" in err
    assert err.splitlines()[-1] == (
        "e2lm: error: plugin 'raising' (raising 1.0) raised NameError: name 'undefined_name' is not defined; this is a "
        "fault of the plugin: tell its authors, or go without it"
    )


def test_a_one_file_plugin_whose_hook_raises_is_one_line_of_a_command(tmp_path: Path) -> None:
    file = tmp_path / "raises.py"
    file.write_text(
        "from e2lm import hookimpl\n\n\n@hookimpl\ndef e2lm_register_commands():\n    return 1 / 0\n", encoding="utf-8"
    )
    process = e2lm("--plugin", str(file), "--help", site=tmp_path)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, "eval" in out) == (0, True)
    assert err.startswith("e2lm: warning: plugin 'raises' ")
    assert err.count("\n") == 1
    assert "division by zero" in err


@pytest.mark.parametrize("is_relative", [False, True])
def test_a_one_file_plugin_is_blamed_too_and_our_own_errors_are_raised_as_they_are(
    is_relative: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "raising.py"
    file.write_text(GOOD.replace("print", "undefined_name"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    manager = PluginManager()
    manager.load_file(Path(file.name) if is_relative else file)
    found = manager.find("e2lm_register_commands", Command, "fine", "command")
    with pytest.raises(NameError) as caught:
        found.run(None)
    record = failed_plugin(caught.value, manager.records)
    assert record is manager.records[0]
    assert "'raising'" in str(PluginFailureError(record, NameError("x")))
    assert failed_plugin(ValueError("of nobody"), manager.records) is None


def test_a_users_mistake_that_a_plugin_reports_stays_one_line(install, capsys) -> None:
    site = install("strict", {"strict": "strict_module"}, {"strict_module": GOOD.replace("print", "refuse")})
    (site / "strict_module.py").write_text(
        "from e2lm import UserError\ndef refuse(word):\n    raise UserError('no')\n" + GOOD.replace("print", "refuse"),
        encoding="utf-8",
    )
    process = e2lm("fine", site=site)
    assert process.communicate(timeout=120) == ("", "e2lm: error: no\n")
    assert process.returncode == 2


def curve() -> Curve:
    two = np.zeros(2)
    return Curve(
        "run", "task", "acc", np.arange(2), two, two.copy(), two.copy(), np.ones(2, int), items_KI=np.ones((2, 3))
    )


@pytest.mark.parametrize("field", ["steps_K", "tokens_K", "values_K", "stderr_K", "n_items_K", "items_KI"])
def test_a_score_cannot_write_into_the_curve_that_the_next_score_sees(field: str) -> None:
    with pytest.raises(ValueError, match="read-only"):
        getattr(curve(), field)[0] = 7


def test_a_predictor_and_a_metric_cannot_write_into_their_input_either() -> None:
    mine = np.ones(2)
    table = LossTable(mine, np.ones(2), np.ones(2), ("a", "b"))
    with pytest.raises(ValueError, match="read-only"):
        table.params_R += 1
    mine[0] = 2.0  # its owner may
    assert table.params_R[0] == 2.0
    grid = np.ones((1, 2), dtype=np.int64)
    choices = ItemChoices(-np.ones((1, 2)), grid > 0, grid, grid, grid, np.zeros(1, np.int64))
    with pytest.raises(ValueError, match="read-only"):
        choices.loglik_IC.sort()


def test_registered_objects_cannot_be_changed() -> None:
    score = SignalScore("gain", "Gain.", lambda curve, rng: ScoreValue(0.0))
    with pytest.raises(AttributeError):
        score.name = "other"  # type: ignore[misc]


def test_clearing_what_the_manager_gives_out_clears_nothing_in_it() -> None:
    class Bringer:
        @hookimpl
        def e2lm_register_commands(self):
            return [Command("kept", "Stays.", lambda parser: None, lambda arguments: 0)]

    manager = PluginManager()
    manager.register(Bringer(), PluginRecord("bringer", "bringer", "1"))
    given = manager.registered("e2lm_register_commands", Command)
    given["kept"].clear()
    given.clear()
    assert manager.find("e2lm_register_commands", Command, "kept", "command").name == "kept"


def test_a_listener_that_changes_what_it_hears_changes_only_its_copy(capfd) -> None:
    heard = []

    class Vandal:
        @hookimpl
        def e2lm_before_series_scored(self, tasks):
            print("clearing")
            tasks.clear()

    class Listener:
        @hookimpl
        def e2lm_before_series_scored(self, tasks):
            heard.append(list(tasks))

    manager = PluginManager()
    manager.register(Vandal(), PluginRecord("vandal", "vandal", "1"))
    manager.register(Listener(), PluginRecord("listener", "listener", "1"))
    tasks = ["arc"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        manager.notify("e2lm_before_series_scored", series="s", tasks=tasks)
    assert (tasks, heard) == (["arc"], [["arc"]])
    assert capfd.readouterr().out == ""


def test_a_mistake_in_the_restriction_is_still_one_line(monkeypatch, capsys) -> None:
    monkeypatch.setattr(
        "e2lm.command_line.plugin_manager", lambda: (_ for _ in ()).throw(UserError("E2LM_PLUGINS: no plugin named"))
    )
    assert main(["plugins", "list"]) == 2
    assert capsys.readouterr().err == "e2lm: error: E2LM_PLUGINS: no plugin named\n"
