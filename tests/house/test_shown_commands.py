"""Every ``e2lm`` command that README and docs show is one that the command takes, and every link leads somewhere."""

from __future__ import annotations

import contextlib
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2lm import UserError
from e2lm.command import Command
from e2lm.command_line import EVERYWHERE, _command
from e2lm.plugin_manager import plugin_manager

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "e2lm_tasks").rglob("*.md")])
FENCE = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
#: In running text: from three words on, for ``e2lm eval`` alone names the command.
INLINE = re.compile(r"`(e2lm [a-z][a-z-]* [^`\n]*)`")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)|!\[[^\]]*\]\(([^)\s]+)\)")
HEREDOC_OR_PIPE = re.compile(r"\s*(?:[|<>;]|&&|2>).*$")


#: Fragments may leave arguments out and numbers to be filled in; what they do show must exist.
FAULTS_OF_FRAGMENTS = re.compile(r"unrecognized arguments|unknown (?:command|action)|invalid choice: '[a-z]")


def fenced_commands(text: str) -> Iterator[str]:
    for block in FENCE.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            line = line.strip().removeprefix("$ ")
            if line.startswith("e2lm ") and "$" not in line:
                yield HEREDOC_OR_PIPE.sub("", line.partition(" #")[0])


def fragments(text: str) -> Iterator[str]:
    for line in INLINE.findall(FENCE.sub("", text)):
        yield re.sub(r"[\[\]{}]|\.\.\.|…", " ", line.replace("|", " ")) if "{" not in line else ""


def shown(commands: Callable[[str], Iterator[str]]) -> list[tuple[str, str]]:
    found = [(str(page.relative_to(ROOT)), line) for page in PAGES for line in commands(page.read_text("utf-8"))]
    return [(page, line) for page, line in found if line]


def parsed(line: str) -> None:
    """Raise a :class:`UserError` unless ``line`` is a command with options that exist."""
    words = shlex.split(line)[1:]
    while words and words[0] in EVERYWHERE:
        words = words[2:]
    if words[0] in ("--help", "--version", "help"):
        return
    command: Command = _command(words[0], plugin_manager())
    if command.takes_rest:
        return
    with contextlib.suppress(SystemExit):  # of --help
        command.parser().parse_args(words[1:])


@pytest.mark.parametrize(("page", "line"), shown(fenced_commands))
def test_a_command_that_is_shown_is_one_that_is_taken(page: str, line: str) -> None:
    parsed(line)


@pytest.mark.parametrize(("page", "line"), shown(fragments))
def test_a_command_named_in_the_text_has_the_options_that_it_shows(page: str, line: str) -> None:
    try:
        parsed(line)
    except UserError as error:
        fault = str(error)
    else:
        fault = ""
    assert not FAULTS_OF_FRAGMENTS.search(fault), fault


def test_commands_are_found_and_a_wrong_option_is_noticed() -> None:
    assert len(shown(fenced_commands)) >= 10
    assert len(shown(fragments)) >= 15
    text = "```bash\ne2lm signal OUT \\\n  --json | head  # look\nls\n```\nand `e2lm eval RUN [--jobs N]`\n"
    assert [line.split() for line in fenced_commands(text)] == [["e2lm", "signal", "OUT", "--json"]]
    assert [line.split() for line in fragments(text)] == [["e2lm", "eval", "RUN", "--jobs", "N"]]
    with pytest.raises(UserError, match="--jsn"):
        parsed("e2lm plugins list --jsn")
    with pytest.raises(UserError, match="unknown command 'singal'"):
        parsed("e2lm singal OUT")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    broken = []
    for match in LINK.finditer(page.read_text("utf-8")):
        target = match[1] or match[2]
        if "://" not in target and not target.startswith("mailto:") and not (page.parent / target).exists():
            broken.append(target)
    assert broken == []


def test_every_extra_that_a_message_or_a_page_names_is_one_of_ours() -> None:
    ours = set(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"])
    folders = ("plugins", "adapters", "leaderboard", "e2lm_tasks")
    files = [*PAGES, *(file for folder in folders for file in (ROOT / folder).rglob("*.py"))]
    found = (re.findall(r"e2lm\[([a-z, -]+)\]", file.read_text("utf-8")) for file in files)
    named = {extra.strip() for texts in found for extras in texts for extra in extras.split(",")}
    assert named - ours == set()
    assert len(named) >= 8
