"""``e2lm leaderboard submit SEASON BUNDLE``: into the queue of a season on this machine, or of a server by URL."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from e2lm.command_line import EXIT_CHECK_FAILED, EXIT_OK
from e2lm.errors import UserError

REQUEST_S = 60.0


def configure(parser: ArgumentParser) -> None:
    """Arguments of the action."""
    parser.add_argument("season", metavar="SEASON", help="folder of the season, or http://HOST of its server")
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder or archive")
    parser.add_argument("--team", metavar="NAME", help="who enters (a folder)")
    parser.add_argument("--token", metavar="FILE", type=Path, help="file with the team's token (a server)")
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")
    parser.add_argument("--dry-run", action="store_true", help="check only")


def run(arguments: Namespace) -> int:
    """Check, pack, send."""
    from e2lm_leaderboard.bundle.check import check_path
    from e2lm_leaderboard.season.season import Season, SeasonRules

    is_server = arguments.season.startswith(("http://", "https://"))
    rules = SeasonRules() if is_server else Season.read(Path(arguments.season)).rules
    report = check_path(arguments.bundle, rules)
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
    from e2lm_leaderboard.cli.open_season import opened
    from e2lm_leaderboard.season.season import utc_now
    from e2lm_leaderboard.store.store import Incoming, LimitReachedError

    if not arguments.team:
        raise UserError("--team: who enters? give the name of the team")
    submission = report.submission
    incoming = Incoming(report.content_id, archive, submission.name, submission.title, arguments.team)
    with opened(Path(arguments.season)) as (season, store):
        try:
            entry, is_new = store.submit(incoming, season.rules.submissions_per_day, utc_now())
        except LimitReachedError as error:
            raise UserError(f"{error}; refused ones do not count, try again tomorrow") from error
    return {"id": entry.id, "name": entry.name, "state": entry.state, "new": is_new}


def _sent(arguments: Namespace, archive: bytes) -> dict[str, Any]:
    from urllib.error import HTTPError, URLError
    from urllib.request import Request, urlopen

    if arguments.token is None or not arguments.token.is_file():
        raise UserError("--token: give the file that holds the team's token")
    token = arguments.token.read_text(encoding="utf-8").strip()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/octet-stream"}
    url = f"{arguments.season.rstrip('/')}/api/v1/submissions"
    request = Request(url, data=archive, headers=headers, method="POST")
    try:
        with urlopen(request, timeout=REQUEST_S) as response:
            return dict(json.load(response))
    except HTTPError as error:
        raise UserError(f"{url}: answered {error.code}: {error.read()[:500].decode('utf-8', 'replace')}") from error
    except (URLError, OSError) as error:
        raise UserError(f"{url}: no answer ({error})") from error
