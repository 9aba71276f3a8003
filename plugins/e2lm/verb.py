"""What one can do with e2lm from Python: functions that plugins answer, imported when they are called."""

from __future__ import annotations

import ast
import keyword
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from e2lm.errors import E2LMError, one_line
from e2lm.kind import checked_name, checked_target, imported

if TYPE_CHECKING:
    import pandas as pd

    from e2lm.scores import Scores

    #: What a verb reads results from: a path of whatever its command reads, a table, or Scores at hand.
    Data = str | PathLike[str] | Scores | pd.DataFrame

#: The public name of e2lm that a verb could have; the others have capitals, or are modules.
TAKEN = "hookimpl"


def checked_verb_name(name: str) -> str:
    """``name`` itself if a verb may have it, else an :class:`E2LMError`.

    >>> checked_verb_name("evaluate")
    'evaluate'
    """
    checked_name(name, "verb")
    if not name.isidentifier() or keyword.iskeyword(name) or keyword.issoftkeyword(name):
        raise E2LMError(f"verb name {name!r} is not allowed: it must be a name of Python, like 'evaluate'")
    if name == TAKEN or find_spec(f"e2lm.{name}") is not None:
        raise E2LMError(f"verb name {name!r} is not allowed: e2lm.{name} is there already")
    return name


@dataclass(frozen=True, slots=True)
class Verb:
    """``name(...)`` from Python: calling the verb calls ``target``, ``"module:function"``, imported on the first call.

    ``signature`` is what whoever lists the verbs sees without that import: ``"(runs, tasks, *, out=None)"``, with the
    names of the function's own parameters. ``name`` is a name of Python that e2lm itself does not use.
    """

    name: str
    signature: str
    description: str
    target: str

    def __post_init__(self) -> None:
        checked_verb_name(self.name)
        checked_target(self.target, f"verb {self.name!r}")
        self._arguments()

    def _arguments(self) -> ast.arguments:
        try:
            tree = ast.parse(f"def verb{self.signature}: ...")
            compile(tree, self.name, "exec")  # notices one name twice
            (function,) = tree.body
        except (SyntaxError, ValueError) as error:
            raise E2LMError(
                f"verb {self.name!r}: {self.signature!r} is no signature; write it as in a definition: '(runs, *, out)'"
            ) from error
        assert isinstance(function, ast.FunctionDef)
        return function.args

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters in the order of ``signature``, a starred one with its stars.

        >>> Verb("fit", "(table, *laws, at=None, **options)", "Fit.", "math:fsum").parameters
        ('table', '*laws', 'at', '**options')
        """
        found = self._arguments()
        names = [one.arg for one in (*found.posonlyargs, *found.args)]
        names += [f"*{found.vararg.arg}"] if found.vararg else []
        names += [one.arg for one in found.kwonlyargs]
        names += [f"**{found.kwarg.arg}"] if found.kwarg else []
        return tuple(names)

    def __call__(self, *positional: Any, **named: Any) -> Any:
        """What ``target`` returns; an :class:`E2LMError` that names the verb where the target cannot be imported."""
        try:
            function = imported(self.target, f"verb {self.name!r}")
        except ImportError as error:
            raise E2LMError(
                f"verb {self.name!r}: {self.target} cannot be imported: {one_line(error)}; install what is missing, or "
                "see e2lm plugins list for the plugin that brought it"
            ) from error
        return function(*positional, **named)


@contextmanager
def path_of(data: Data) -> Iterator[Path]:
    """Where a command finds ``data``: the path that it is, or a copy of what is at hand, which goes with the context.

    >>> with path_of("runs/scores.csv") as path:
    ...     print(path.as_posix())
    runs/scores.csv
    """
    if isinstance(data, str | PathLike):
        yield Path(data)
        return
    from e2lm.scores import Scores

    with TemporaryDirectory() as name:
        if isinstance(data, Scores):
            data.write(Path(name))
            yield Path(name)
        else:
            data.to_parquet(Path(name) / "table.parquet")
            yield Path(name) / "table.parquet"
