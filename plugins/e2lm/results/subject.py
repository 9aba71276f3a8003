"""Which checkpoint of which run results are of: by the address of the model, else by names of files and folders around.

Addresses are paths or names on the Hub. That of a run is the one of its checkpoint without what tells the step.
"""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath

from e2lm.results.result import Reading
from e2lm.results.result_format import ResultFile
from e2lm.step_name import NamedCount, NamedStep, amount_of, count_of, step_at_start, step_in_path

PLAIN_READING = Reading()
#: ``--output_path NAME.json`` gives ``NAME_<date>.json`` from lm-eval 0.4.9 on.
NAMED_AND_DATED = re.compile(r".*_(\d{4}-\d\d-\d\dT[\d.-]+)")


@dataclass(frozen=True, slots=True)
class Subject:
    """The checkpoint that results are of; ``model`` is the address of its run, ``""`` where ``e2lm`` wrote the file.

    ``step`` is 0 where no name tells one for certain, and ``has_step`` false; ``count`` is what the name counts then,
    and ``counted`` series and address of the run that would count so.
    """

    series: str
    step: int
    tokens: float
    model: str
    has_step: bool = True
    revision: str = ""
    count: NamedCount | None = None
    counted: tuple[str, str] = ("", "")


def named_subject(
    place: str, inside: Sequence[str], file: Path, root: Path, reading: Reading = PLAIN_READING
) -> Subject:
    """What the model at ``place`` is; ``inside`` are its revision, sub-folder and file, as far as they are given."""
    plain = _by_address(place, tuple(inside)) or _by_names(place, inside, file, root)
    if not reading.step_pattern and not reading.series_pattern:
        return plain
    names = ("@".join([place, *inside]), _relative(file, root).as_posix())
    step, series = reading.step_in(*names), reading.series_in(*names)
    if step is not None:
        plain = replace(plain, step=step, has_step=True, revision="", count=None)
        if plain.model.endswith(f"/{plain.series}") and series is None:
            plain = _without_step(plain, reading)
    if series is not None:
        plain = replace(plain, series=series, model=series, revision="", count=None)
    return plain


def hub_subject(place: str, revision: object, file: ResultFile) -> Subject:
    """What the model at ``place`` is at ``revision``, as harnesses name both; none is the main branch."""
    inside = [] if revision in (None, "", "main") else [str(revision)]
    return named_subject(place, inside, file.path, file.root, file.reading)


def _without_step(subject: Subject, reading: Reading) -> Subject:
    """A model whose own name has the step in it: the series is what is left of the name, or the folder around it."""
    left = re.sub(reading.step_pattern, "", subject.series).strip("-_./=")
    parent = posixpath.dirname(subject.model)
    if left == subject.series:
        return subject
    model = posixpath.join(parent, left) if left else parent
    return replace(subject, series=left or PurePosixPath(parent).name or subject.series, model=model)


@lru_cache(4096)
def _by_address(place: str, inside: tuple[str, ...]) -> Subject | None:
    """The checkpoint by what the model's arguments say alone; several files are of one."""
    short, address = PurePosixPath(place).name, _normal(place)
    for text in inside:
        if (found := step_in_path(text)) is not None:
            others = "@".join(one for one in inside if one != text)
            series = f"{short}-{found[0]}" if found[0] else short
            return _subject(series, found[1], "@".join(filter(None, [address, found[0]])), others)
    if (found := step_in_path(place)) is not None and (series := found[0] or short):
        return _subject(series, found[1], _address_of_run(address, found[0]), "@".join(inside))
    return None


def _normal(place: str) -> str:
    return posixpath.normpath(place).removeprefix("./") if place else ""


def _by_names(place: str, inside: Sequence[str], file: Path, root: Path) -> Subject:
    """The checkpoint by the names around the file, where the model's arguments tell no step."""
    short, address, revision = PurePosixPath(place).name, _normal(place), "@".join(inside)
    if (around := _around(file, root)) is not None:
        name, named, folder = around
        return _subject(name or short or root.name, named, "@".join(filter(None, [address, folder])), revision)
    unnamed = Subject(short or root.name, 0, math.nan, address, has_step=False, revision=revision)
    return _with_count(unnamed, inside)


def _with_count(subject: Subject, inside: Sequence[str]) -> Subject:
    """``subject`` with what its revision, or else its own name, counts if not steps."""
    if inside:
        count, counted = count_of(inside[-1]) or amount_of(inside[-1]), (subject.series, subject.model)
    else:
        parent = posixpath.dirname(subject.model)
        count, counted = count_of(PurePosixPath(subject.model).name), (PurePosixPath(parent).name, parent)
    return subject if count is None or not counted[0] else replace(subject, count=count, counted=counted)


def _subject(series: str, named: NamedStep, model: str, revision: str) -> Subject:
    tokens = math.nan if named.tokens is None else float(named.tokens)
    return Subject(series or "series", named.step, tokens, model, revision=revision)


def _address_of_run(place: str, run: str) -> str:
    """The folder of the run whose checkpoint is at ``place``, without the names that tell the step.

    >>> [_address_of_run(*one) for one in (("/ck/a/step10", "a"), ("org/tiny-step10", "tiny"), ("a/step1/hf", "a"))]
    ['/ck/a', 'org/tiny', 'a']
    """
    parts = list(PurePosixPath(place).parts)
    while parts and step_in_path("/".join(parts)) is not None:
        parts.pop()
    above = PurePosixPath(*parts) if parts else PurePosixPath()
    return str(above if above.name == run else above / run)


def _relative(file: Path, root: Path) -> Path:
    return file.relative_to(root) if file.is_relative_to(root) else Path(file.parent.name) / file.name


def _around(file: Path, root: Path) -> tuple[str, NamedStep, str] | None:
    """What the name of the file says, else the nearest folder below ``root`` that says something, and its path."""
    dated = NAMED_AND_DATED.fullmatch(file.stem)
    own = file.stem[: dated.start(1)].rstrip("_").removesuffix("results").rstrip("_") if dated else file.stem
    folder = _relative(file, root).parent.as_posix()
    if (named := step_at_start(own)) is not None:
        return named.track, named, "/".join(filter(None, [folder.strip("."), named.track]))
    parts = folder.replace("__", "/").split("/")  # lm-eval writes runs/a/checkpoint-5 as runs__a__checkpoint-5
    paths = ("/".join(parts[:count]) for count in range(len(parts), 0, -1))
    for path in paths:
        if (found := step_in_path(path)) is not None:
            return found[0], found[1], _address_of_run(path, found[0])
    return None
