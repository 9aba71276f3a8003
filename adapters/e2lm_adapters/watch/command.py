"""``e2lm watch RUN... --tasks A,B --out OUT``: checkpoints of a live run are scored as they come, rules are judged."""

from __future__ import annotations

import json
import signal
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from e2lm.argument import AMOUNT
from e2lm.command import Command
from e2lm.errors import UserError
from e2lm_adapters.eval.command import configure_scoring, request_of

if TYPE_CHECKING:
    from e2lm_adapters.watch.watcher import Watcher

EVERY_S = 30.0


class AskedToEndError(KeyboardInterrupt):
    """A signal asked this process to end."""


def _configure(parser: ArgumentParser) -> None:
    configure_scoring(parser)
    parser.add_argument(
        "--every", type=AMOUNT, default=EVERY_S, metavar="S", help=f"seconds between two looks (default {EVERY_S:g})"
    )
    parser.add_argument("--until-idle", type=AMOUNT, metavar="S", help="end when nothing has been new for S seconds")
    parser.add_argument("--once", action="store_true", help="score what is finished now, judge, and end")
    parser.add_argument(
        "--pin", action="store_true", help="hold what is scored by hard links (or copies) in OUT: no trainer deletes it"
    )
    parser.add_argument("--quiet", action="store_true", help="say nothing but what is wrong")
    parser.add_argument("--json", action="store_true", help="print what happened as JSON at the end")


def _run(arguments: Namespace) -> int:
    from e2lm_adapters.watch.record import RecordFile

    arguments.quiet = arguments.quiet or arguments.json
    _check(arguments)
    watcher = _watcher(arguments)
    with _signals_end():
        try:
            if arguments.once:
                watcher.once()
            else:
                watcher.standing(arguments.until_idle)
        except AskedToEndError as asked:
            print(f"e2lm watch: ended by {asked}; the same command goes on", file=sys.stderr)
            return 0
    left_out = RecordFile(arguments.out).read().left_out
    if arguments.json:
        told = {"scored": watcher.scored, "left_out": [one.model_dump(mode="json") for one in left_out]}
        print(json.dumps({**told, "out": str(arguments.out)}))
    if arguments.once and watcher.failed and not (arguments.out / "scores.csv").is_file():
        raise UserError(f"{arguments.out}: no score, since nothing could be used; {arguments.out}/watch.json lists why")
    return 0


def _check(arguments: Namespace) -> None:
    """What can be known to be wrong before the first checkpoint comes: tasks, model, folders."""
    from e2lm_adapters.checkpoints.piece import has_companion
    from e2lm_adapters.eval.known import RememberedTasks
    from e2lm_adapters.eval.memory import Memory
    from e2lm_adapters.eval.store import disk_errors_told

    if arguments.config is not None and not has_companion(arguments.config, "config.json"):
        raise UserError(f"--config {arguments.config}: no config.json there; give the folder of a model of its family")
    with disk_errors_told(arguments.out):
        RememberedTasks(request_of(arguments, (), None, quiet=True), memory := Memory(arguments.out))
        memory.write()


def _watcher(arguments: Namespace) -> Watcher:
    from e2lm_adapters.checkpoints.piece import Given
    from e2lm_adapters.checkpoints.source import CheckpointSource
    from e2lm_adapters.watch.finished import WatchedRun
    from e2lm_adapters.watch.watcher import Watcher, scorer

    source = CheckpointSource(arguments.hub_cache, arguments.keep, arguments.allow_pickle)
    given = Given(arguments.config, arguments.base, arguments.allow_pickle, "tokenizer=" in arguments.model_args)
    runs = [WatchedRun(one, given, source, arguments.tokens_per_step) for one in dict.fromkeys(arguments.runs)]
    return Watcher(
        runs,
        arguments.out,
        source,
        scorer(arguments, source),
        lambda looks: False,
        arguments.every,
        arguments.pin,
        arguments.quiet,
    )


@contextmanager
def _signals_end() -> Iterator[None]:
    """SIGTERM and SIGHUP end the work as Ctrl-C does: what is half-written goes, nothing is left running."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise AskedToEndError(signal.Signals(number).name)

    before = {one: signal.signal(one, end) for one in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


WATCH_COMMAND = Command("watch", "Score checkpoints beside a live run, judge rules, tell people.", _configure, _run)
