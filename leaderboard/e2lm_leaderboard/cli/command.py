"""``e2lm leaderboard`` and its actions: enter, or run, a competition."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace

from e2lm.answer import Answer
from e2lm.command import Action, Command
from e2lm.errors import UserError

#: Modules of the extras.
EXTRAS = {
    "sqlalchemy": "web",
    "fastapi": "web",
    "uvicorn": "web",
    "jinja2": "web",
    "cryptography": "web",
    "psycopg": "postgres",
}


def _action(file: str, name: str, help: str) -> Action:
    """What ``configure_name`` and ``run_name`` of ``e2lm_leaderboard.cli.file`` do."""
    return Action(help, f"e2lm_leaderboard.cli.{file}:configure_{name}", f"e2lm_leaderboard.cli.{file}:run_{name}")


_ACTIONS = Command.with_actions(
    "leaderboard",
    "Enter, or run, a competition of benchmarks.",
    {
        "new-submission": _action("entrant", "new", "write a sample bundle to start from"),
        "import": _action("import_task", "import", "make a bundle of an lm-eval task, or of an entry of 2025"),
        "check": _action("entrant", "check", "check a bundle as the server does"),
        "init": _action("organiser", "init", "open a season, or add teams to it"),
        "submit": _action("entrant", "submit", "enter a bundle"),
        "run": _action("organiser", "run", "check, evaluate and score whatever waits"),
        "rank": _action("organiser", "rank", "print the ranking"),
        "demo": _action("demo", "demo", "a season in a box: five submissions from start to page"),
        "serve": _action("organiser", "serve", "serve pages and API"),
        "export": _action("organiser", "export", "write the pages as files"),
        "verify": _action("organiser", "verify", "compare every row with the log"),
        "baseline": _action("baseline", "baseline", "enter house cheats, which every entry has to beat"),
        "refuse": _action("decisions", "decision", "refuse a submission; its team has its try back"),
        "withdraw": _action("decisions", "decision", "take a submission out, as its team asked"),
        "disqualify": _action("decisions", "decision", "take a submission out, against its team"),
        "rerun": _action("decisions", "decision", "put a submission back into the queue"),
        "pick": _action("decisions", "pick", "say which two of a team's submissions compete in the end"),
        "token": _action("decisions", "token", "give a team a new token"),
        "rules": _action("decisions", "rules", "print the rules, or accept an edited season.json"),
        "close": _action("decisions", "close", "end the season now"),
        "doctor": _action("decisions", "doctor", "say what is wrong with the season"),
    },
)


def _run(arguments: Namespace) -> int | Answer:
    try:
        return _ACTIONS.run(arguments)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in EXTRAS:
            raise
        hint = f"pip install 'e2lm[{EXTRAS[missing]}]'"
        raise UserError(f"leaderboard {arguments.action}: needs {error.name}; {hint}") from error


LEADERBOARD_COMMAND = replace(_ACTIONS, run=_run)
