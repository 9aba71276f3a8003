"""``e2lm leaderboard ACTION ...``: enter, or run, a competition."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from importlib import import_module

from e2lm.command import Command
from e2lm.errors import UserError

#: Action -> (module, what it does). A module has ``configure(parser)`` and ``run(arguments)``.
ACTIONS = {
    "new-submission": ("e2lm_leaderboard.cli.new", "write a sample bundle to start from"),
    "check": ("e2lm_leaderboard.cli.check", "check a bundle as the server does"),
    "init": ("e2lm_leaderboard.cli.init", "open a season, or add teams to it"),
    "submit": ("e2lm_leaderboard.cli.submit", "enter a bundle"),
    "run": ("e2lm_leaderboard.cli.run", "check, evaluate and score whatever waits"),
    "rank": ("e2lm_leaderboard.cli.rank", "print the ranking"),
    "demo": ("e2lm_leaderboard.cli.demo", "a season in a box: five submissions from start to page"),
    "serve": ("e2lm_leaderboard.cli.serve", "serve pages and API"),
    "export": ("e2lm_leaderboard.cli.export", "write the pages as files"),
    "verify": ("e2lm_leaderboard.cli.verify", "compare every row with the log"),
}


#: Modules of the extras.
EXTRAS = {"sqlalchemy": "web", "fastapi": "web", "uvicorn": "web", "jinja2": "web", "psycopg": "postgres"}


def _configure(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, (module, sentence) in ACTIONS.items():
        action = actions.add_parser(name, help=sentence, description=sentence, allow_abbrev=False)
        import_module(module).configure(action)


def _run(arguments: Namespace) -> int:
    try:
        code: int = import_module(ACTIONS[arguments.action][0]).run(arguments)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRAS:
            raise
        extra = EXTRAS[(error.name or "").partition(".")[0]]
        raise UserError(f"leaderboard {arguments.action}: needs {error.name}; pip install 'e2lm[{extra}]'") from error
    return code


LEADERBOARD_COMMAND = Command("leaderboard", "Enter, or run, a competition of benchmarks.", _configure, _run)
