"""Which names files of a bundle may have: the same on every system, inside the bundle, and told apart by people."""

from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath

from e2lm_leaderboard.season_rules import BundleLimits

#: What a bundle is made of; anything else has no business there.
SUFFIXES = (".yaml", ".yml", ".jsonl", ".parquet", ".py", ".md", ".txt")
NAMES = ("LICENSE", "README")


def name_problem(name: str, limits: BundleLimits) -> str | None:
    """Why ``name`` is not allowed; None where it is.

    >>> name_problem("data/items.jsonl", BundleLimits())
    >>> name_problem("../items.jsonl", BundleLimits())
    "'..' leads out of the bundle"
    """
    return _text_problem(name, limits) or _path_problem(name, limits)


def _text_problem(name: str, limits: BundleLimits) -> str | None:
    try:
        size = len(name.encode("utf-8"))
    except UnicodeEncodeError:
        return "not UTF-8"
    problems = (
        (not 1 <= size <= limits.name_bytes, f"{size} bytes long, allowed are 1 to {limits.name_bytes}"),
        (not name.isprintable(), "characters that do not print"),
        (name != unicodedata.normalize("NFC", name), "characters that are not in composed form (NFC)"),
        ("\\" in name or ":" in name, "a backslash or colon, which some systems read as a path"),
        (name.startswith("/"), "an absolute path"),
    )
    return next((problem for is_so, problem in problems if is_so), None)


def _path_problem(name: str, limits: BundleLimits) -> str | None:
    parts = name.split("/")
    last = PurePosixPath(name)
    unknown = last.suffix not in SUFFIXES and last.name not in NAMES
    problems = (
        (".." in parts, "'..' leads out of the bundle"),
        (any(part in ("", ".") for part in parts), "empty or '.' parts"),
        (any(part != part.strip() or part.endswith(".") for part in parts), "a part with a space or dot at its end"),
        (len(parts) > limits.depth, f"{len(parts)} levels deep, allowed are {limits.depth}"),
        (
            any(part.startswith(".") for part in parts) or "__pycache__" in parts,
            "hidden files and caches do not belong into a bundle",
        ),
        (unknown, f"the kind of file is unknown; allowed are {', '.join((*SUFFIXES, *NAMES))}"),
    )
    return next((problem for is_so, problem in problems if is_so), None)


def twins(names: list[str]) -> list[tuple[str, str]]:
    """Pairs that a system which ignores case holds for one, and files that are also folders.

    >>> twins(["A.yaml", "a.yaml", "b.py", "b.py/c.py"])
    [('A.yaml', 'a.yaml'), ('b.py', 'b.py/c.py')]
    """
    seen: dict[str, str] = {}
    found = []
    for name in names:
        key = unicodedata.normalize("NFKC", name).casefold()
        if key in seen:
            found.append((seen[key], name))
        seen.setdefault(key, name)
    for key, name in list(seen.items()):
        for parent in PurePosixPath(key).parents:
            if str(parent) in seen:
                found.append((seen[str(parent)], name))
    return found
