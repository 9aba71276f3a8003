"""``e2lm completion SHELL``: commands, actions, options and files at the press of Tab, answered by argcomplete."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from typing import Any

from e2lm.command import Command, CommandParser

SHELLS = ("bash", "zsh", "fish")


def is_asked() -> bool:
    """Whether a shell has started this process to be told how the line may go on."""
    return "_ARGCOMPLETE" in os.environ


def answer(commands: Mapping[str, Command]) -> None:
    """Tell the shell how its line may go on, and end the process."""
    import argcomplete

    words = os.environ.get("COMP_LINE", "").split()[1:]
    argcomplete.autocomplete(_parser(commands, words), always_complete_options=False)


def _parser(commands: Mapping[str, Command], words: Sequence[str]) -> ArgumentParser:
    """All commands by name; only what ``words`` name is configured, and imported for that."""
    parser = ArgumentParser(prog="e2lm")
    parser.add_argument("--plugin", metavar="FILE.py", help="a plugin in one file")
    below = parser.add_subparsers()
    for name, command in commands.items():
        known = command.parser() if name in words and not command.takes_rest else None
        _add(below, name, command.help, known, words[words.index(name) + 1 :] if known else ())
    return parser


def _add(below: Any, name: str, help: str, known: CommandParser | None, words: Sequence[str]) -> None:
    if known is None:
        below.add_parser(name, help=help)
    elif not known.actions:
        below.add_parser(name, help=help, parents=[known], add_help=False)
    elif words and words[0] in known.actions:
        actions = below.add_parser(name, help=help).add_subparsers()
        _add(actions, words[0], "", known.action_parser(words[0]), ())
    elif known.has_default:
        own = known.action_parser(None)
        _offer_actions(own, known.actions)
        below.add_parser(name, help=help, parents=[own], add_help=False)
    else:
        actions = below.add_parser(name, help=help).add_subparsers()
        for action, what in known.actions.items():
            actions.add_parser(action, help=what.help)


def _offer_actions(own: CommandParser, actions: Mapping[str, Any]) -> None:
    """The first word of a command with a default action is an action, or whatever that one takes first."""
    from argcomplete.completers import FilesCompleter

    files = FilesCompleter()
    first = next((one for one in own._actions if not one.option_strings), None)
    if first is not None:
        first.completer = lambda prefix, **_: [*actions, *files(prefix)]  # type: ignore[attr-defined]


def _configure(parser: CommandParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="the shell that reads what is printed")


def _run(arguments: Namespace) -> int:
    from argcomplete.shell_integration import shellcode

    print(shellcode(["e2lm"], shell=arguments.shell), end="")
    return 0


COMPLETION_COMMAND = Command(
    "completion",
    'Completion at the press of Tab; for bash: eval "$(e2lm completion bash)", in ~/.bashrc for good.',
    _configure,
    _run,
)
