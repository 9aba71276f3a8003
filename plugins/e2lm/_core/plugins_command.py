"""``e2lm plugins``: which plugins there are and what became of them, and the package of a new one.

The package of a new plugin: module, pyproject, tests and a few lines to read, from templates beside this file.
"""

from __future__ import annotations

import json
import keyword
import re
import sys
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from e2lm.argument import folder_to_write
from e2lm.atomic_file import whole_folder
from e2lm.checkpoint_format import CheckpointFormat
from e2lm.command import Action, Command
from e2lm.curriculum import Curriculum
from e2lm.errors import E2LMError, UserError
from e2lm.evaluation_model import EvaluationModel
from e2lm.item_metric import ItemMetric
from e2lm.judge import Judge
from e2lm.kind import imported
from e2lm.merge_strategy import MergeStrategy
from e2lm.plugin_manager import PluginManager, plugin_manager
from e2lm.scaling_predictor import ScalingPredictor
from e2lm.signal_score import SignalScore
from e2lm.task_suite import TaskSuite
from e2lm.verb import Verb, checked_verb_name

#: A distribution, an entry point, a module and a registered object are named alike, so the strictest rule counts.
NAME_PATTERN = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
LONGEST_NAME = 60

TEMPLATES = "plugin_templates"
SUFFIX = ".template"


@dataclass(frozen=True, slots=True)
class PluginKind:
    """What a kind of plugin is called, the hook it fills, and how its result is used; ``module`` is its template."""

    title: str
    hook: str
    usage: str
    #: Path in the package -> template; of a single module where nothing else is needed.
    files: Mapping[str, str]


_MODULE = {"$module.py": "module"}

KINDS: dict[str, PluginKind] = {
    "task": PluginKind(
        "A task suite",
        "e2lm_register_tasks",
        "lm_eval run --model hf --model_args pretrained=MODEL --tasks $module",
        {
            "$module/__init__.py": "module",
            "$module/$module.yaml": "task.yaml",
            "$module/items.jsonl": "items.jsonl",
        },
    ),
    "curriculum": PluginKind(
        "A curriculum", "e2lm_register_curricula", "e2lm train --corpus FILE --out RUNS --curriculum $name", _MODULE
    ),
    "merge-strategy": PluginKind(
        "A merge strategy",
        "e2lm_register_merge_strategies",
        "e2lm merge CONFIG OUT            # with merge_method: $name",
        _MODULE,
    ),
    "predictor": PluginKind(
        "A scaling predictor",
        "e2lm_register_scaling_predictors",
        "e2lm predict backtest --data RUNS.csv --columns N=params,D=tokens,L=loss --models $name",
        _MODULE,
    ),
    "signal-score": PluginKind(
        "A score of early signal", "e2lm_register_signal_scores", "e2lm signal RESULTS --scores $name", _MODULE
    ),
    "metric": PluginKind("An item metric", "e2lm_register_metrics", "e2lm signal SAMPLES", _MODULE),
    "judge": PluginKind(
        "A judge of items", "e2lm_register_judges", "e2lm leaderboard run SEASON    # with judge: $name", _MODULE
    ),
    "checkpoint-format": PluginKind(
        "A checkpoint format", "e2lm_register_checkpoint_formats", "e2lm checkpoints RUN", _MODULE
    ),
    "result-format": PluginKind(
        "A format of result files", "e2lm_register_result_formats", "e2lm results PATH", _MODULE
    ),
    "command": PluginKind("A command", "e2lm_register_commands", "e2lm $name --help", _MODULE),
    "verb": PluginKind(
        "A verb",
        "e2lm_register_verbs",
        "python -c 'from e2lm.plugin_manager import plugin_manager as p; print(p().verb(\"$module\")([1, 2]))'",
        _MODULE,
    ),
}


def package_files(kind: str, name: str, plugin_name: str = "") -> dict[str, str]:
    """Every file of the package by its path in it; ``plugin_name`` names the entry point where ``name`` is taken.

    >>> sorted(package_files("signal-score", "my-gain"))
    ['README.md', 'my_gain.py', 'pyproject.toml', 'tests/test_my_gain.py']
    """
    chosen, module = KINDS[kind], name.replace("-", "_")
    words = {"name": name, "module": module, "title": chosen.title, "plugin": plugin_name or name}
    words["usage"] = Template(chosen.usage).substitute(words)
    sources = {
        "pyproject.toml": f"pyproject.toml{SUFFIX}",
        "README.md": f"README.md{SUFFIX}",
        **{path: f"{kind}/{template}{SUFFIX}" for path, template in chosen.files.items()},
        "tests/test_$module.py": f"{kind}/test{SUFFIX}",
    }
    folder = files("e2lm") / TEMPLATES
    return {
        Template(path).substitute(words): Template((folder / source).read_text(encoding="utf-8")).substitute(words)
        for path, source in sources.items()
    }


def check_name(kind: str, name: str, manager: PluginManager) -> None:
    """A :class:`UserError` for a name that could not be installed, or would get in the way of something that is."""
    if not NAME_PATTERN.fullmatch(name) or len(name) > LONGEST_NAME:
        raise UserError(
            f"NAME {name!r} is not allowed: use lower-case letters and digits, starting with a letter, in words joined "
            f"by '-' or '_', at most {LONGEST_NAME} characters"
        )
    module = name.replace("-", "_")
    if keyword.iskeyword(module) or keyword.issoftkeyword(module) or module in sys.stdlib_module_names:
        raise UserError(
            f"NAME {name!r} is not allowed: {module!r} is a word or a module of Python; choose another name"
        )
    is_installed = any(record.distribution == name for record in manager.records)
    owners = [] if is_installed else packages_distributions().get(module, [])
    if owners:
        raise UserError(f"NAME {name!r}: the installed {owners[0]} has a module {module!r}; choose another name")

    hook = KINDS[kind].hook
    called = name if kind != "verb" else _checked_verb(module)
    for claim in manager.registered(hook, registered_kinds()[hook]).get(called, []):
        if claim.plugin.distribution != name:
            raise UserError(f"NAME {name!r}: the plugin {claim.plugin.label} has a {kind} of that name; choose another")


def _checked_verb(module: str) -> str:
    """A verb is called from Python, so it has the name of the module."""
    try:
        return checked_verb_name(module)
    except E2LMError as error:
        raise UserError(f"NAME: {error}; choose another") from error


def free_plugin_name(kind: str, name: str, manager: PluginManager) -> str:
    """``name``, or ``name-kind`` where another distribution has a plugin of that name: one name would fail both."""
    for candidate in (name, f"{name}-{kind}"):
        owners = [one for one in manager.records if one.name == candidate and one.distribution != name]
        if not owners:
            return candidate
    raise UserError(f"NAME {name!r} is taken by the plugin {owners[0].label}; choose another name")


def write_package(folder: Path, contents: Mapping[str, str]) -> None:
    """Write all files into ``folder``, all or none; nothing that is there is overwritten."""
    check_free(folder)
    with whole_folder(folder.absolute()) as partial:
        for path, text in contents.items():
            (partial / path).parent.mkdir(parents=True, exist_ok=True)
            (partial / path).write_text(text, encoding="utf-8", newline="\n")


def check_free(folder: Path) -> None:
    """A :class:`UserError` where something is in the way."""
    if folder.is_file():
        raise UserError(f"--out: {folder} is a file; give a new folder")
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"--out: {folder} is not empty, and nothing is overwritten; give a new folder")


#: Imported when they are asked for: the readers of results take half a second to load, and every command starts here.
LATE_HOOKS = {"e2lm_register_result_formats": "e2lm.results.result_format:ResultFormat"}
REGISTER_HOOKS: dict[str, type[Any]] = {
    "e2lm_register_tasks": TaskSuite,
    "e2lm_register_models": EvaluationModel,
    "e2lm_register_metrics": ItemMetric,
    "e2lm_register_curricula": Curriculum,
    "e2lm_register_merge_strategies": MergeStrategy,
    "e2lm_register_scaling_predictors": ScalingPredictor,
    "e2lm_register_signal_scores": SignalScore,
    "e2lm_register_judges": Judge,
    "e2lm_register_checkpoint_formats": CheckpointFormat,
    "e2lm_register_commands": Command,
    "e2lm_register_verbs": Verb,
}


def registered_kinds() -> dict[str, type[Any]]:
    """What each register hook registers."""
    return REGISTER_HOOKS | {hook: imported(target, "hook") for hook, target in LATE_HOOKS.items()}


def plugin_report(manager: PluginManager) -> dict[str, Any]:
    """Every plugin with its state, after each register hook was tried; names that two plugins claim; odd behaviour."""
    conflicts = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # failures are in the report itself
        for hook, kind in registered_kinds().items():
            for name, claims in manager.registered(hook, kind).items():
                if len(claims) > 1:
                    owners = [claim.plugin.distribution for claim in claims]
                    conflicts.append({"hook": hook, "name": name, "distributions": owners})
    plugins = [
        {
            "name": record.name,
            "distribution": record.distribution,
            "version": record.version,
            "hooks": list(record.hooks),
            "status": record.status,
            "error": record.trace or record.error,
        }
        for record in manager.records
    ]
    remarks = [
        {"plugin": record.name, "distribution": record.distribution, "remark": remark}
        for record in manager.records
        for remark in record.remarks
    ]
    return {"plugins": plugins, "conflicts": conflicts, "remarks": remarks, "verbs": _verbs(manager)}


def _verbs(manager: PluginManager) -> list[dict[str, str]]:
    """One row for each registered verb, in order of name."""
    return [
        {
            "name": name,
            "signature": claim.item.signature,
            "description": claim.item.description,
            "plugin": claim.plugin.name,
            "distribution": claim.plugin.distribution,
        }
        for name, claims in sorted(manager.registered("e2lm_register_verbs", Verb).items())
        for claim in claims
    ]


def _configure_list(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _configure_new(parser: ArgumentParser) -> None:
    parser.add_argument("kind", choices=list(KINDS), help=", ".join(KINDS), metavar="KIND")
    parser.add_argument("name", metavar="NAME", help="of the package, and of what it registers")
    parser.add_argument("--out", type=folder_to_write, metavar="DIR", help="the folder to write (NAME)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be written; write nothing")


def _new(arguments: Namespace) -> int:
    folder: Path = arguments.out or Path(arguments.name)
    kind, name, manager = arguments.kind, arguments.name, plugin_manager()
    check_name(kind, name, manager)
    check_free(folder)
    contents = package_files(kind, name, free_plugin_name(kind, name, manager))
    if not arguments.dry_run:
        write_package(folder, contents)
    for path, text in contents.items():
        print(f"{'would write' if arguments.dry_run else 'wrote'} {folder / path} ({len(text.splitlines())} lines)")
    if not arguments.dry_run:
        print(f"next: pip install --no-deps --editable {folder} && python -m pytest {folder}")
    return 0


def _list(arguments: Namespace) -> int:
    manager = plugin_manager()
    report = plugin_report(manager)
    if arguments.json:
        print(json.dumps(report, indent=1))
        return 0
    for record in manager.records:
        hooks = ", ".join(hook.removeprefix("e2lm_") for hook in record.hooks)
        print(f"{record.status:<8} {record.name}  ({record.distribution} {record.version})  {hooks}")
        if record.error:
            print(record.trace or f"         {record.error}")
        for remark in record.remarks:
            print(f"         {remark}")
    for verb in report["verbs"]:
        print(f"verb     {verb['name']}{verb['signature']}  ({verb['plugin']})  {verb['description']}")
    for conflict in report["conflicts"]:
        owners = " and ".join(conflict["distributions"])
        print(f"conflict: {conflict['hook']}: {conflict['name']!r} is claimed by {owners}", file=sys.stderr)
    return 0


PLUGINS_COMMAND = Command.with_actions(
    "plugins",
    "List the installed plugins and what became of them, or write a new one.",
    {
        "list": Action("list the plugins that are installed", _configure_list, _list),
        "new": Action("write the package of a new plugin, with tests", _configure_new, _new),
    },
)
