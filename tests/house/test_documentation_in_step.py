"""What the pages say of the code is what the code does: generated parts, names, options, refusals."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import e2lm
from e2lm import Curriculum, MergeStrategy, ScalingPredictor, SignalScore, UserError
from e2lm.command_line import _command
from e2lm.plugin_manager import plugin_manager

#: Methods of mergekit 0.1.5, by the names that a config gives them.
MERGEKIT_METHODS = {
    *("arcee_fusion", "breadcrumbs", "breadcrumbs_ties", "dare_linear", "dare_ties", "della", "della_linear"),
    *("karcher", "linear", "model_stock", "multislerp", "nearswap", "nuslerp", "passthrough", "ram", "ramplus_tl"),
    *("sce", "slerp", "task_arithmetic", "ties"),
}

#: Variations of a name in one table cell: ``climb-ngram-{linear,log}``.
BRACES = re.compile(r"\{(\w+),(\w+)\}")


@pytest.fixture(scope="module")
def docs(repository: Path) -> Path:
    return repository / "docs"


@pytest.fixture(scope="module")
def script(docs: Path) -> Callable[[str], ModuleType]:
    def load(name: str) -> ModuleType:
        specification = importlib.util.spec_from_file_location(name, docs / f"{name}.py")
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        return module

    return load


def section(page: Path, heading: str) -> str:
    """The text under a heading of the second level."""
    return page.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]


def code_in(text: str) -> set[str]:
    return set(re.findall(r"`([^`\n]+)`", text))


def test_the_hook_reference_is_what_the_specifications_say(docs: Path, script: Callable[[str], ModuleType]) -> None:
    written = script("hook_reference").reference()
    assert (docs / "hooks.md").read_text(encoding="utf-8") == written, "run python docs/hook_reference.py"
    assert written.count("\n## e2lm_") >= 12


def test_the_hook_reference_knows_no_types_of_plugins_that_happen_to_be_loaded(
    script: Callable[[str], ModuleType],
) -> None:
    from e2lm_scaling.forecast.predictors import BuiltIn

    assert issubclass(BuiltIn, ScalingPredictor)
    written = script("hook_reference").reference()
    assert "BuiltIn(" not in written
    assert "WholeTensorMerge(" in written


def test_every_object_that_a_plugin_is_handed_or_gives_back_is_in_the_reference(
    script: Callable[[str], ModuleType],
) -> None:
    """The types in the annotations of functions that plugins write, and the arguments of listeners."""
    reference = script("hook_reference")
    described = {kind.__name__ for kinds in reference.OBJECTS.values() for kind in kinds}
    hooks = " ".join(str(one) for hook in reference.hooks() for one in hook.__annotations__.values())
    registered = {getattr(e2lm, name) for name in re.findall(r"Iterable\[(\w+)\]", hooks)}
    functions = " ".join(
        str(annotation)
        for kind in registered
        for below in (kind, *kind.__subclasses__())
        for annotation in getattr(below, "__annotations__", {}).values()
        if "Callable[" in str(annotation)
    )
    named = set(re.findall(r"\w+", f"{hooks} {functions}")) - {kind.__name__ for kind in registered}
    ours = {name for name in named & set(e2lm.__all__) if isinstance(getattr(e2lm, name), type)}
    assert ours - described == set()
    assert len(named & described) >= 12


def test_the_pictures_of_scores_are_what_is_drawn_now(docs: Path, script: Callable[[str], ModuleType]) -> None:
    pictures = script("score_pictures")
    page = (docs / "scores.md").read_text(encoding="utf-8")
    for name in pictures.PICTURES:
        drawn = pictures.drawn(name)
        assert drawn == pictures.drawn(name)
        committed = (docs / "pictures" / f"{name}.svg").read_text(encoding="utf-8")
        assert committed == drawn, "run python docs/score_pictures.py"
        assert f"(pictures/{name}.svg)" in page


def test_every_signal_score_is_explained(docs: Path) -> None:
    known = {score.name for score in _ours("e2lm_register_signal_scores", SignalScore)}
    assert len(known) > 20
    assert known - code_in((docs / "scores.md").read_text(encoding="utf-8")) == set()


def _ours(hook: str, kind: type) -> list[SignalScore | MergeStrategy | Curriculum]:
    found = plugin_manager().registered(hook, kind)
    return [entry.item for entries in found.values() for entry in entries if entry.plugin.distribution == "e2lm"]


def test_every_method_of_mergekit_is_there_or_said_not_to_be(docs: Path) -> None:
    table = section(docs / "coming-from-mergekit.md", "Methods")
    ours = {strategy.name for strategy in _ours("e2lm_register_merge_strategies", MergeStrategy)}
    refused = "\n".join(line for line in table.splitlines() if "not supported" in line)
    assert code_in(refused) == MERGEKIT_METHODS - ours
    assert code_in(table) == MERGEKIT_METHODS | ours


@pytest.mark.parametrize("key", ["modules", "chat_template"])
def test_a_key_of_mergekit_that_is_said_to_be_refused_is(key: str, docs: Path) -> None:
    from e2lm_merge.plan.recipe import Recipe, recipe_from_data

    table = section(docs / "coming-from-mergekit.md", "Keys of the config")
    assert re.search(rf"`{key}:?`.*refused", table)
    with pytest.raises(UserError, match=f"{key!r} of mergekit is not supported"):
        recipe_from_data({"merge_method": "linear", key: {}}, "merge.yml")
    (new,) = re.findall(r"^New: (.*?)$", table, re.MULTILINE)
    assert code_in(new.replace("`models`", "")) <= set(Recipe.model_fields)


def test_every_curriculum_of_climb_has_its_row(docs: Path) -> None:
    table = section(docs / "coming-from-climb.md", "Configurations")
    cells = [line.split(" | ")[1] for line in table.splitlines() if line.startswith("| `")]
    named: set[str] = set()
    for cell in cells:
        last = ""
        for name in re.findall(r"`([^`]+)`", cell):
            last = name.replace("...", last)
            match = BRACES.search(last)
            named |= {BRACES.sub(word, last) for word in match.groups()} if match else {last}
    ours = {one.name for one in _ours("e2lm_register_curricula", Curriculum) if one.name.startswith("climb-")}
    assert len(ours) == 24
    assert named == ours


def test_options_of_lm_eval_are_missing_or_there_as_the_page_says(docs: Path) -> None:
    page = docs / "coming-from-lm-eval.md"
    ours = set(_command("eval", plugin_manager()).parser()._option_string_actions)
    missing = {one for one in code_in(section(page, "What is not supported")) if one.startswith("--")} - {"--model"}
    missing = {one for one in missing if " " not in one}
    assert len(missing) > 5
    assert missing & ours == set()
    rows = [line.split(" | ") for line in section(page, "What you typed, what you type").splitlines()[3:]]
    here = {option for row in rows if len(row) > 2 for option in re.findall(r"--[a-z-]+", row[1])}
    assert here - ours == set()


def test_the_blocks_of_the_tutorial_are_bash_and_can_be_made_smaller(script: Callable[[str], ModuleType]) -> None:
    tutorial = script("run_tutorial")
    page = tutorial.PAGE.read_text(encoding="utf-8")
    assert tutorial.blocks("a\n```bash\nls\n```\n```text\nout\n```\n```bash\npwd\n```\n") == ["ls\n", "pwd\n"]
    whole, quick = tutorial.blocks(page), tutorial.blocks(page, quick=True)
    assert len(whole) == len(quick) >= 8
    assert whole != quick
    for block in whole:
        subprocess.run(["bash", "-n"], input=block, text=True, check=True, timeout=60)
