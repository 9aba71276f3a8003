"""``e2lm leaderboard serve SEASON``: the pages and the API, on this machine unless told otherwise."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from e2lm.errors import UserError
from e2lm_leaderboard.cli.open_season import add_season_argument

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def configure(parser: ArgumentParser) -> None:
    """Arguments of the action."""
    add_season_argument(parser)
    parser.add_argument("--address", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="port (default: 8000)")
    parser.add_argument(
        "--host-name", action="append", default=[], metavar="NAME", help="name under which it is reached; repeatable"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be served, and stop")


def run(arguments: Namespace) -> int:
    """Serve until interrupted."""
    if arguments.address not in LOOPBACK and not arguments.host_name:
        raise UserError(f"--address {arguments.address}: others can reach it; name the host they use: --host-name NAME")
    if not 0 <= arguments.port < 65536:
        raise UserError(f"--port: found {arguments.port}, allowed are 0 to 65535")
    import uvicorn

    from e2lm_leaderboard.cli.open_season import opened
    from e2lm_leaderboard.web.app import create_app

    with opened(arguments.season) as (season, store):
        if arguments.dry_run:
            print(f"would serve {season.title!r} on http://{arguments.address}:{arguments.port}")
            return 0
        app = create_app(store, season, tuple(arguments.host_name))
        print(f"{season.title}: http://{arguments.address}:{arguments.port}  (Ctrl-C ends it)", flush=True)
        uvicorn.run(app, host=arguments.address, port=arguments.port, log_level="warning", server_header=False)
    return 0
