"""What an organiser decides: who is out, what is scored again, which rules hold, who has which token, when it ends.

Every decision is an entry of the log.
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace

from e2lm.command_line import EXIT_CHECK_FAILED, EXIT_OK
from e2lm.errors import UserError, nearest_names
from e2lm_leaderboard.cli.organiser import add_season_argument, opened

#: What a team is told where the organiser says no more, by state.
REASONS = {
    "refused": "refused by the organiser; the try is free",
    "withdrawn": "withdrawn by its team",
    "disqualified": "disqualified by the organiser",
    "queued": "",
}


def configure_decision(parser: ArgumentParser) -> None:
    """Arguments of ``refuse``, ``withdraw``, ``disqualify`` and ``rerun``."""
    add_season_argument(parser)
    parser.add_argument("submission", metavar="ID", help="beginning of its id")
    parser.add_argument("--why", default="", metavar="TEXT", help="what its team is told")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and stop")


def run_decision(arguments: Namespace) -> int:
    """Move one submission."""
    from e2lm_leaderboard.season.season import utc_now
    from e2lm_leaderboard.store.tables import State, require_move

    states = {"refuse": State.REFUSED, "withdraw": State.WITHDRAWN, "disqualify": State.DISQUALIFIED}
    state = states.get(arguments.action, State.QUEUED)
    with opened(arguments.season) as (_, store):
        entry = store.entry(arguments.submission)
        require_move(entry.state, state)
        if not arguments.dry_run:
            if state == State.QUEUED and (notes := store.notes(entry.id)):
                store.note(entry.id, f"accepted by rerun: {notes.removeprefix('accepted by rerun: ')}", utc_now())
            entry = store.move(entry.id, state, utc_now(), arguments.why or REASONS[state])
        print(f"{entry.name} ({entry.id[:12]}) of {entry.team}: {'would be ' * arguments.dry_run}{state.value}")
    return EXIT_OK


def configure_close(parser: ArgumentParser) -> None:
    """Arguments of ``close``."""
    add_season_argument(parser)
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and stop")


def run_close(arguments: Namespace) -> int:
    """End the season now."""
    from e2lm_leaderboard.season.season import utc_now
    from e2lm_leaderboard.store.store import CLOSED_KEY

    with opened(arguments.season) as (season, store):
        if (closed_at := store.setting(CLOSED_KEY)) is not None:
            raise UserError(f"{arguments.season}: was closed at {closed_at} already")
        if not arguments.dry_run:
            store.set_setting(CLOSED_KEY, utc_now().isoformat(timespec="seconds"))
        print(
            f"{season.title}: {'would be ' * arguments.dry_run}closed; private scores rank, nothing is taken any more"
        )
    return EXIT_OK


def configure_token(parser: ArgumentParser) -> None:
    """Arguments of ``token``."""
    add_season_argument(parser)
    parser.add_argument("team", metavar="TEAM", help="whose token is lost, or known to others")


def run_token(arguments: Namespace) -> int:
    """Print a new token; the old one is worth nothing from now on."""
    from e2lm_leaderboard.season.season import utc_now
    from e2lm_leaderboard.web.guard import new_token, token_hash

    with opened(arguments.season) as (_, store):
        role, _ = known_team(store.teams(), arguments.team)
        token = new_token()
        store.add_team(arguments.team, token_hash(token), role, utc_now())
    print(f"{arguments.team}: {token}")
    return EXIT_OK


def known_team(teams: dict[str, tuple[str, tuple[str, ...]]], name: str) -> tuple[str, tuple[str, ...]]:
    """Role and finals of a team; :class:`UserError` with the nearest names where there is none such."""
    if name not in teams:
        raise UserError(f"team {name!r}: the season has no such team. {nearest_names(name, teams)}")
    return teams[name]


def configure_pick(parser: ArgumentParser) -> None:
    """Arguments of ``pick``."""
    add_season_argument(parser)
    parser.add_argument("team", metavar="TEAM", help="whose finals")
    parser.add_argument("submissions", nargs="+", metavar="ID", help="one or two of its submissions")


def run_pick(arguments: Namespace) -> int:
    """Let these compete in the end, before private scores are shown."""
    from e2lm_leaderboard.ranking.table import FINALS, is_over
    from e2lm_leaderboard.season.season import utc_now

    with opened(arguments.season) as (season, store):
        known_team(store.teams(), arguments.team)
        if is_over(store, season, utc_now()):
            raise UserError(f"{season.title}: private scores are shown; finals were to be picked before")
        entries = {one.id: one for one in map(store.entry, arguments.submissions)}
        strange = [one.name for one in entries.values() if one.team != arguments.team]
        if strange or len(entries) > FINALS:
            what = f"{strange[0]} is of another team" if strange else f"{len(entries)} submissions"
            raise UserError(f"pick: found {what}; allowed are {FINALS} of its own")
        store.pick_finals(arguments.team, list(entries), utc_now())
    print(f"{arguments.team}: {', '.join(one.name for one in entries.values())}")
    return EXIT_OK


def configure_rules(parser: ArgumentParser) -> None:
    """Arguments of ``rules``."""
    add_season_argument(parser)
    parser.add_argument("--accept", action="store_true", help="put an edited season.json into the log: it holds now")
    parser.add_argument("--new-key", action="store_true", help="sign with a new key from now on: the old one is lost")


def run_rules(arguments: Namespace) -> int:
    """Print the rules that entrants are checked by, and what of the season differs from the log."""
    from e2lm_leaderboard.season.season import utc_now
    from e2lm_leaderboard.season.season_log import log_season, season_changes
    from e2lm_leaderboard.season.signature import new_key

    with opened(arguments.season, strict=False) as (season, store):
        changes = season_changes(season, store)
        if arguments.accept:
            log_season(season, store, utc_now())
        if arguments.new_key:
            print(f"new key: {new_key(arguments.season, store, utc_now()).key}", file=sys.stderr)
        print(json.dumps(season.rules.model_dump(mode="json"), indent=1))
        for change in changes:
            print(f"{'accepted' if arguments.accept else 'not in the log'}: {change}")
    return EXIT_OK


def configure_doctor(parser: ArgumentParser) -> None:
    """Arguments of ``doctor``."""
    add_season_argument(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run_doctor(arguments: Namespace) -> int:
    """Say what is wrong with the season, and what the organiser alone is to know of its submissions."""
    from e2lm_leaderboard.season.doctor import problems
    from e2lm_leaderboard.season.season_log import season_changes

    with opened(arguments.season, strict=False) as (season, store):
        found = [*problems(season), *(f"season.json: not in the log: {one}" for one in season_changes(season, store))]
        notes = {entry.id: f"{entry.name} of {entry.team}: {store.notes(entry.id)}" for entry in store.entries()}
        told = [note for key, note in notes.items() if store.notes(key)]
    if arguments.json:
        print(json.dumps({"problems": found, "notes": told}, indent=1))
    else:
        print("\n".join([*found, *told]) or "nothing is wrong")
    return EXIT_CHECK_FAILED if found else EXIT_OK
