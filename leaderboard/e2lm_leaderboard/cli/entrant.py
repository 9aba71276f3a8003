"""What an entrant does: write a sample bundle to start from, check a bundle as the server does, submit it.

``check`` gives exit code 0 where the bundle is accepted, 1 where it is refused; ``submit`` puts it into the queue of a
season on this machine, or of a server by URL.
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from e2lm.argument import folder_to_write
from e2lm.atomic_file import whole_folder
from e2lm.command_line import EXIT_CHECK_FAILED, EXIT_OK
from e2lm.errors import UserError, nearest_names

if TYPE_CHECKING:
    from e2lm_leaderboard.bundle.check import CheckReport
    from e2lm_leaderboard.season.season import SeasonRules

REQUEST_S = 60.0
NUMBERS = (
    *("one", "two", "three", "four", "five", "six", "seven", "eight"),
    *("nine", "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen"),
)
PEOPLE = ("Anna", "Ben", "Chen", "Dora", "Emil", "Farah", "Goran", "Hana")
THINGS = ("apples", "books", "coins", "pens", "stones", "letters", "tickets", "shells")
ITEMS = 160

SUBMISSION_YAML = """\
schema_version: 1
name: counting-in-words
title: Counting in words
description: |
  Small sums told as stories, with the result as a word. A sample to start from: replace it by your own.
language: en
license: CC0-1.0
tier: declarative
metric: acc_norm
tasks:
  - counting.yaml
sources:
  - made by rule, from no text
"""

TASK_YAML = """\
task: counting_in_words
output_type: multiple_choice
dataset_path: json
dataset_kwargs: {data_files: counting.jsonl}
test_split: test
num_fewshot: 0
doc_to_text: "{{story}} The number of {{thing}} that {{person}} has now is"
doc_to_choice: choices
doc_to_target: gold
target_delimiter: " "
"""


def configure_new(parser: ArgumentParser) -> None:
    """Arguments of ``new``."""
    parser.add_argument("folder", type=folder_to_write, metavar="DIR", help="new folder for the bundle")
    parser.add_argument("--dry-run", action="store_true", help="say what would be written, and stop")


def run_new(arguments: Namespace) -> int:
    """Write the sample."""
    if arguments.dry_run:
        print(f"would write {', '.join(sorted(sample_files()))} into {arguments.folder}")
        return 0
    names = write_sample(arguments.folder)
    print(f"{arguments.folder}: {', '.join(names)}")
    print(f"next: e2lm leaderboard check {arguments.folder}")
    return 0


def sample_files(seed: int = 0) -> dict[str, str]:
    """The files of the sample by name; the same seed gives the same bytes."""
    rng = np.random.default_rng(seed)
    return {"submission.yaml": SUBMISSION_YAML, "counting.yaml": TASK_YAML, "counting.jsonl": sample_items(rng)}


def sample_items(rng: np.random.Generator) -> str:
    """JSONL of stories whose answer, as a word, is not in the story."""
    lines: dict[str, None] = {}
    while len(lines) < ITEMS:
        first, second = (int(number) for number in rng.integers(1, 8, size=2))
        if first == second:
            continue
        person, thing = str(rng.choice(PEOPLE)), str(rng.choice(THINGS))
        numbers = (NUMBERS[first - 1], NUMBERS[second - 1])
        story = f"{person} had {numbers[0]} {thing} in the morning and was given {numbers[1]} more of them at noon."
        answer = NUMBERS[first + second - 1]
        wrong = [word for word in NUMBERS if word not in (answer, *numbers)]
        choices = [answer, *(str(word) for word in rng.choice(wrong, size=3, replace=False))]
        order = rng.permutation(4).tolist()
        row = {
            "story": story,
            "person": person,
            "thing": thing,
            "choices": [choices[place] for place in order],
            "gold": order.index(0),
        }
        lines.setdefault(json.dumps(row), None)
    return "".join(f"{line}\n" for line in lines)


def write_sample(folder: Path) -> list[str]:
    """Write the sample into ``folder``, which must be new or empty; the names of its files."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: is there already; give a new folder")
    files = sample_files()
    with whole_folder(folder) as partial:
        for name, text in files.items():
            (partial / name).write_text(text, encoding="utf-8", newline="\n")
    return sorted(files)


def configure_check(parser: ArgumentParser) -> None:
    """Arguments of ``check``."""
    parser.add_argument("bundle", type=Path, metavar="DIR", help="folder or zip archive of a submission")
    known = parser.add_mutually_exclusive_group()
    known.add_argument("--rules", type=Path, metavar="FILE", help="the season's rules (JSON; default: the built-in)")
    known.add_argument(
        "--season", metavar="SEASON", help="folder of the season, or http://HOST: its own rules and metrics"
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def rules_from(path: Path | None) -> SeasonRules:
    """The rules in ``path``, or the defaults."""
    from e2lm_leaderboard.season.season import SeasonRules

    return SeasonRules() if path is None else SeasonRules.from_json_file(path)


@dataclass(frozen=True, slots=True)
class KnownSeason:
    """What is known of a season on an entrant's desk: its rules, and its metrics where it told them."""

    rules: SeasonRules
    metrics: tuple[str, ...] | None = None

    def report(self, bundle: Path) -> CheckReport:
        """The checks that the season will make."""
        from e2lm_leaderboard.bundle.check import check_path

        report = check_path(bundle, self.rules)
        submission = report.submission
        if submission is None or submission.metric_function is not None or self.metrics is None:
            return report
        if submission.metric in self.metrics:
            return report
        from e2lm_leaderboard.bundle.bundle import Finding

        finding = Finding(
            *("metric", "submission.yaml", "metric", f"found {submission.metric}", "a metric that the season has"),
            nearest_names(submission.metric, self.metrics),
        )
        return replace(report, findings=(*report.findings, finding))


def known_season(place: str) -> KnownSeason:
    """The rules and metrics of the season in a folder, or of a server by URL."""
    from e2lm import ItemMetric
    from e2lm.plugin_manager import plugin_manager
    from e2lm_leaderboard.season.season import Season, SeasonRules

    if not place.startswith(("http://", "https://")):
        metrics = plugin_manager().registered("e2lm_register_metrics", ItemMetric)
        return KnownSeason(Season.read(Path(place)).rules, tuple(metrics))
    told = _asked(f"{place.rstrip('/')}/api/v1/rules")
    if told is None:
        print(f"{place}: does not tell its rules (an earlier e2lm); checked by the built-in ones", file=sys.stderr)
        return KnownSeason(SeasonRules())
    rules = SeasonRules.from_data(told["rules"], place)
    if rules.tokenizer is not None and not Path(rules.tokenizer).is_file():
        print(f"{place}: counts tokens by a tokenizer of its own; here they are estimated from bytes", file=sys.stderr)
        rules = rules.model_copy(update={"tokenizer": None})
    return KnownSeason(rules, tuple(told["metrics"]))


def _asked(url: str) -> dict[str, Any] | None:
    """What a server answers; None where it has no such address."""
    from urllib.error import HTTPError, URLError
    from urllib.request import urlopen

    try:
        with urlopen(url, timeout=REQUEST_S) as response:
            return dict(json.load(response))
    except HTTPError as error:
        if error.code == HTTPStatus.NOT_FOUND:
            return None
        raise UserError(f"{url}: answered {error.code}") from error
    except (URLError, OSError, ValueError) as error:
        raise UserError(f"{url}: no answer ({error})") from error


def run_check(arguments: Namespace) -> int:
    """Check and tell."""
    known = KnownSeason(rules_from(arguments.rules)) if arguments.season is None else known_season(arguments.season)
    report = known.report(arguments.bundle)
    if arguments.json:
        print(json.dumps(report.as_json(), indent=1))
    elif report.accepted:
        counts = ", ".join(
            f"{task.task.task} ({'items come from code' if task.items is None else f'{len(task.items)} items'})"
            for task in report.tasks
        )
        print(f"accepted: {counts}")
        if report.remark:
            print(f"remark: {report.remark}")
    else:
        for finding in report.findings:
            print(finding.sentence)
        print(f"refused: {len(report.findings)} findings")
    return EXIT_OK if report.accepted else EXIT_CHECK_FAILED


def configure_submit(parser: ArgumentParser) -> None:
    """Arguments of ``submit``."""
    parser.add_argument("season", metavar="SEASON", help="folder of the season, or http://HOST of its server")
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder or archive")
    parser.add_argument("--team", metavar="NAME", help="who enters (a folder)")
    parser.add_argument("--token", metavar="FILE", type=Path, help="file with the team's token (a server)")
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")
    parser.add_argument("--dry-run", action="store_true", help="check only")


def run_submit(arguments: Namespace) -> int:
    """Check, pack, send."""
    is_server = arguments.season.startswith(("http://", "https://"))
    if is_server:
        _token(arguments)
    report = known_season(arguments.season).report(arguments.bundle)
    if not report.accepted or report.submission is None:
        for finding in report.findings:
            print(finding.sentence)
        return EXIT_CHECK_FAILED
    if arguments.dry_run:
        print(f"would submit {report.submission.name} ({report.content_id[:12]})")
        return EXIT_OK
    archive = report.bundle.packed()
    answer = _sent(arguments, archive) if is_server else _stored(arguments, report, archive)
    print(json.dumps(answer) if arguments.json else f"{answer['name']} ({answer['id'][:12]}): {answer['state']}")
    return EXIT_OK


def _stored(arguments: Namespace, report: Any, archive: bytes) -> dict[str, Any]:
    from e2lm_leaderboard.cli.organiser import opened
    from e2lm_leaderboard.season.season import utc_now
    from e2lm_leaderboard.store.store import Incoming, LimitReachedError, NotOpenError

    if not arguments.team:
        raise UserError("--team: who enters? give the name of the team")
    submission = report.submission
    incoming = Incoming(report.content_id, archive, submission.name, submission.title, arguments.team)
    with opened(Path(arguments.season)) as (season, store):
        if arguments.team not in (teams := store.teams()):
            raise UserError(
                f"--team {arguments.team!r}: the season has no such team. {nearest_names(arguments.team, teams)}"
            )
        try:
            entry, is_new = store.submit(incoming, season.rules.submissions_per_day, utc_now(), season.admission)
        except LimitReachedError as error:
            raise UserError(f"{error}; refused ones do not count, but copies do") from error
        except NotOpenError as error:
            raise UserError(str(error)) from error
    return {"id": entry.id, "name": entry.name, "state": entry.state, "new": is_new}


def _token(arguments: Namespace) -> str:
    if arguments.token is None or not arguments.token.is_file():
        raise UserError("--token: give the file that holds the team's token")
    return str(arguments.token.read_text(encoding="utf-8").strip())


def _sent(arguments: Namespace, archive: bytes) -> dict[str, Any]:
    from urllib.error import HTTPError, URLError
    from urllib.request import Request, urlopen

    headers = {"Authorization": f"Bearer {_token(arguments)}", "Content-Type": "application/octet-stream"}
    url = f"{arguments.season.rstrip('/')}/api/v1/submissions"
    request = Request(url, data=archive, headers=headers, method="POST")
    try:
        with urlopen(request, timeout=REQUEST_S) as response:
            return dict(json.load(response))
    except HTTPError as error:
        raise UserError(f"{url}: answered {error.code}: {error.read()[:500].decode('utf-8', 'replace')}") from error
    except (URLError, OSError) as error:
        raise UserError(f"{url}: no answer ({error})") from error
