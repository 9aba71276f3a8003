"""The list of changes that are planted, kept in ``drawn.toml``: drawn by seed, so many per package."""

from __future__ import annotations

import ast
import json
import random
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.mutants.changes import Change, changes, numeric_types, places, planted

LIST = Path(__file__).with_name("drawn.toml")

#: Package -> its folder, and how many changes are drawn.
PACKAGES = {
    "e2lm": ("plugins", 16),
    "e2lm_adapters": ("adapters", 18),
    "e2lm_curriculum": ("plugins", 30),
    "e2lm_demo": ("plugins", 8),
    "e2lm_leaderboard": ("leaderboard", 18),
    "e2lm_merge": ("plugins", 34),
    "e2lm_scaling": ("plugins", 40),
    "e2lm_signal": ("plugins", 36),
    "e2lm_tasks": (".", 12),
}

#: Needs vLLM, which only `make test-vllm` has.
NOT_HERE = ("adapters/e2lm_adapters/vllm/",)

#: How often a kind is drawn beside the others.
WEIGHTS = {
    "operator": 4,
    "constant": 4,
    "comparison": 3,
    "function": 2,
    "off by one": 2,
    "quantile": 2,
    "sign": 2,
    "axis": 1,
    "ddof": 1,
}
A_FUNCTION = 2

#: The fields of a change that are texts, in the order in which they are listed.
TEXTS = ("file", "where", "kind", "line", "changed")

HEAD = """\
# One-line changes in formulas, drawn by `python -m tests.mutants draw`; `make mutants` plants each and fails if none of
# the tests under `notice` does (the first one did when the list was last recorded). A change that no test can notice
# says why under `equivalent`, and is not planted.
"""


@dataclass(frozen=True)
class Mutant:
    """A change, the tests that should notice it (likeliest first), and why none can where that is so."""

    change: Change
    notice: tuple[str, ...] = field(default=())
    equivalent: str = ""

    @property
    def name(self) -> str:
        """The name of the change."""
        return self.change.name


def read(file: Path = LIST) -> list[Mutant]:
    """The mutants of a list, in its order."""
    entries = tomllib.loads(file.read_text(encoding="utf-8")).get("mutant", []) if file.exists() else []
    return [
        Mutant(
            Change(**{key: entry[key] for key in (*TEXTS, "place") if key in entry}),
            tuple(entry.get("notice", ())),
            entry.get("equivalent", ""),
        )
        for entry in entries
    ]


def write(mutants: Iterable[Mutant], file: Path = LIST) -> None:
    """The list as it is read again, by package and file."""
    ordered = sorted(mutants, key=lambda one: (one.change.package, one.change.file, one.change.where, one.name))
    file.write_text(HEAD + "".join(map(_entry, ordered)), encoding="utf-8")


def _entry(mutant: Mutant) -> str:
    change = mutant.change
    lines = ["", "[[mutant]]", f"# {mutant.name}"]
    lines += [f"{key} = {_text(getattr(change, key))}" for key in TEXTS]
    lines += [f"place = {change.place}"] if change.place else []
    lines += [f"equivalent = {_text(mutant.equivalent)}"] if mutant.equivalent else []
    lines += ["notice = [", *(f"    {_text(test)}," for test in mutant.notice), "]"] if mutant.notice else []
    return "\n".join(lines) + "\n"


def _text(value: str) -> str:
    """A TOML string, literal where it can be, as code is full of quotation marks."""
    return json.dumps(value, ensure_ascii=False) if "'" in value else f"'{value}'"


def sources(root: Path) -> dict[str, str]:
    """Path below the root and text of every file from which changes are drawn."""
    return {
        str(file.relative_to(root)): file.read_text(encoding="utf-8")
        for package, (folder, _) in PACKAGES.items()
        for file in sorted((root / folder / package).rglob("*.py"))
    }


def drawable(root: Path) -> list[Change]:
    """Every change of the tree that could be planted here."""
    texts = sources(root)
    numeric = numeric_types(texts)
    return [
        change
        for file, text in texts.items()
        if not file.startswith(NOT_HERE)
        for change in changes(file, text, numeric)
    ]


def drawn(pool: Sequence[Change], kept: Sequence[Mutant], texts: dict[str, str], seed: int) -> list[Mutant]:
    """The kept mutants, and new ones until each package has its number.

    Kinds are drawn by weight, then a change of that kind; a line is changed once, a function twice at most.
    """
    found = list(kept)
    for package, (_, wanted) in PACKAGES.items():
        rng = random.Random(f"{seed}/{package}/{len(found)}")
        there = [change for change in pool if change.package == package]
        while sum(one.change.package == package and not one.equivalent for one in found) < wanted:
            left = [change for change in there if _is_free(change, found)]
            kinds = sorted({change.kind for change in left})
            if not kinds:
                break
            (kind,) = rng.choices(kinds, [WEIGHTS[kind] for kind in kinds])
            change = rng.choice([one for one in left if one.kind == kind])
            if _parses(texts[change.file], change):
                found.append(Mutant(change))
            else:
                there.remove(change)
    return found


def _is_free(change: Change, found: Sequence[Mutant]) -> bool:
    same = [one.change for one in found if (one.change.file, one.change.where) == (change.file, change.where)]
    return len(same) < A_FUNCTION and all(one.line != change.line for one in same)


def _parses(source: str, change: Change) -> bool:
    try:
        ast.parse(planted(source, change))
    except SyntaxError:
        return False
    return True


def stale(mutants: Iterable[Mutant], root: Path) -> list[Mutant]:
    """Those whose line is no longer where it was."""
    return [one for one in mutants if not _is_there(one.change, root)]


def _is_there(change: Change, root: Path) -> bool:
    try:
        planted((root / change.file).read_text(encoding="utf-8"), change)
    except (LookupError, OSError):
        return False
    return True


def moved(mutant: Mutant, pool: Sequence[Change]) -> Mutant | None:
    """The same change where its function stands now, if that is one place and no other."""
    last = mutant.change.where.rpartition(".")[2]
    there = [
        change
        for change in pool
        if (change.line, change.changed, change.where.rpartition(".")[2])
        == (mutant.change.line, mutant.change.changed, last)
    ]
    return replace(mutant, change=there[0]) if len(there) == 1 else None


def redrawn(mutants: Sequence[Mutant], gone: Sequence[Mutant], root: Path, seed: int) -> list[Mutant]:
    """The list without those that are gone: found again where they moved to, otherwise others in their place."""
    pool, texts = drawable(root), sources(root)
    kept = [one for one in mutants if one not in gone]
    known = {one.name for one in kept}
    again = [one for one in (moved(mutant, pool) for mutant in gone) if one is not None and one.name not in known]
    return drawn(pool, [*kept, *again], texts, seed)


def counts(mutants: Iterable[Mutant]) -> Counter[str]:
    """How many are planted in each package."""
    return Counter(one.change.package for one in mutants if not one.equivalent)


def mentions(texts: dict[str, str], change: Change) -> set[str]:
    """``file::function`` of whatever a change is in or, for a constant or a field, of every function that names it."""
    own = f"{change.file}::{change.where}"
    for where, node in places(ast.parse(texts[change.file])):
        if where == change.where and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return {own}
    name = change.where.rpartition(".")[2]
    return {
        f"{file}::{where}"
        for file, text in texts.items()
        if f"/{change.package}/" in f"/{file}" and name in text
        for where, node in places(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and name in ast.unparse(node)
    }
