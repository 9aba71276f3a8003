"""A verb is found by name, imported when it is called, and listed without that."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from e2lm import E2LMError, UserError, Verb, hookimpl
from e2lm._core import plugins_command
from e2lm.command_line import main
from e2lm.plugin_manager import PluginManager, PluginRecord


class Bringer:
    """A plugin object that brings verbs."""

    def __init__(self, *verbs: Verb) -> None:
        self.verbs = verbs

    @hookimpl
    def e2lm_register_verbs(self) -> list[Verb]:
        return list(self.verbs)


class Raiser:
    @hookimpl
    def e2lm_register_verbs(self) -> list[Verb]:
        raise RuntimeError("no luck")


def manager_with(*plugins: object) -> PluginManager:
    manager = PluginManager()
    for number, plugin in enumerate(plugins):
        manager.register(plugin, PluginRecord(f"plugin-{number}", f"distribution-{number}", "1"))
    return manager


@pytest.fixture
def total(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Verb:
    """A verb of a plugin whose module lies apart from its hooks."""
    source = 'def total(numbers, *, start=0.0):\n    """The sum."""\n    return sum(numbers, start)\n'
    (tmp_path / "totalling.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "totalling", raising=False)
    return Verb("total", "(numbers, *, start=0.0)", "The sum.", "totalling:total")


def test_a_verb_of_a_plugin_is_called_by_name_and_its_module_imported_only_then(total: Verb) -> None:
    manager = manager_with(Bringer(total))
    found = manager.verb("total")
    assert "totalling" not in sys.modules
    assert found([1.0, 2.0], start=0.5) == 3.5
    assert "totalling" in sys.modules


def test_an_unknown_verb_is_answered_by_the_nearest(total: Verb) -> None:
    with pytest.raises(UserError, match=r"unknown verb 'totla'. Did you mean 'total'\?"):
        manager_with(Bringer(total)).verb("totla")


def test_a_verb_claimed_by_two_plugins_names_both_distributions_and_the_others_work(total: Verb) -> None:
    other = Verb("total", "()", "Another.", "totalling:total")
    alone = Verb("alone", "(x, y)", "The hypotenuse.", "math:hypot")
    manager = manager_with(Bringer(total), Bringer(other, alone))
    with pytest.raises(UserError, match=r"'plugin-0' \(distribution-0 1\) and 'plugin-1' \(distribution-1 1\)"):
        manager.verb("total")
    assert manager.verb("alone")(3.0, 4.0) == 5.0
    conflict = {"hook": "e2lm_register_verbs", "name": "total", "distributions": ["distribution-0", "distribution-1"]}
    assert conflict in plugins_command.plugin_report(manager)["conflicts"]


def test_a_plugin_that_fails_in_the_hook_costs_itself(total: Verb) -> None:
    manager = manager_with(Raiser(), Bringer(total))
    with pytest.warns(UserWarning, match="'plugin-0'.*no luck"):
        assert manager.verb("total")([1.0]) == 1.0
    assert [one.status for one in manager.records] == ["failed", "active"]


def test_the_list_of_plugins_shows_the_verbs_without_importing_them(
    total: Verb, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manager = manager_with(Bringer(total))
    monkeypatch.setattr(plugins_command, "plugin_manager", lambda: manager)
    assert main(["plugins", "list"]) == 0
    assert "verb     total(numbers, *, start=0.0)  (plugin-0)  The sum.\n" in capsys.readouterr().out
    assert main(["plugins", "list", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["verbs"]
    assert (row["name"], row["signature"], row["distribution"]) == ("total", total.signature, "distribution-0")
    assert "totalling" not in sys.modules


@pytest.mark.parametrize(
    ("name", "signature", "target", "said"),
    [
        ("two-words", "()", "a:b", "it must be a name of Python"),
        ("lambda", "()", "a:b", "it must be a name of Python"),
        ("Total", "()", "a:b", "use lower-case letters"),
        ("hookimpl", "()", "a:b", "e2lm.hookimpl is there already"),
        ("scores", "()", "a:b", "e2lm.scores is there already"),
        ("total", "()", "a.b", "is not of the form 'module:function'"),
        ("total", "numbers", "a:b", "'numbers' is no signature"),
        ("total", "(): pass\ndef more()", "a:b", "is no signature"),
        ("total", "(a, a)", "a:b", "is no signature"),
    ],
)
def test_a_verb_that_could_not_be_called_is_refused_when_it_is_made(
    name: str, signature: str, target: str, said: str
) -> None:
    with pytest.raises(E2LMError, match=said):
        Verb(name, signature, "Something.", target)


def test_a_target_that_cannot_be_imported_names_the_verb(total: Verb) -> None:
    for target, said in (
        ("a_module_that_nobody_has:f", "cannot be imported: No module named 'a_module_that_nobody_has'"),
        ("totalling:totals", "the module totalling has no 'totals'"),
    ):
        with pytest.raises(E2LMError, match=f"^verb 'total': .*{said}"):
            Verb("total", "()", "Something.", target)()
