"""One broken plugin costs itself and nothing else, and says what is wrong with it."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from e2lm import Command, UserError, hookspecs
from e2lm._core.plugins_command import plugin_report
from e2lm.plugin_manager import PluginManager, PluginRecord, found_plugins

GOOD = """
from e2lm import Command, hookimpl

@hookimpl
def e2lm_register_commands():
    return [Command("{name}", "Does nothing.", lambda parser: None, lambda arguments: 0)]
"""

#: What is wrong -> source of the plugin, and words of the error it must get.
BROKEN_AT_LOAD = {
    "an import that fails": ("import a_module_that_nobody_has\n", "ModuleNotFoundError"),
    "a syntax error": ("def f(:\n", "SyntaxError"),
    "sys.exit at import": ("import sys\nsys.exit(3)\n", "SystemExit: 3"),
    "a misspelt hook": (
        "from e2lm import hookimpl\n@hookimpl\ndef e2lm_register_comands():\n    return []\n",
        "there is no hook 'e2lm_register_comands'. Did you mean 'e2lm_register_commands'",
    ),
    "a hook without its mark": (
        "def e2lm_register_commands():\n    return []\n",
        "e2lm_register_commands() is not marked: put @hookimpl above it",
    ),
    "an argument that the hook has not": (
        "from e2lm import hookimpl\n@hookimpl\ndef e2lm_register_commands(colour):\n    return []\n",
        "colour",
    ),
    "a good hook before one with a wrong argument": (
        GOOD.format(name="half") + "\n@hookimpl\ndef e2lm_register_tasks(colour):\n    return []\n",
        "colour",
    ),
}

BROKEN_AT_CALL = {
    "another type": (
        "from e2lm import hookimpl\n@hookimpl\ndef e2lm_register_commands():\n    return ['hello']\n",
        "returned 'hello'; expected Command objects",
    ),
    "nothing that can be iterated": (
        "from e2lm import hookimpl\n@hookimpl\ndef e2lm_register_commands():\n    return 7\n",
        "TypeError",
    ),
    "an exception": (
        "from e2lm import hookimpl\n@hookimpl\ndef e2lm_register_commands():\n    raise RuntimeError('no luck')\n",
        "RuntimeError: no luck",
    ),
    "an exception halfway through a generator": (
        GOOD.format(name="half").replace("return [", "yield ").replace("lambda arguments: 0)]", "lambda arguments: 0)")
        + "    raise RuntimeError('no luck')\n",
        "RuntimeError: no luck",
    ),
    "sys.exit": (
        "import sys\nfrom e2lm import hookimpl\n@hookimpl\ndef e2lm_register_commands():\n    sys.exit(3)\n",
        "SystemExit: 3",
    ),
    "a name against the rule": (GOOD.format(name="Not Allowed"), "command name 'Not Allowed' is not allowed"),
}


def loaded(restrict: str | None = None) -> PluginManager:
    manager = PluginManager()
    manager.load_installed(restrict)
    return manager


def record_of(manager: PluginManager, name: str) -> PluginRecord:
    (record,) = [one for one in manager.records if one.name == name]
    return record


def commands_of(manager: PluginManager) -> dict[str, list[str]]:
    registered = manager.registered("e2lm_register_commands", Command)
    return {name: [claim.plugin.name for claim in claims] for name, claims in registered.items()}


def test_the_built_in_plugins_come_in_through_the_entry_points_and_are_active() -> None:
    records = {record.name: record for record in loaded().records if record.distribution == "e2lm"}
    assert set(records) >= {"adapters", "curriculum", "demo", "merge", "scaling", "signal", "tasks"}
    assert {name: record.error for name, record in records.items() if record.status != "active"} == {}


def test_plugins_are_found_without_being_imported_and_sorted_by_distribution_and_name(install) -> None:
    install("zeta", {"one": "no_such_module"})
    install("Alpha", {"two": "no_such_module", "three": "no_such_module"})
    found = [(record.distribution, record.name) for record in found_plugins() if record.distribution != "e2lm"]
    assert found == [("Alpha", "three"), ("Alpha", "two"), ("zeta", "one")]


@pytest.mark.parametrize("fault", BROKEN_AT_LOAD)
def test_a_plugin_that_cannot_be_loaded_fails_alone(fault: str, install) -> None:
    source, said = BROKEN_AT_LOAD[fault]
    install("broken", {"broken-one": "broken_module"}, {"broken_module": source})
    install("zz-good", {"good-one": "good_module"}, {"good_module": GOOD.format(name="fine")})
    manager = loaded()
    broken = record_of(manager, "broken-one")
    assert broken.status == "failed"
    assert said in (broken.error or "")
    assert commands_of(manager)["fine"] == ["good-one"]
    assert "half" not in commands_of(manager)
    assert record_of(manager, "good-one").hooks == ("e2lm_register_commands",)


@pytest.mark.parametrize("fault", BROKEN_AT_CALL)
def test_a_plugin_whose_hook_misbehaves_fails_alone_and_is_named_in_a_warning(fault: str, install) -> None:
    source, said = BROKEN_AT_CALL[fault]
    install("broken", {"broken-one": "broken_module"}, {"broken_module": source})
    install("zz-good", {"good-one": "good_module"}, {"good_module": GOOD.format(name="fine")})
    manager = loaded()
    with pytest.warns(UserWarning, match=r"plugin 'broken-one' \(broken 1\.0\) failed in e2lm_register_commands"):
        commands = commands_of(manager)
    assert commands["fine"] == ["good-one"]
    assert "half" not in commands
    broken = record_of(manager, "broken-one")
    assert broken.status == "failed"
    assert said in (broken.error or "")
    assert "Traceback" in (broken.trace or "")


def test_control_c_in_a_plugin_is_the_users_and_not_a_fault_of_the_plugin(install) -> None:
    install("slow", {"slow": "slow_module"}, {"slow_module": "raise KeyboardInterrupt\n"})
    with pytest.raises(KeyboardInterrupt):
        loaded()


def test_a_plugin_name_claimed_by_two_distributions_fails_both_and_names_both(install) -> None:
    install("first", {"same": "first_module"}, {"first_module": GOOD.format(name="one")})
    install("second", {"same": "second_module"}, {"second_module": GOOD.format(name="two")})
    twins = [record for record in loaded().records if record.name == "same"]
    assert [record.status for record in twins] == ["failed", "failed"]
    assert all("first" in (record.error or "") and "second" in (record.error or "") for record in twins)


def test_two_entry_points_to_one_module_fail_the_second_only(install) -> None:
    install("first", {"one": "shared_module"}, {"shared_module": GOOD.format(name="shared")})
    install("second", {"two": "shared_module"})
    manager = loaded()
    assert commands_of(manager)["shared"] == ["one"]
    assert "same object as the plugin 'one' (first 1.0)" in (record_of(manager, "two").error or "")


def test_a_distribution_that_is_on_the_path_twice_counts_once_and_the_first_wins(install) -> None:
    install("twice", {"plug": "old_module"}, {"old_module": GOOD.format(name="old")}, version="1.0")
    install("twice", {"plug": "new_module"}, {"new_module": GOOD.format(name="new")}, version="2.0")
    manager = loaded()
    assert record_of(manager, "plug").version == "2.0"
    assert record_of(manager, "plug").status == "active"
    assert "old" not in commands_of(manager)


def test_a_distribution_with_damaged_metadata_is_reported_and_costs_nothing_else(install) -> None:
    site = install("damaged", {"plug": "any_module"})
    (site / "damaged-1.0.dist-info" / "entry_points.txt").write_text("[e2lm]\nno equals sign\n", encoding="utf-8")
    install("zz-good", {"good-one": "good_module"}, {"good_module": GOOD.format(name="fine")})
    manager = loaded()
    (failed,) = [record for record in manager.records if record.status == "failed"]
    assert "damaged-1.0.dist-info" in failed.distribution
    assert "fine" in commands_of(manager)


def test_one_object_name_claimed_by_two_plugins_is_an_error_that_names_both_distributions(install) -> None:
    install("first", {"one": "first_module"}, {"first_module": GOOD.format(name="wanted")})
    install("second", {"two": "second_module"}, {"second_module": GOOD.format(name="wanted")})
    manager = loaded()
    with pytest.raises(UserError, match=r"'wanted' is claimed by two plugins: 'one' \(first 1\.0\) and 'two' \(second"):
        manager.find("e2lm_register_commands", Command, "wanted", "command")
    with pytest.raises(UserError, match="claimed by two plugins"):
        manager.all("e2lm_register_commands", Command, "command")
    assert plugin_report(manager)["conflicts"] == [
        {"hook": "e2lm_register_commands", "name": "wanted", "distributions": ["first", "second"]}
    ]


def test_one_name_registered_twice_by_one_plugin_is_said_so(install) -> None:
    twice = GOOD.format(name="wanted").replace("return [", "return 2 * [")
    install("first", {"one": "first_module"}, {"first_module": twice})
    with pytest.raises(UserError, match=r"registered twice by the plugin 'one' \(first 1\.0\)"):
        loaded().find("e2lm_register_commands", Command, "wanted", "command")


def test_restricting_leaves_the_others_disabled_and_unimported(install) -> None:
    install("first", {"one": "first_module"}, {"first_module": GOOD.format(name="one")})
    install("second", {"two": "second_module"}, {"second_module": "raise RuntimeError('imported')\n"})
    manager = loaded("one, signal")
    assert [record.name for record in manager.records if record.status == "active"] == ["signal", "one"]
    assert {record.status for record in manager.records} == {"active", "disabled"}
    assert set(commands_of(manager)) == {"signal", "results", "one"}


def test_restricting_to_nothing_loads_nothing() -> None:
    assert {record.status for record in loaded("").records} == {"disabled"}
    assert commands_of(loaded("")) == {}


def test_restricting_to_an_unknown_name_is_an_error_that_offers_the_nearest() -> None:
    with pytest.raises(UserError, match=r"E2LM_PLUGINS: no plugin named 'sginal' is installed\. Did you mean 'signal'"):
        loaded("sginal")


@pytest.mark.parametrize("name", ["adapters", "curriculum", "demo", "merge", "scaling", "signal", "tasks"])
def test_without_one_built_in_plugin_the_others_keep_their_commands(name: str) -> None:
    names = [record.name for record in found_plugins() if record.distribution == "e2lm"]
    assert name in names
    everything = commands_of(loaded(",".join(names)))
    rest = commands_of(loaded(",".join(set(names) - {name})))
    assert rest == {command: owners for command, owners in everything.items() if owners != [name]}
    assert rest


def test_a_one_file_plugin_brings_its_command(repository: Path) -> None:
    manager = PluginManager()
    manager.load_file(repository / "tests" / "example_plugins" / "hello.py")
    (record,) = manager.records
    assert record.status == "active"
    assert record.hooks == ("e2lm_register_commands", "e2lm_register_signal_scores")
    assert commands_of(manager) == {"hello": ["hello"]}


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [
        ("broken.py", "import a_module_that_nobody_has\n", "ModuleNotFoundError"),
        ("leaves.py", "raise SystemExit(0)\n", "SystemExit: 0"),
        ("misspelt.py", BROKEN_AT_LOAD["a misspelt hook"][0], "there is no hook"),
        ("no_python.txt", "hello", "is not a Python file"),
        ("newer.py", "from e2lm import Dashboard\n", r"this is e2lm .* \(hook API 1\), and .* for another"),
    ],
)
def test_a_one_file_plugin_that_fails_is_an_error_for_it_was_asked_for(
    name: str, source: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(source, encoding="utf-8")
    with pytest.raises(UserError, match=said) as caught:
        PluginManager().load_file(tmp_path / name)
    assert str(caught.value).count("--plugin") == 1


def test_a_one_file_plugin_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a file"):
        PluginManager().load_file(tmp_path / "nowhere.py")


def test_a_one_file_plugin_whose_hook_raises_is_named_and_goes_with_its_command(tmp_path: Path) -> None:
    file = tmp_path / "raises.py"
    file.write_text(
        "from e2lm import hookimpl\n\n\n@hookimpl\ndef e2lm_register_commands():\n    return 1 / 0\n", encoding="utf-8"
    )
    manager = PluginManager()
    with manager.with_files([file]), pytest.warns(UserWarning, match="plugin 'raises' .* ZeroDivisionError"):
        assert manager.registered("e2lm_register_commands", Command) == {}
    assert manager.records == []


def test_an_unknown_object_is_an_error_that_offers_the_nearest(install) -> None:
    install("first", {"one": "first_module"}, {"first_module": GOOD.format(name="wanted")})
    with pytest.raises(UserError, match=r"unknown command 'wnated'\. Did you mean 'wanted'"):
        loaded("one").find("e2lm_register_commands", Command, "wnated", "command")


class Listener:
    """A plugin object with the notify hook under test."""

    def __init__(self, action) -> None:
        from e2lm import hookimpl

        self.heard: list[object] = []

        @hookimpl
        def e2lm_after_series_scored(series):
            action()
            self.heard.append(series)

        self.e2lm_after_series_scored = e2lm_after_series_scored


@pytest.mark.parametrize("fault", [RuntimeError("no luck"), SystemExit(1)])
def test_a_listener_that_raises_is_named_and_the_others_still_hear(fault: BaseException) -> None:
    def fail() -> None:
        raise fault

    manager, good = PluginManager(), Listener(lambda: None)
    manager.register(Listener(fail), PluginRecord("bad", "bad-distribution", "1"))
    manager.register(good, PluginRecord("good", "good-distribution", "1"))
    with pytest.warns(UserWarning, match=r"plugin 'bad' \(bad-distribution 1\) failed in e2lm_after_series_scored"):
        manager.notify("e2lm_after_series_scored", series="the series", scores="the scores")
    assert good.heard == ["the series"]


def test_every_listener_hears_once_and_gets_only_what_it_asks_for() -> None:
    manager, good = PluginManager(), Listener(lambda: None)
    manager.register(good, PluginRecord("good", "good-distribution", "1"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        manager.notify("e2lm_after_series_scored", series="a", scores="b")
        manager.notify("e2lm_before_series_scored", series="c", tasks=[])
    assert good.heard == ["a"]


def test_registering_more_after_asking_is_seen(install) -> None:
    install("first", {"one": "first_module"}, {"first_module": GOOD.format(name="wanted")})
    manager = loaded("one")
    assert set(commands_of(manager)) == {"wanted"}
    manager.load_file(Path(__file__).parents[1] / "example_plugins" / "hello.py")
    assert set(commands_of(manager)) == {"wanted", "hello"}


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("2", "it needs hook API 2, so a later e2lm; this is e2lm "),
        ("'1'", "requires_hook_api: found '1', expected a whole number"),
        ("True", "requires_hook_api: found True, expected a whole number"),
    ],
)
def test_a_plugin_for_another_hook_api_is_left_out_with_what_it_needs(wanted: str, said: str, install) -> None:
    source = f"requires_hook_api = {wanted}\n" + GOOD.format(name="late")
    install("late", {"late-one": "late_module"}, {"late_module": source})
    install(
        "zz-good", {"good-one": "good_module"}, {"good_module": "requires_hook_api = 1\n" + GOOD.format(name="fine")}
    )
    manager = loaded()
    assert said in (record_of(manager, "late-one").error or "")
    assert set(commands_of(manager)) >= {"fine"}
    assert "late" not in commands_of(manager)


def test_releases_are_named_where_they_are_known(monkeypatch: pytest.MonkeyPatch, install) -> None:
    monkeypatch.setattr(hookspecs, "RELEASE_OF", {1: "0.1", 2: "0.3"})
    install("late", {"late-one": "late_module"}, {"late_module": "requires_hook_api = 2\n" + GOOD.format(name="late")})
    assert "needs hook API 2, so e2lm >= 0.3; this is" in (record_of(loaded(), "late-one").error or "")
    monkeypatch.setattr(hookspecs, "HOOK_API", 3)
    monkeypatch.setattr(hookspecs, "OLDEST_HOOK_API", 3)
    assert "written for hook API 2; e2lm" in (record_of(loaded(), "late-one").error or "")


def test_a_deprecated_hook_works_on_and_names_the_plugin_that_has_it(monkeypatch: pytest.MonkeyPatch, install) -> None:
    said = "e2lm_register_commands goes in 0.5: use e2lm_register_verbs"

    @hookspecs.hookspec(warn_on_impl=DeprecationWarning(said))
    def e2lm_register_commands() -> list[Command]:
        raise AssertionError("a specification is never called")

    monkeypatch.setattr(hookspecs, "e2lm_register_commands", e2lm_register_commands)
    install("older", {"older-one": "older_module"}, {"older_module": GOOD.format(name="older")})
    with pytest.warns(DeprecationWarning, match=r"plugin 'older-one' \(older 1\.0\): e2lm_register_commands goes in"):
        manager = loaded()
    assert "older" in commands_of(manager)
    assert record_of(manager, "older-one").remarks == [said]
