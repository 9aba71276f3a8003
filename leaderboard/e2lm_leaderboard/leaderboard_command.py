"""``e2lm leaderboard ACTION ...``: enter, or run, a competition."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from importlib import import_module

from e2lm.command import Command

#: Action -> (module, what it does). A module has ``configure(parser)`` and ``run(arguments)``.
ACTIONS = {
    "new-submission": ("e2lm_leaderboard.new_submission_action", "write a sample bundle to start from"),
    "check": ("e2lm_leaderboard.check_action", "check a bundle as the server does"),
}


def _configure(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, (module, sentence) in ACTIONS.items():
        action = actions.add_parser(name, help=sentence, description=sentence, allow_abbrev=False)
        import_module(module).configure(action)


def _run(arguments: Namespace) -> int:
    code: int = import_module(ACTIONS[arguments.action][0]).run(arguments)
    return code


LEADERBOARD_COMMAND = Command("leaderboard", "Enter, or run, a competition of benchmarks.", _configure, _run)
