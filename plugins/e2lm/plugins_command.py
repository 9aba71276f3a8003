"""``e2lm plugins``: which plugins there are and what became of them, and the package of a new one."""

from __future__ import annotations

import json
import sys
import warnings
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from e2lm.command import Command
from e2lm.curriculum import Curriculum
from e2lm.evaluation_model import EvaluationModel
from e2lm.item_metric import ItemMetric
from e2lm.judge import Judge
from e2lm.merge_strategy import MergeStrategy
from e2lm.plugin_manager import PluginManager, plugin_manager
from e2lm.plugin_package import KINDS, check_free, check_name, free_plugin_name, package_files, write_package
from e2lm.scaling_predictor import ScalingPredictor
from e2lm.signal_score import SignalScore
from e2lm.task_suite import TaskSuite

REGISTER_HOOKS: dict[str, type[Any]] = {
    "e2lm_register_tasks": TaskSuite,
    "e2lm_register_models": EvaluationModel,
    "e2lm_register_metrics": ItemMetric,
    "e2lm_register_curricula": Curriculum,
    "e2lm_register_merge_strategies": MergeStrategy,
    "e2lm_register_scaling_predictors": ScalingPredictor,
    "e2lm_register_signal_scores": SignalScore,
    "e2lm_register_judges": Judge,
    "e2lm_register_commands": Command,
}


def plugin_report(manager: PluginManager) -> dict[str, Any]:
    """Every plugin with its state, after each register hook was tried; names that two plugins claim; odd behaviour."""
    conflicts = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # failures are in the report itself
        for hook, kind in REGISTER_HOOKS.items():
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
    return {"plugins": plugins, "conflicts": conflicts, "remarks": remarks}


def _configure(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True)
    listing = actions.add_parser("list", help="list the plugins that are installed", allow_abbrev=False)
    listing.add_argument("--json", action="store_true", help="print JSON")
    new = actions.add_parser("new", help="write the package of a new plugin, with tests", allow_abbrev=False)
    new.add_argument("kind", choices=list(KINDS), help=", ".join(KINDS), metavar="KIND")
    new.add_argument("name", metavar="NAME", help="of the package, and of what it registers")
    new.add_argument("--out", type=Path, metavar="DIR", help="the folder to write (NAME)")
    new.add_argument("--dry-run", action="store_true", help="say what would be written; write nothing")


def _run(arguments: Namespace) -> int:
    return _new(arguments) if arguments.action == "new" else _list(arguments)


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
    for conflict in report["conflicts"]:
        owners = " and ".join(conflict["distributions"])
        print(f"conflict: {conflict['hook']}: {conflict['name']!r} is claimed by {owners}", file=sys.stderr)
    return 0


PLUGINS_COMMAND = Command(
    "plugins", "List the installed plugins and what became of them, or write a new one.", _configure, _run
)
