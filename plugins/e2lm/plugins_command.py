"""``e2lm plugins list``: which plugins there are, and what became of them."""

from __future__ import annotations

import json
import sys
import warnings
from argparse import ArgumentParser, Namespace
from typing import Any

from e2lm.command import Command
from e2lm.curriculum import Curriculum
from e2lm.evaluation_model import EvaluationModel
from e2lm.item_metric import ItemMetric
from e2lm.merge_strategy import MergeStrategy
from e2lm.plugin_manager import PluginManager, plugin_manager
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
    parser.add_argument("action", choices=["list"], help="list the plugins that are installed")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run(arguments: Namespace) -> int:
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


PLUGINS_COMMAND = Command("plugins", "List the installed plugins and what became of them.", _configure, _run)
