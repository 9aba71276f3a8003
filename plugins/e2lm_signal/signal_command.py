"""``e2lm signal PATH``: what a benchmark says early, per series x task x metric."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from e2lm import Command


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument(
        "path", help="a Scores table (Parquet, CSV), an lm-eval output folder, or the competition's JSON"
    )
    parser.add_argument("--json", action="store_true", help="print JSON; notes go to standard error")
    parser.add_argument("--scores", nargs="+", metavar="NAME", help="only these scores (default: all)")
    parser.add_argument("--series", nargs="+", default=(), metavar="PATTERN", help="only these series, e.g. '*arch1'")
    parser.add_argument("--tasks", nargs="+", default=(), metavar="PATTERN", help="only these tasks")
    parser.add_argument("--metrics", nargs="+", default=(), metavar="PATTERN", help="only these metrics")
    parser.add_argument(
        "--all-checkpoints", action="store_true", help="competition JSON: score all, not the official 14 checkpoints"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the resampling (default: 0)")


def _run(arguments: Namespace) -> int:
    from e2lm_signal.signal_run import run_signal

    return run_signal(arguments)


SIGNAL_COMMAND = Command(
    "signal", "Does a benchmark say anything early? Signal scores of every curve in a results file.", _configure, _run
)
