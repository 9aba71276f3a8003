"""``e2lm watch RUN... --tasks A,B --out OUT``: checkpoints of a live run are scored as they come, rules are judged."""

from __future__ import annotations

import signal
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from e2lm.answer import Answer
from e2lm.argument import AMOUNT
from e2lm.command import Command
from e2lm.errors import UserError
from e2lm_adapters.eval.command import configure_scoring, request_of

if TYPE_CHECKING:
    import pandas as pd

    from e2lm_adapters.watch.desk import VerdictDesk
    from e2lm_adapters.watch.watcher import Watcher

EVERY_S = 30.0
EXIT_STOP, EXIT_ALERT = 10, 11


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
    for option, what in (("--stop-if", "stop the run"), ("--alert-if", "tell people")):
        parser.add_argument(option, action="append", default=[], metavar="RULE", help=f"{what} where RULE holds")
    parser.add_argument("--exit-on-stop", action="store_true", help="a standing watch ends with a stop (exit code 10)")
    parser.add_argument(
        "--notify", action="append", default=[], metavar="URL", help="tell verdicts: a webhook, or an apprise URL"
    )
    parser.add_argument(
        "--log-to",
        action="append",
        default=[],
        metavar="WHERE",
        help="beside the training's curves: wandb:RUN_ID, tensorboard:DIR, trackio:PROJECT",
    )
    parser.add_argument("--quiet", action="store_true", help="say nothing but what is wrong")
    parser.add_argument("--json", action="store_true", help="print what happened as JSON at the end")


def _run(arguments: Namespace) -> int | Answer:
    from e2lm_adapters.watch.record import RecordFile

    arguments.quiet = arguments.quiet or arguments.json
    verdicts = _verdicts(arguments)
    watcher = _watcher(arguments, verdicts)
    with _signals_end() as asked, watcher.holder.beside():
        try:
            _checked(arguments, watcher)
            if arguments.once:
                watcher.once()
            else:
                watcher.standing(arguments.until_idle)
        except KeyboardInterrupt:
            if not asked:
                raise
            print(f"e2lm watch: ended by {asked[0]}; the same command goes on", file=sys.stderr)
            return 0
    code = EXIT_STOP if verdicts.stops else EXIT_ALERT if verdicts.new else 0
    if not code and arguments.once and watcher.failed and not (arguments.out / "scores.csv").is_file():
        raise UserError(f"{arguments.out}: no score, since nothing could be used; {arguments.out}/watch.json lists why")
    told: dict[str, Any] = {"scored": watcher.scored, "out": str(arguments.out)}
    told["verdicts"] = [one.model_dump(mode="json") for one in verdicts.new]
    told["left_out"] = [one.model_dump(mode="json") for one in RecordFile(arguments.out).read().left_out]
    words = f"{watcher.scored} checkpoints scored into {arguments.out}, {len(verdicts.new)} verdicts"
    return Answer(
        told,
        lambda: "" if arguments.quiet else words,
        rows="verdicts",
        table=lambda: _table(arguments.out),
        code=code,
        indent=None,
    )


def _table(out: Path) -> pd.DataFrame:
    from e2lm.results import read_scores

    return read_scores(out).scores.frame


def _verdicts(arguments: Namespace) -> VerdictDesk:
    from e2lm_adapters.watch.desk import VerdictDesk
    from e2lm_adapters.watch.judging import RuleJudge
    from e2lm_adapters.watch.notify import Notifier, address_of
    from e2lm_adapters.watch.rule import parsed

    rules = [parsed(one, "stop") for one in arguments.stop_if] + [parsed(one, "alert") for one in arguments.alert_if]
    if arguments.exit_on_stop and not arguments.stop_if:
        raise UserError("--exit-on-stop: needs --stop-if")
    runs = [*arguments.runs, *(name for rule in rules for name in rule.baselines if not _has_scores(name))]
    arguments.runs = list(dict.fromkeys(runs))
    notifier = Notifier(arguments.out, [address_of(one) for one in dict.fromkeys(arguments.notify)])
    judge = RuleJudge(rules, arguments.out, arguments.tokens_per_step)
    return VerdictDesk(judge, notifier, arguments.exit_on_stop, arguments.once)


def _has_scores(name: str) -> bool:
    return (Path(name) / "scores.parquet").is_file()


def _checked(arguments: Namespace, watcher: Watcher) -> None:
    """Tasks and models take seconds to load: what is finished is held from before they do."""
    try:
        _check(arguments)
    except BaseException:
        watcher.holder.let_all_go()
        raise


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


def _watcher(arguments: Namespace, verdicts: VerdictDesk) -> Watcher:
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
        verdicts.judge,
        arguments.every,
        arguments.pin,
        arguments.quiet,
    )


@contextmanager
def _signals_end() -> Iterator[list[str]]:
    """SIGTERM and SIGHUP end the work as Ctrl-C does; which one came is in the list (watchfiles forgets it)."""
    asked: list[str] = []

    def end(number: int, frame: FrameType | None) -> NoReturn:
        asked.append(signal.Signals(number).name)
        raise KeyboardInterrupt

    before = {one: signal.signal(one, end) for one in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield asked
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


WATCH_COMMAND = Command("watch", "Score checkpoints beside a live run, judge rules, tell people.", _configure, _run)
