"""A sub-command of ``e2lm`` that a plugin brings, and the one parser of every command and action.

A command may have *actions*: ``e2lm signal distil ...``. The first word names one; a file that is called like one is
given as ``./distil``. Only the action that was typed is configured and imported.
"""

from __future__ import annotations

import re
import sys
from argparse import SUPPRESS, ArgumentError, ArgumentParser, Namespace
from argparse import Action as Argument
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from textwrap import fill
from typing import Any, NoReturn, Self

from e2lm.answer import Answer
from e2lm.argument import Several
from e2lm.errors import UserError, nearest_names, one_line
from e2lm.kind import checked_name, imported

#: How alike a word is to an action for it to be a slip, where any other first word is a file's name: ``nosie``.
ALIKE = 0.75
HELP_WIDTH = 100


class CommandParser(ArgumentParser):
    """Arguments of a command or an action: a mistake is a :class:`e2lm.UserError` of one line, nothing is abbreviated.

    Below it are the actions of :meth:`add_actions`, if any; ``parse_args`` then answers for the one that was typed,
    with its name as ``action`` (``None`` for the default one).

    >>> parser = CommandParser(prog="e2lm work")
    >>> _ = parser.add_argument("--count", type=int)
    >>> parser.parse_args(["--cout", "1"])
    Traceback (most recent call last):
    ...
    e2lm.errors.UserError: e2lm work: unrecognized arguments: --cout 1. Did you mean '--count'? (see e2lm work --help)
    """

    def __init__(self, *positional: Any, **options: Any) -> None:
        options.setdefault("allow_abbrev", False)
        super().__init__(*positional, **options)
        self.actions: Mapping[str, Action] = {}
        #: Listed in the help of this parser, which is that of the default one among them.
        self._shown: Mapping[str, Action] = {}
        self._default: Action | None = None
        self._words: Sequence[str] = ()

    def add_actions(self, actions: Mapping[str, Action], default: Action | None = None) -> None:
        """Let the first word choose one of ``actions``; any other first word belongs to ``default``, if given."""
        self.actions = actions
        self._default = default

    @property
    def has_default(self) -> bool:
        """Whether a first word that is no action belongs to one of them."""
        return self._default is not None

    def action_parser(self, name: str | None) -> CommandParser:
        """The parser of the action ``name``, ``None`` for the default one."""
        action = self.actions[name] if name is not None else self._default
        assert action is not None
        prog = self.prog if name is None else f"{self.prog} {name}"
        parser = CommandParser(prog=prog, description=action.help)
        parser._shown = self.actions if name is None else {}
        action.called(action.configure)(parser)
        parser.set_defaults(action=name)
        return parser

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """The arguments; ``SystemExit(0)`` after ``--help``, and a :class:`e2lm.UserError` for a mistake."""
        words = list(sys.argv[1:] if args is None else args)
        if not self.actions:
            return self._parsed(words, namespace)
        name = self._typed_action(words)
        return self.action_parser(name).parse_args(words if name is None else words[1:], namespace)

    def _parsed(self, words: list[str], namespace: Any) -> Any:
        """The arguments, where a list that may end at a space or go on after it is read as makes sense of the line."""
        lists = [one for one in self._actions if isinstance(one, Several) and one.option_strings]
        declared = [one.nargs for one in lists]
        mistake: UserError | None = None
        for nargs in (declared, ["+"] * len(lists), [None] * len(lists)):
            for one, way in zip(lists, nargs, strict=True):
                one.nargs = way
            try:
                return super().parse_args(words, None if namespace is None else Namespace(**vars(namespace)))
            except UserError as error:
                mistake = mistake or error
            finally:
                for one, way in zip(lists, declared, strict=True):
                    one.nargs = way
            if not lists:
                break
        assert mistake is not None
        raise mistake

    def given(self, values: Mapping[str, Any]) -> Namespace:
        """What :meth:`parse_args` would give for ``values``, by the names of the arguments, ``_`` for ``-``.

        Text, numbers and paths are looked at as if they had been typed; other objects are taken as they are. A list
        stands for an argument that takes several. None is the default. Raises as :meth:`parse_args` does.

        >>> parser = CommandParser(prog="e2lm work")
        >>> _ = parser.add_argument("--early-tokens", type=float, nargs="+")
        >>> parser.given({"early_tokens": 2e9}).early_tokens
        [2000000000.0]
        """
        known = {one.dest: one for one in self._actions if one.default is not SUPPRESS}
        values = {name: value for name, value in values.items() if value is not None}
        for name in values:
            if name not in known:
                raise UserError(f"{self.prog}: there is no {name!r} here. {nearest_names(name, known)}")
        missing = [name for name, one in known.items() if one.required and name not in values]
        groups = [[one.dest for one in group._group_actions] for group in self._mutually_exclusive_groups]
        missing += ["|".join(one) for one, group in zip(groups, self._mutually_exclusive_groups, strict=True)
                    if group.required and not set(one) & values.keys()]  # fmt: skip
        if missing:
            raise UserError(f"{self.prog}: these are missing: {', '.join(missing)}")
        for names in groups:
            if len(set(names) & values.keys()) > 1:
                raise UserError(f"{self.prog}: give one of {', '.join(names)}")
        found = {name: one.default for name, one in known.items()} | self._defaults
        found |= {name: self._given(known[name], value) for name, value in values.items()}
        texts = ((name, one) for name, one in known.items() if isinstance(found[name], str) and name not in values)
        found |= {name: self._get_value(one, found[name]) for name, one in texts}
        return Namespace(**found)

    def _given(self, argument: Argument, value: Any) -> Any:
        """``value`` as ``argument`` has it after its words were read."""
        if argument.nargs == 0:
            return argument.const if value is True else argument.default if value is False else value
        takes_many = argument.nargs in ("+", "*") or isinstance(argument.nargs, int) or _collects(argument)
        if not takes_many:
            return self._looked_at(argument, value)
        one = isinstance(value, str | int | float | Path) or not isinstance(value, Iterable)
        found = [self._looked_at(argument, item) for item in ([value] if one else value)]
        if not isinstance(argument, Several):
            return found
        return argument.value([item for part in found for item in (part if isinstance(part, list) else [part])])

    def _looked_at(self, argument: Argument, value: Any) -> Any:
        if not isinstance(value, str | int | float | Path):
            return value
        try:
            found = self._get_value(argument, str(value))
            self._check_value(argument, found)
        except ArgumentError as error:
            self.error(str(error))
        return found

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse has it; what was typed is kept for the hint in a mistake."""
        self._words = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(self._words, namespace)

    def error(self, message: str) -> NoReturn:
        """A :class:`e2lm.UserError` with the nearest name of each option that there is not."""
        hints = " ".join(nearest_names(*slip) for slip in self._mistyped_options())
        raise UserError(f"{self.prog}: {one_line(message)}{'. ' if hints else ''}{hints} (see {self.prog} --help)")

    def format_help(self) -> str:
        """What argparse says, and a line for each action that may be typed."""
        if self._shown:
            return f"{super().format_help()}\nother forms:\n{self._listed(self._shown)}"
        if not self.actions:
            return super().format_help()
        return f"usage: {self.prog} ACTION ...\n\n{self.description or ''}\n\n{self._listed(self.actions)}"

    def _listed(self, actions: Mapping[str, Action]) -> str:
        width = max(map(len, actions))
        lines = [
            fill(one.help, HELP_WIDTH, initial_indent=f"  {name:<{width}}  ", subsequent_indent=" " * (width + 4))
            for name, one in actions.items()
        ]
        return "\n".join([*lines, "", f"{self.prog} ACTION --help tells more about one.", ""])

    def _mistyped_options(self) -> Iterator[tuple[str, list[str]]]:
        known = list(self._option_string_actions)
        until = self._words.index("--") if "--" in self._words else len(self._words)
        for word in self._words[:until]:
            name = word.partition("=")[0]
            if name.startswith("--") and name not in known:
                close = get_close_matches(name, known, n=1)
                if close:
                    yield name, close

    def _typed_action(self, words: Sequence[str]) -> str | None:
        word = words[0] if words else None
        if word in self.actions:
            return word
        if self._default is not None:
            if word is not None and self._is_slip(word):
                raise self._unknown(word, " and no file")
            return None
        if word in ("-h", "--help"):
            self.print_help()
            self.exit()
        if word is None or word.startswith("-"):
            place = "" if word is None else f", before {word}"
            self.error(f"the following arguments are required: action ({', '.join(self.actions)}){place}")
        raise self._unknown(word, "")

    def _is_slip(self, word: str) -> bool:
        """Whether ``word`` is nearly an action and neither a path nor a file, and so surely meant as the action."""
        is_word = re.fullmatch(r"\w[\w-]*", word) is not None and not Path(word).exists()
        return is_word and bool(get_close_matches(word, self.actions, n=1, cutoff=ALIKE))

    def _unknown(self, word: str, more: str) -> UserError:
        return UserError(
            f"{self.prog}: unknown action {word!r}{more}. {nearest_names(word, self.actions)} (see {self.prog} --help)"
        )


def _collects(argument: Argument) -> bool:
    """Whether an option may be typed again and again."""
    return isinstance(argument, Several) or type(argument).__name__ in ("_AppendAction", "_ExtendAction")


@dataclass(frozen=True, slots=True)
class Action:
    """What one word of a command does: ``configure`` adds its arguments, ``run`` does the work.

    Each is a function, or ``"module:function"``, which is imported when it is needed. ``run`` gives the exit code, or
    an :class:`e2lm.answer.Answer`, which the command shows and a verb returns.
    """

    help: str
    configure: Callable[[CommandParser], None] | str
    run: Callable[[Namespace], int | Answer] | str

    @staticmethod
    def called(function: Callable[..., Any] | str) -> Callable[..., Any]:
        """``function`` itself, or what it names."""
        return imported(function, "action") if isinstance(function, str) else function


@dataclass(frozen=True, slots=True)
class Command:
    """``e2lm NAME ...``: ``configure`` adds the arguments, ``run`` does the work and returns the exit code.

    ``configure`` is called only when this command was typed, so it must be cheap but need not be instant; heavy
    imports belong into ``run``. ``run`` reports mistakes of the user by raising :class:`e2lm.UserError`. It may return
    an :class:`e2lm.answer.Answer` instead of an exit code: the command shows it, and a verb can return it.
    A command with ``takes_rest=True`` gets every argument after its name, unparsed, as ``arguments.rest``.
    """

    name: str
    help: str
    configure: Callable[[CommandParser], None]
    run: Callable[[Namespace], int | Answer]
    takes_rest: bool = False

    def __post_init__(self) -> None:
        checked_name(self.name, "command")

    @classmethod
    def with_actions(cls, name: str, help: str, actions: Mapping[str, Action], default: Action | None = None) -> Self:
        """A command whose first word names one of ``actions``; any other first word belongs to ``default``, if given.

        >>> hello = Action("Say hello.", lambda parser: None, lambda arguments: print("hello") or 0)
        >>> command = Command.with_actions("greet", "Greetings.", {"hello": hello})
        >>> parser = CommandParser(prog="e2lm greet")
        >>> command.configure(parser)
        >>> command.run(parser.parse_args(["hello"]))
        hello
        0
        """

        def configure(parser: CommandParser) -> None:
            parser.add_actions(actions, default)

        def run(arguments: Namespace) -> int | Answer:
            action = default if arguments.action is None else actions[arguments.action]
            assert action is not None
            found = action.called(action.run)(arguments)
            return found if isinstance(found, Answer) else int(found)

        return cls(name, help, configure, run)

    def answer(self, values: Mapping[str, Any], action: str | None = None) -> Answer:
        """What the command, or one of its actions, finds for ``values`` (:meth:`CommandParser.given`): a verb's work.

        >>> from e2lm.answer import Answer
        >>> double = lambda arguments: Answer(2 * arguments.number, lambda: "twice as much")
        >>> command = Command("double", "Twice.", lambda parser: parser.add_argument("number", type=int), double)
        >>> command.answer({"number": 4}).json()
        8
        """
        parser = self.parser()
        own = parser.action_parser(action) if parser.actions else parser
        found = self.run(own.given(values))
        if not isinstance(found, Answer):
            raise TypeError(f"{own.prog} gives an exit code and no answer")
        return found

    def parser(self) -> CommandParser:
        """The parser of ``e2lm NAME``, configured."""
        parser = CommandParser(prog=f"e2lm {self.name}", description=self.help)
        self.configure(parser)
        return parser
