"""English prose that is on every machine that can run e2lm: the docstrings of installed scientific packages.

The files are read with ``ast``; nothing is imported. For given versions of the packages the text is always the same.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from e2lm.atomic_file import write_text
from e2lm.errors import UserError

#: Dependencies of e2lm with much prose in their docstrings; ``pydoc_data.topics`` is Python's own reference manual.
PACKAGES = ("numpy", "scipy", "sklearn", "pandas", "torch")
TOPICS_MODULE = "pydoc_data.topics"
#: Tests hold much code and little prose.
SKIPPED_FOLDERS = frozenset({"tests", "testing", "_inductor", "_vendor"})

MIN_PARAGRAPH_CHARS = 60
#: Share of letters, spaces and plain punctuation below which a paragraph is code, a table or a formula.
MIN_PROSE_SHARE = 0.92
#: Words that English prose is full of; a paragraph without any of them is a list of names.
FUNCTION_WORDS = frozenset(
    ("the", "a", "of", "to", "in", "is", "and", "for", "that", "be", "with", "as", "by", "are", "or", "this", "it")
)
MIN_FUNCTION_WORD_SHARE = 0.15

_NOT_PROSE = re.compile(r"[^A-Za-z ,.;:'\"()\-?!\n]")
_MARKUP = re.compile(r":[a-z:]+:`~?([^`]*)`|``?([^`]*)``?|\*\*([^*]*)\*\*")
_SKIPPED_LINE = re.compile(r"^\s*(>>>|\.\.\.|\.\. |:[a-z]+|[-=~^+|*]{3,}|\|)")


@dataclass(frozen=True, slots=True)
class CorpusFile:
    """One written text file."""

    path: Path
    chars: int
    paragraphs: int


def write_docstring_corpus(folder: Path, packages: Sequence[str] | None = None) -> list[CorpusFile]:
    """One file of prose per package (those of ``PACKAGES``), paragraphs seen before left out, whole or not."""
    seen: set[str] = set()
    written = []
    for name in (TOPICS_MODULE, *(PACKAGES if packages is None else packages)):
        paragraphs = []
        for text in _texts(name):
            for paragraph in prose_paragraphs(text):
                if paragraph not in seen:
                    seen.add(paragraph)
                    paragraphs.append(paragraph)
        if paragraphs:
            path = folder / f"{name}.txt"
            write_text(path, "\n\n".join(paragraphs) + "\n")
            written.append(CorpusFile(path, sum(map(len, paragraphs)), len(paragraphs)))
    if not written:
        raise UserError(f"none of {', '.join(PACKAGES)} is installed with its sources; give --corpus FILE instead")
    return written


def prose_paragraphs(text: str) -> Iterator[str]:
    """The paragraphs of a docstring that read as English, markup taken off, each on one line.

    >>> list(prose_paragraphs("The mean of ``x`` is the sum of all values of the array divided by their number."))
    ['The mean of x is the sum of all values of the array divided by their number.']
    """
    for block in re.split(r"\n\s*\n", text):
        lines = [line for line in block.splitlines() if not _SKIPPED_LINE.match(line)]
        if len(lines) < len(block.splitlines()):
            continue
        plain = _MARKUP.sub(lambda match: next(group for group in match.groups() if group is not None), block)
        paragraph = " ".join(plain.split())
        if _reads_as_prose(paragraph):
            yield paragraph


def _reads_as_prose(paragraph: str) -> bool:
    if len(paragraph) < MIN_PARAGRAPH_CHARS or paragraph[-1] not in ".!?:":
        return False
    if 1 - len(_NOT_PROSE.findall(paragraph)) / len(paragraph) < MIN_PROSE_SHARE:
        return False
    words = paragraph.lower().split()
    return sum(word in FUNCTION_WORDS for word in words) / len(words) >= MIN_FUNCTION_WORD_SHARE


def _texts(name: str) -> Iterator[str]:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        return
    origin = Path(spec.origin)
    if name == TOPICS_MODULE:
        yield from _strings_of(origin)
        return
    for file in sorted(origin.parent.rglob("*.py")):
        if not SKIPPED_FOLDERS.intersection(file.relative_to(origin.parent).parts):
            yield from _docstrings_of(file)


def _parsed(file: Path) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd escapes in the sources of others
            return ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return None  # templates and files for other Python versions


def _docstrings_of(file: Path) -> Iterator[str]:
    tree = _parsed(file)
    nodes: list[ast.AST] = [tree] if tree else []
    while nodes:
        node = nodes.pop(0)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring:
                yield docstring
            # Definitions inside if, try and with are rare; walking every expression would take most of the time.
            nodes += node.body


def _strings_of(file: Path) -> Iterator[str]:
    tree = _parsed(file)
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
