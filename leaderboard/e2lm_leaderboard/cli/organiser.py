"""What an organiser does with a season: open it, run what waits, rank, serve or export the pages, verify the log."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from e2lm.argument import AMOUNT, Whole, folder_to_write
from e2lm.command_line import EXIT_CHECK_FAILED, EXIT_OK
from e2lm.errors import MachineError, UserError, one_line

if TYPE_CHECKING:
    from e2lm_leaderboard.ranking.ranking import RankedEntry
    from e2lm_leaderboard.season.season import Season
    from e2lm_leaderboard.season.signature import Signer
    from e2lm_leaderboard.store.store import Result, Store

ORGANISER = "organiser"
TEAM_CHARS = 60
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def add_season_argument(parser: ArgumentParser) -> None:
    """The folder of the season."""
    parser.add_argument("season", type=Path, metavar="SEASON", help="folder of the season")


@contextmanager
def opened(folder: Path, strict: bool = True) -> Iterator[tuple[Season, Store]]:
    """Season and store of a folder, closed at the end.

    The database must be there; where ``strict``, ``season.json`` must be as the log knows it.
    """
    from e2lm_leaderboard.season.season import Season, utc_now
    from e2lm_leaderboard.season.season_log import keep_head, require_logged
    from e2lm_leaderboard.season.signature import season_signer
    from e2lm_leaderboard.store.database import database_url
    from e2lm_leaderboard.store.store import Store

    season = Season.read(folder)
    store = Store(database_url(season.database or str(folder)), create=False)
    try:
        if strict:
            require_logged(season, store, folder, utc_now())
        signer = season_signer(folder, store, utc_now()) if strict else None
        yield season, store
        if strict:
            keep_head(folder, store, signer)
    finally:
        store.close()


def configure_init(parser: ArgumentParser) -> None:
    """Arguments of ``init``."""
    add_season_argument(parser)
    parser.add_argument("--title", default="A season of benchmarks", help="title of the pages")
    parser.add_argument("--series", action="append", default=[], metavar="RUN", help="run to evaluate on; repeatable")
    parser.add_argument(
        "--control", action="append", default=[], metavar="PATTERN",
        help="names of evaluated series that the others must beat, e.g. 'web*', for e2lmc_cs; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--public-tokens", type=AMOUNT, metavar="N", help="later checkpoints are hidden until the end, e.g. 2.06e11"
    )
    parser.add_argument("--database", metavar="URL", help="PostgreSQL URL (default: SQLite in SEASON)")
    parser.add_argument("--ends-at", metavar="TIME", help="when private scores are shown: 2026-12-31T23:59:59+00:00")
    parser.add_argument(
        "--team", action="append", default=[], metavar="NAME", help="team that gets a token; repeatable"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be written, and stop")


def run_init(arguments: Namespace) -> int:
    """Write ``season.json``, create the database, hand out tokens."""
    from e2lm_leaderboard.season.season import SEASON_FILE, Season

    path: Path = arguments.season
    series = [str(Path(one).resolve()) if Path(one).exists() else one for one in arguments.series]
    season = Season.from_data(
        {
            "title": arguments.title,
            "series": series,
            "control": arguments.control,
            "public_tokens": arguments.public_tokens,
            "database": arguments.database,
            "ends_at": arguments.ends_at,
        },
        "init",
    )
    exists = (path / SEASON_FILE).exists()
    if exists and not arguments.team:
        raise UserError(f"{path / SEASON_FILE}: is there already; edit it, or add teams with --team NAME")
    for name in arguments.team:
        require_team_name(name)
    if arguments.dry_run:
        print(f"would {'add teams to' if exists else 'open a season in'} {path}")
        return 0
    for name, token in (_added(path, arguments.team) if exists else _opened_anew(path, season, arguments.team)).items():
        print(f"{name}: {token}")
    print(f"{path / SEASON_FILE}: rules and series can be edited there until something is submitted")
    return 0


def require_team_name(name: str) -> None:
    """Raise :class:`UserError` for a name that no team may have."""
    if not 1 <= len(name) <= TEAM_CHARS or name != name.strip() or not name.isprintable():
        raise UserError(f"--team {name!r}: allowed are 1 to {TEAM_CHARS} printable characters, no space at either end")
    if name.casefold() == ORGANISER:
        raise UserError(f"--team {name!r}: is the organiser's own name; choose another")


def _opened_anew(path: Path, season: Season, names: list[str]) -> dict[str, str]:
    """Database, salt, organiser and teams; ``season.json`` comes last: an ``init`` that broke off can be repeated."""
    from e2lm_leaderboard.season.season import SALT_KEY, new_salt, utc_now
    from e2lm_leaderboard.season.season_log import keep_head, log_season
    from e2lm_leaderboard.season.signature import season_signer
    from e2lm_leaderboard.store.database import database_url
    from e2lm_leaderboard.store.store import Store

    path.mkdir(parents=True, exist_ok=True)
    store = Store(database_url(season.database or str(path)))
    try:
        if store.setting(SALT_KEY) is None:
            store.set_setting(SALT_KEY, new_salt())
        tokens = _with_tokens(store, {**dict.fromkeys(names, "team"), ORGANISER: ORGANISER})
        season.write(path)
        log_season(season, store, utc_now())
        keep_head(path, store, season_signer(path, store, utc_now()))
    finally:
        store.close()
    return tokens


def _added(path: Path, names: list[str]) -> dict[str, str]:
    """Tokens of new teams, and of an organiser where a season has none."""
    with opened(path) as (_, store):
        teams = store.teams()
        if known := [name for name in names if name in teams]:
            again = f"e2lm leaderboard token {path} {known[0]!r}"
            raise UserError(f"--team {known[0]!r}: is there already; a new token in place of its old one: {again}")
        roles = dict.fromkeys(names, "team")
        if ORGANISER not in {role for role, _ in teams.values()}:
            roles[ORGANISER] = ORGANISER
        return _with_tokens(store, roles)


def _with_tokens(store: Store, roles: dict[str, str]) -> dict[str, str]:
    from e2lm_leaderboard.season.season import utc_now
    from e2lm_leaderboard.web.guard import new_token, token_hash

    tokens = {name: new_token() for name in roles}
    for name, token in tokens.items():
        store.add_team(name, token_hash(token), roles[name], utc_now())
    return tokens


def configure_run(parser: ArgumentParser) -> None:
    """Arguments of ``run``."""
    add_season_argument(parser)
    parser.add_argument("--dry-run", action="store_true", help="list what waits, and stop")


def run_run(arguments: Namespace) -> int:
    """Work through the queue."""
    from e2lm_leaderboard.season.doctor import require_usable
    from e2lm_leaderboard.season.run import SeasonRun
    from e2lm_leaderboard.store.tables import State

    with opened(arguments.season) as (season, store):
        if arguments.dry_run:
            require_usable(season, arguments.season, needs_series=False)
            for entry in store.entries(State.QUEUED, State.CHECKING, State.RUNNING):
                print(f"{entry.name} ({entry.id[:12]}) of {entry.team}: {entry.state}")
            return 0
        count = SeasonRun(arguments.season, season, store).run()
        print(f"{count} submissions done; next: e2lm leaderboard rank {arguments.season}")
    return 0


def configure_rank(parser: ArgumentParser) -> None:
    """Arguments of ``rank``."""
    add_season_argument(parser)
    parser.add_argument("--private", action="store_true", help="by private scores, before the season's end too")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run_rank(arguments: Namespace) -> int:
    """Print it."""
    from e2lm_leaderboard.ranking.table import season_table, table_records
    from e2lm_leaderboard.season.doctor import require_known_names
    from e2lm_leaderboard.season.season import utc_now
    from e2lm_leaderboard.season.season_log import season_changes

    with opened(arguments.season, strict=False) as (season, store):
        require_known_names(season, arguments.season)
        for change in season_changes(season, store):
            print(f"season.json: not in the log: {change}", file=sys.stderr)
        if not arguments.json:
            print_table(store, season, arguments.private)
            return 0
        table = season_table(store, season, utc_now(), arguments.private)
        print(json.dumps({"split": table.split, "head": table.head, "ranking": table_records(table)}, indent=1))
    return 0


def print_table(store: Store, season: Season, private: bool) -> None:
    """The table, and below it what has no place in it."""
    from e2lm_leaderboard.ranking.table import missing_numbers, other_scores, season_table
    from e2lm_leaderboard.season.season import utc_now
    from e2lm_leaderboard.store.tables import State

    table = season_table(store, season, utc_now(), private)
    print(f"{season.title}: {season.ranking_score} above its null, {table.split} scores, 90 % intervals")
    for row in table.rows:
        print(_line(row))
        print(f"{'':>6}{'  '.join(_other(table.other(row.entry.id, name)) for name in other_scores(table))}")
    for name, reasons in missing_numbers(table, table.rows).items():
        print(*(f"{name}: {reason} ({names})" for reason, names in reasons.items()), sep="\n")
    for entry in store.entries():
        if entry.state != State.SCORED:
            print(f"{entry.state:>9}  {entry.name} of {entry.team}  {entry.reason}")


def _other(result: Result) -> str:
    if result.value is None:
        return f"{result.score} -"
    interval = "no interval" if result.low is None else f"[{result.low:.3f}, {result.high:.3f}]"
    return f"{result.score} {result.value:.3f} {interval}"


def _line(row: RankedEntry) -> str:
    result = row.result
    if result.value is None:
        return f"{'-':>4}  {row.entry.name:<28} {row.entry.team:<16} undefined: {result.reason}"
    interval = "no interval" if result.low is None else f"[{result.low:.3f}, {result.high:.3f}]"
    who = f"{row.rank:>4}  {row.entry.name:<28} {row.entry.team:<16}"
    return f"{who} {result.value:.3f} {interval}  try {row.tries}{_flag(row)}"


def _flag(row: RankedEntry) -> str:
    return f"  {row.flag.replace('_', ' ')}" if row.flag else ""


def configure_serve(parser: ArgumentParser) -> None:
    """Arguments of ``serve``."""
    add_season_argument(parser)
    parser.add_argument("--address", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=Whole(0, 65535), default=8000, help="port (default: 8000)")
    parser.add_argument(
        "--host-name", action="append", default=[], metavar="NAME", help="name under which it is reached; repeatable"
    )
    parser.add_argument(
        "--behind-proxy", action="store_true", help="a proxy of this machine says in X-Forwarded-For who asks"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be served, and stop")


def run_serve(arguments: Namespace) -> int:
    """Serve until interrupted."""
    if arguments.address not in LOOPBACK and not arguments.host_name:
        raise UserError(f"--address {arguments.address}: others can reach it; name the host they use: --host-name NAME")
    import uvicorn

    from e2lm_leaderboard.season.doctor import require_known_names
    from e2lm_leaderboard.web.app import create_app

    with opened(arguments.season) as (season, store):
        require_known_names(season, arguments.season)
        if arguments.dry_run:
            print(f"would serve {season.title!r} on http://{arguments.address}:{arguments.port}")
            return 0
        signer = _signer(arguments.season, store)
        hosts, proxy = tuple(arguments.host_name), arguments.behind_proxy
        app = create_app(store, season, hosts, signer=signer, trusts_proxy=proxy)
        print(f"{season.title}: http://{arguments.address}:{arguments.port}  (Ctrl-C ends it)", flush=True)
        uvicorn.run(
            app,
            host=arguments.address,
            port=arguments.port,
            log_level="warning",
            server_header=False,
            proxy_headers=False,
        )
    return 0


def _signer(folder: Path, store: Store) -> Signer | None:
    """The season's key for what is published; without one that is said."""
    from e2lm_leaderboard.season.season import utc_now
    from e2lm_leaderboard.season.signature import season_signer, why_unsigned

    signer = season_signer(folder, store, utc_now())
    if signer is None:
        print(why_unsigned(folder), file=sys.stderr)
    return signer


def configure_export(parser: ArgumentParser) -> None:
    """Arguments of ``export``."""
    add_season_argument(parser)
    parser.add_argument("out", type=folder_to_write, metavar="OUT", help="folder of the pages; replaced as a whole")
    parser.add_argument("--dry-run", action="store_true", help="say what would be written, and stop")


def run_export(arguments: Namespace) -> int:
    """Export."""
    from e2lm_leaderboard.season.season import utc_now
    from e2lm_leaderboard.web.export import export_season

    out: Path = arguments.out
    if out.exists() and not (out / "ranking.json").is_file() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: holds something that is no export; give a new folder")
    with opened(arguments.season) as (season, store):
        if arguments.dry_run:
            print(f"would write the pages of {len(store.entries())} submissions into {out}")
            return 0
        signer = _signer(arguments.season, store)
        count = export_season(store, season, out, utc_now(), quiet=False, signer=signer)
    print(f"{count} pages: {out}/index.html")
    return 0


def configure_verify(parser: ArgumentParser) -> None:
    """Arguments of ``verify``."""
    add_season_argument(parser)
    parser.add_argument(
        "--head",
        metavar="HASH",
        help="hash that the log must have reached (of a page), or the ranking.json of an export",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run_verify(arguments: Namespace) -> int:
    """Verify and tell; exit code 3 where database or ``season.json`` cannot be read."""
    from e2lm_leaderboard.season.season_log import keep_head
    from e2lm_leaderboard.season.signature import can_sign
    from e2lm_leaderboard.store.tables import NoTablesError

    rows, head, problems = 0, "", _season_problems(arguments.season)
    try:
        with opened(arguments.season, strict=False) if not problems else nullcontext((None, None)) as (season, store):
            if season is not None and store is not None:
                problems, signer = _problems(arguments.season, season, store, arguments.head)
                rows, head = store.head().seq, store.head().hash
                if not problems:
                    keep_head(arguments.season, store, signer)
    except NoTablesError as error:
        problems = [str(error)]
    if not can_sign():
        print("signatures were not checked: pip install 'e2lm[web]' brings cryptography", file=sys.stderr)
    if arguments.json:
        print(json.dumps({"problems": problems, "rows": rows, "head": head}, indent=1))
    else:
        print("\n".join(problems) or f"{rows} log rows agree with the database; head {head}")
    return EXIT_CHECK_FAILED if problems else EXIT_OK


def _season_problems(folder: Path) -> list[str]:
    """A ``season.json`` that was deleted beside its database; :class:`MachineError` for one that cannot be read."""
    from e2lm_leaderboard.season.season import SEASON_FILE, Season
    from e2lm_leaderboard.season.season_log import HEADS_FILE

    path = folder / SEASON_FILE
    if not path.is_file() and (folder / HEADS_FILE).is_file():
        return [f"{path}: there is no such file: it was deleted or moved; put it back"]
    if path.is_file():
        try:
            Season.read(folder)
        except UserError as error:
            raise MachineError(f"{one_line(error)}; it cannot be compared with the log") from error
    return []


def _problems(folder: Path, season: Season, store: Store, head: str | None) -> tuple[list[str], Signer | None]:
    """What does not agree: rows with the log, ``season.json`` with it, it with the heads that it had. And the key."""
    from e2lm_leaderboard.season.season import SALT_KEY, utc_now
    from e2lm_leaderboard.season.season_log import head_problems, published_problems, season_changes
    from e2lm_leaderboard.season.signature import logged_keys, season_signer

    problems, signer = [*store.verify(), *head_problems(folder, store)], None
    problems += [f"season.json: {change}" for change in season_changes(season, store)]
    if store.setting(SALT_KEY) is None:
        problems.append(f"settings row {SALT_KEY}: missing; which items are public cannot be told")
    if head and Path(head).is_file():
        problems += published_problems(Path(head), store)
    elif head and not store.has_hash(head):
        problems.append(f"audit: no row has the hash {head}; the log was cut or written anew")
    try:
        signer = season_signer(folder, store, utc_now()) if logged_keys(store) else None
    except UserError as error:
        problems.append(str(error))
    return problems, signer
