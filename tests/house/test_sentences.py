"""What people read in reports and pages stands in catalogues, whole: no sentence beside them, no key that is not known,
no value that is not given, nothing that nobody says; and one shell holds every page.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path

import pytest

from e2lm.messages import Catalogue
from tests.house.test_import_rules import package_folders

#: Who imports from these, or from a catalogue, writes what people read in a report or page.
PAGE_MODULES = frozenset({"e2lm.page", "e2lm.chart"})
CATALOGUE = "messages"
#: Which language, and how wide: for every command.
ABOUT_LANGUAGE = {"LANGUAGE_VARIABLE", "speaking", "wanted_language", "filled", "width"}
#: So many words are a sentence.
SENTENCE_WORDS = 3
WORD = re.compile(r"[^\W\d_]{2,}")
#: Calls whose texts are for a terminal: what a command takes, and what went wrong.
TERMINAL_CALLS = re.compile(r"(Error|Exception|parser_argument|Command|Parser|Action|plot_arguments|^add_\w+|^print)$")
#: Calls whose every word is read on a page.
PAGE_CALLS = frozenset({"Chart", "Line", "Mark", "Page", "section", "note", "strong", "table", "drawing", "document"})
#: Styles, attributes and colours.
CODE = re.compile(r"""\w="|^#[0-9a-f]{6}$|[:;] ?\}|\brotate\(""")
#: Literals of three words in modules of pages that are no sentence of a page.
OTHERS = {
    "e2lm train compare": "the name of a command",
    "no baseline, no claim": "a verdict that programs compare",
    "no detectable difference": "a verdict that programs compare",
    "the data cannot tell them apart": "a verdict that programs compare",
    "per measure and arm: the smallest true difference seen in at least 80 of 100 such experiments": "of --json",
    "FILE.html or FILE.png": "of --help",
    "it follows single runs (predict curve) and has no fit": "of an error",
    "it declares no end_of_run": "of an error",
    "it does not declare that its intervals may be sent through a link (translates)": "of an error",
    "; difference of matched runs, its error added in squares": "the method of a Forecast, as every predictor says it",
    "not computed: it was scored before the season asked": "the reason of a ScoredValue, as every score says it",
}
#: Attributes that are read aloud or shown.
READ_ATTRIBUTES = frozenset({"aria-label", "alt", "title", "placeholder"})
MARKUP = re.compile(r"</?[a-z][^>]*>")


@cache
def parsed(root: Path) -> dict[Path, ast.Module]:
    """Every Python file of our packages."""
    files = [file for folder in package_folders(root).values() for file in sorted(folder.rglob("*.py"))]
    return {file: ast.parse(file.read_text(encoding="utf-8")) for file in files}


def writes_pages(tree: ast.Module) -> bool:
    """Whether the module makes pages or charts, or says what others put there."""
    imported = {
        node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and not {one.name for one in node.names} <= ABOUT_LANGUAGE
    }
    return any(name in PAGE_MODULES or name.endswith(f".{CATALOGUE}") for name in imported)


def called(node: ast.AST) -> str:
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def literal(node: ast.AST) -> str | None:
    """The text of a literal, fields left out."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def sentences(tree: ast.AST, least: int = SENTENCE_WORDS) -> Iterator[tuple[int, str]]:
    """Line and text of every literal of so many words (one, in a call that makes a part of a page) that is neither
    documentation nor code nor for a terminal.
    """
    for node in ast.iter_child_nodes(tree):
        text = literal(node)
        if isinstance(node, ast.Expr) and literal(node.value) is not None:
            continue
        if isinstance(node, ast.Raise) or TERMINAL_CALLS.search(called(node)):
            continue
        if text is None:
            passed_on = least if isinstance(node, ast.keyword | ast.IfExp | ast.List | ast.Tuple) else SENTENCE_WORDS
            yield from sentences(node, 1 if called(node) in PAGE_CALLS else passed_on)
        elif least > 1 and " " not in text:
            continue  # a name
        elif len(WORD.findall(MARKUP.sub(" ", text))) >= least and not CODE.search(text):
            yield getattr(node, "lineno", 0), text


def test_no_sentence_of_a_page_stands_outside_a_catalogue(repository: Path) -> None:
    modules = {file: tree for file, tree in parsed(repository).items() if writes_pages(tree) and file.stem != CATALOGUE}
    assert len(modules) > 15
    found = {
        f"{file.relative_to(repository)}:{line}: {text[:70]!r}": text
        for file, tree in modules.items()
        for line, text in sentences(tree)
        if not text.startswith("e2lm ")
    }
    assert [place for place, text in found.items() if text not in OTHERS] == []
    assert {text for text in OTHERS if not text.startswith("e2lm ")} - set(found.values()) == set()


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ('text = "three words here"', 1),
        ('text = f"three {x} words {y} here"', 1),
        ('text = "<p class=soft>three words here</p>"', 1),
        ('text = "two words"', 0),
        ('Chart("title", x, say("y"))', 1),
        ('figures([Line(label="loss", x=x)])', 1),
        ('def f():\n    """Three words here."""', 0),
        ('raise UserError("three words here")', 0),
        ('parser.add_argument("--x", help="three words here")', 0),
        ('style = "a b c { color: red; }"', 0),
    ],
)
def test_a_sentence_is_found_wherever_it_stands(code: str, count: int) -> None:
    assert len(list(sentences(ast.parse(code)))) == count


# -- what is said ---------------------------------------------------------------------------------------------------


@dataclass
class Said:
    """One use of a catalogue: ``say("key", name=...)``, ``say.html(...)`` or ``say.word("family", ...)``."""

    place: str
    kind: str
    keys: list[str]
    names: set[str] | None


def catalogues(root: Path) -> dict[str, Catalogue]:
    """Of every package that has one."""
    found = {
        name: import_module(f"{name}.{CATALOGUE}").say
        for name, folder in package_folders(root).items()
        if (folder / f"{CATALOGUE}.py").is_file()
    }
    assert all(isinstance(one, Catalogue) and one.package == name for name, one in found.items())
    return found


def said_in(tree: ast.AST, place: str) -> Iterator[Said]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        if isinstance(function, ast.Name) and function.id == "say":
            kind = "text"
        elif (
            isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id == "say"
        ):
            kind = function.attr
        else:
            continue
        first = node.args[0]
        either = [first.body, first.orelse] if isinstance(first, ast.IfExp) else [first]
        keys = [one.value for one in either if isinstance(one, ast.Constant) and isinstance(one.value, str)]
        known = all(keyword.arg for keyword in node.keywords)  # no **values
        names = {str(keyword.arg) for keyword in node.keywords} if known else None
        yield Said(f"{place}:{node.lineno}", kind, keys, names)


def said_in_template(file: Path, place: str) -> Iterator[Said]:
    """The expressions of a template are Python's where they say something."""
    for call in re.findall(r"say(?:\.\w+)?\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)", file.read_text(encoding="utf-8")):
        yield from said_in(ast.parse(re.sub(r"\bnone\b", "None", call), mode="eval"), place)


def uses(root: Path, package: str) -> list[Said]:
    folder = package_folders(root)[package]
    found = [
        one
        for file, tree in parsed(root).items()
        if file.is_relative_to(folder)
        for one in said_in(tree, str(file.relative_to(root)))
    ]
    for file in sorted(folder.rglob("*.html")):
        found += said_in_template(file, str(file.relative_to(root)))
    return found


def test_every_package_with_pages_has_a_catalogue(repository: Path) -> None:
    assert {"e2lm", "e2lm_curriculum", "e2lm_demo", "e2lm_leaderboard", "e2lm_scaling", "e2lm_signal"} <= set(
        catalogues(repository)
    )


def test_what_is_said_is_known_and_has_its_values(repository: Path) -> None:
    wrong = []
    for package, catalogue in catalogues(repository).items():
        for one in uses(repository, package):
            for key in one.keys:
                if one.kind == "word":
                    if not any(known.startswith(f"{key}.") for known in catalogue.fields):
                        wrong.append(f"{one.place}: no family {key!r}")
                    continue
                if key not in catalogue.fields:
                    wrong.append(f"{one.place}: no message {key!r}")
                elif one.names is not None and one.names != catalogue.fields[key]:
                    wrong.append(f"{one.place}: {key!r} takes {sorted(catalogue.fields[key])}, not {sorted(one.names)}")
                elif (one.kind == "html") != bool(MARKUP.search(catalogue.english[key])):
                    wrong.append(f"{one.place}: {key!r} holds markup and is said as text, or the other way round")
    assert wrong == []


def test_every_message_is_said_somewhere(repository: Path) -> None:
    unsaid = []
    for package, catalogue in catalogues(repository).items():
        folder = package_folders(repository)[package]
        sources = "\n".join(
            file.read_text(encoding="utf-8")
            for file in folder.rglob("*")
            if file.suffix in (".py", ".html") and (not file.name.startswith(CATALOGUE) or package == "e2lm")
        )
        families = {key for one in uses(repository, package) if one.kind == "word" for key in one.keys}
        unsaid += [
            f"{package}: {key}"
            for key in catalogue.fields
            if not re.search(rf"""["']{re.escape(key)}["']""", sources) and key.partition(".")[0] not in families
        ]
    assert unsaid == []


#: Japanese letters.
JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")


def test_japanese_says_all_that_english_says_with_every_value(repository: Path) -> None:
    silent = []
    for package, catalogue in catalogues(repository).items():
        for key, english in catalogue._said["en"].items():
            pieces = catalogue._said["ja"][key]
            if {name for _, name, _ in pieces if name} != catalogue.fields[key]:
                silent.append(f"{package}: {key}: a value is not said")
            words = WORD.findall("".join(text for text, _, _ in english))
            command = english[0][0].startswith("e2lm ")
            if len(words) > 1 and not command and not JAPANESE.search("".join(text for text, _, _ in pieces)):
                silent.append(f"{package}: {key}: not in Japanese")
    assert silent == []


# -- templates and the shell ----------------------------------------------------------------------------------------


@dataclass
class Words(HTMLParser):
    """Words of a template that stand in its text or in attributes that are read."""

    found: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in READ_ATTRIBUTES:
                self.found += WORD.findall(value or "")

    def handle_data(self, data: str) -> None:
        self.found += WORD.findall(data)


def words_of_template(text: str) -> list[str]:
    """Words outside of what the template computes."""
    words = Words()
    words.feed(re.sub(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", " ", text, flags=re.DOTALL))
    return words.found


def test_no_template_holds_a_word_of_its_own(repository: Path) -> None:
    templates = [file for folder in package_folders(repository).values() for file in folder.rglob("*.html")]
    assert len(templates) >= 6
    for file in templates:
        assert words_of_template(file.read_text(encoding="utf-8")) == [], file.name
    assert words_of_template('<p title="Two {{ x }}">{{ say("a") }} words</p>') == ["Two", "words"]


def test_one_shell_holds_every_page_and_every_page_says_its_language(repository: Path) -> None:
    shells, silent = [], []
    for folder in package_folders(repository).values():
        for file in folder.rglob("*"):
            if file.suffix in (".py", ".html", ".js", ".txt", ".toml"):
                text = file.read_text(encoding="utf-8")
                shells += [str(file.relative_to(repository))] * len(re.findall(r"(?i)<!doctype|<html", text))
    for file, tree in parsed(repository).items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and called(node) in ("Page", "document") and file.stem != "page":
                texts = ast.unparse(node)
                if "say.language" not in texts:
                    silent.append(f"{file.relative_to(repository)}:{node.lineno}")
    assert set(shells) == {"plugins/e2lm/page.py"}
    assert silent == []
