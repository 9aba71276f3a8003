"""The ``e2lm`` command: finds the sub-command, and makes one line and an exit code of every error.

An error that a plugin raised in the middle of a command says whose it is, so that nobody searches here.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from traceback import walk_tb
from types import FrameType

from e2lm._core import completion
from e2lm.answer import Answer
from e2lm.command import Command
from e2lm.errors import E2LMError, MachineError, UserError, nearest_names, one_line, system_error
from e2lm.messages import LANGUAGE_VARIABLE, speaking, wanted_language
from e2lm.plugin_manager import PluginManager, PluginRecord, plugin_manager

OWN_DISTRIBUTION = "e2lm"


class PluginFailureError(E2LMError):
    """``record``'s code raised; the error itself is ``__cause__``."""

    def __init__(self, record: PluginRecord, error: Exception | SystemExit) -> None:
        super().__init__(
            f"plugin {record.label} raised {type(error).__name__}: {one_line(error)}; this is a fault of the plugin: "
            "tell its authors, or go without it"
        )


def failed_plugin(error: BaseException, records: Iterable[PluginRecord]) -> PluginRecord | None:
    """The plugin of another distribution whose code was running when ``error`` was raised, the innermost one."""
    found = None
    strangers = [record for record in records if record.distribution != OWN_DISTRIBUTION]
    for frame, _ in walk_tb(error.__traceback__):
        found = next((record for record in strangers if _runs(record, frame)), found)
    return found


def _runs(record: PluginRecord, frame: FrameType) -> bool:
    """Whether ``frame`` runs code of the file or the top-level package that ``record`` was loaded from."""
    if record.path is not None:
        return Path(frame.f_code.co_filename).resolve() == record.path.resolve()
    if not isinstance(record.entry_point, EntryPoint):
        return False
    own = record.entry_point.module.partition(".")[0]
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] == own


EXIT_OK = 0
EXIT_CHECK_FAILED = 1
EXIT_USER_ERROR = 2
EXIT_MACHINE_ERROR = 3
EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and give its exit code.

    0 done, 1 a check or a plugin failed, 2 the user's mistake, 3 the machine's (disk, rights, network).
    """
    if completion.is_asked():
        completion.answer(_unclaimed_commands(plugin_manager()))  # which ends the process
    arguments = list(sys.argv[1:] if argv is None else argv)
    with _warnings_in_one_line():
        return _guarded(arguments)


@contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    """Our own warnings without the place in our code where they were given, which says nothing to a user."""
    usual = warnings.formatwarning

    def told(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        ours = any(part.startswith("e2lm") for part in Path(filename).parts[-4:-1]) and category is UserWarning
        return f"e2lm: warning: {one_line(message)}\n" if ours else usual(message, category, filename, lineno, line)

    warnings.formatwarning = told
    try:
        yield
    finally:
        warnings.formatwarning = usual


def _guarded(arguments: list[str]) -> int:
    try:
        code = run_command(arguments)
        sys.stdout.flush()  # so that a reader that has gone away is noticed here
        return code
    except E2LMError as error:
        if isinstance(error, PluginFailureError):
            traceback.print_exception(error.__cause__)
        return _told(error)
    except BrokenPipeError:
        _drop_output()
        return EXIT_OK
    except (OSError, MemoryError) as error:
        return _told(_of_the_machine(error))
    except KeyboardInterrupt:
        print("e2lm: interrupted; the same command goes on where it stopped", file=sys.stderr)
        return EXIT_INTERRUPTED


def _of_the_machine(error: OSError | MemoryError) -> UserError:
    if isinstance(error, MemoryError):
        return MachineError(f"out of memory ({one_line(error) or 'no more could be had'}); ask for less at a time")
    try:
        sys.stdout.flush()
    except OSError:  # it is what fails, and would again at the very end
        _drop_output()
    return system_error(error)


def _drop_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _told(error: E2LMError) -> int:
    print(f"e2lm: error: {one_line(error)}", file=sys.stderr)
    if not isinstance(error, UserError):
        return EXIT_CHECK_FAILED
    return EXIT_MACHINE_ERROR if isinstance(error, MachineError) else EXIT_USER_ERROR


def run_command(arguments: Sequence[str], manager: PluginManager | None = None) -> int:
    """Like :func:`main` with errors raised: for one command that runs others."""
    found, rest = _taken(list(arguments))
    if manager is None:
        manager = plugin_manager()
    with manager.with_files([Path(one) for one in found["--plugin"]]), _spoken(found["--lang"]):
        return _run_with(manager, rest)


@contextmanager
def _spoken(languages: list[str]) -> Iterator[None]:
    """The last of ``languages``, in the processes that are started too; without one all stays as it is."""
    if not languages:
        yield
        return
    before = os.environ.get(LANGUAGE_VARIABLE)
    with speaking(languages[-1]):
        os.environ[LANGUAGE_VARIABLE] = wanted_language()
        try:
            yield
        finally:
            if before is None:
                del os.environ[LANGUAGE_VARIABLE]
            else:
                os.environ[LANGUAGE_VARIABLE] = before


def _run_with(manager: PluginManager, rest: Sequence[str]) -> int:
    if not rest or rest[0] in ("-h", "--help"):
        print(_overview(manager))
        return EXIT_OK
    if rest[0] in ("-V", "--version"):
        from e2lm import __version__

        print(f"e2lm {__version__}")
        return EXIT_OK
    name, *own = rest
    if name == "help":
        return _run_with(manager, [*own, "--help"])
    if name.startswith("-"):
        raise UserError(f"unknown option {name!r} before the command; see e2lm --help")
    command = _command(name, manager)
    try:
        return _run(command, own)
    except BrokenPipeError:
        raise
    except (Exception, SystemExit) as error:
        record = None if isinstance(error, UserError) else failed_plugin(error, manager.records)
        if record is None or (isinstance(error, SystemExit) and record is _owner(name, manager)):
            raise
        raise PluginFailureError(record, error) from error


def _owner(name: str, manager: PluginManager) -> PluginRecord | None:
    """The plugin that brought the command: it may end it as it likes."""
    claims = manager.registered("e2lm_register_commands", Command).get(name, [])
    return claims[0].plugin if claims else None


def _run(command: Command, arguments: list[str]) -> int:
    parsed = argparse.Namespace(rest=arguments) if command.takes_rest else command.parser().parse_args(arguments)
    found = command.run(parsed)
    return found.show(parsed) if isinstance(found, Answer) else found


#: Options that may stand before the command or anywhere in it, up to ``--``, and what is missing where they end.
EVERYWHERE = {"--plugin": "the path of a Python file", "--lang": "the tag of a language, such as ja"}


def _taken(arguments: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    """The values of the options of :data:`EVERYWHERE`, and what is left of the line."""
    found: dict[str, list[str]] = {option: [] for option in EVERYWHERE}
    rest: list[str] = []
    position = 0
    while position < len(arguments):
        option, equals, value = arguments[position].partition("=")
        if arguments[position] == "--":
            return found, rest + arguments[position:]
        if option not in EVERYWHERE:
            rest.append(arguments[position])
        elif equals:
            found[option].append(value)
        elif position + 1 == len(arguments):
            raise UserError(f"{option}: {EVERYWHERE[option]} is missing")
        else:
            position += 1
            found[option].append(arguments[position])
        position += 1
    return found, rest


def _own_commands() -> list[Command]:
    from e2lm._core.plugins_command import PLUGINS_COMMAND

    return [completion.COMPLETION_COMMAND, PLUGINS_COMMAND]


def _command(name: str, manager: PluginManager) -> Command:
    own = {command.name: command for command in _own_commands()}
    if name in own:
        return own[name]
    registered = manager.registered("e2lm_register_commands", Command)
    if name not in registered:
        failed = [record for record in manager.records if record.status == "failed"]
        hint = f" Failed plugins: {', '.join(record.name for record in failed)} (e2lm plugins list)." if failed else ""
        nearest = nearest_names(name, ["help", *own, *registered])
        raise UserError(f"unknown command {name!r}. {nearest}{hint}")
    found: Command = manager.find("e2lm_register_commands", Command, name, "command")
    return found


def _unclaimed_commands(manager: PluginManager) -> dict[str, Command]:
    """Every command that one plugin alone brings, by name."""
    registered = manager.registered("e2lm_register_commands", Command)
    found = {name: claims[0].item for name, claims in registered.items() if len(claims) == 1}
    return {**found, **{command.name: command for command in _own_commands()}}


def _overview(manager: PluginManager) -> str:
    registered = manager.registered("e2lm_register_commands", Command)
    commands = {command.name: command.help for command in _own_commands()}
    for name, claims in registered.items():
        commands[name] = claims[0].item.help if len(claims) == 1 else "(claimed by two plugins: see e2lm plugins list)"
    width = max(len(name) for name in commands)
    lines = [f"  {name:<{width}}  {commands[name]}" for name in sorted(commands)]
    return "\n".join(
        [
            "usage: e2lm [--plugin FILE.py] [--lang ja] COMMAND ...",
            "",
            "Which of these runs, recipes or benchmarks will win, and how early can one know it?",
            "",
            *lines,
            "",
            "e2lm help COMMAND tells more about one.",
        ]
    )
