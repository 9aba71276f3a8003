"""``e2lm signal PATH`` and its verbs: distil, noise, compare, outliers, plot.

A verb is the first argument; a file that is called like one is given as ``./noise``.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from e2lm import Command, UserError
from e2lm.errors import one_line


class _Parser(ArgumentParser):
    """Mistakes on the command line read like every other mistake: one line, exit code 2."""

    def error(self, message: str) -> None:  # type: ignore[override]
        raise UserError(f"{self.prog}: {one_line(message)} (see {self.prog} --help)")


@dataclass(frozen=True, slots=True)
class Verb:
    """``configure`` adds arguments; ``target`` is ``module:function`` of this package, imported when it runs."""

    help: str
    configure: Callable[[ArgumentParser], None]
    target: str

    def run(self, arguments: Namespace) -> int:
        """Do the work; returns the exit code."""
        module, _, function = self.target.partition(":")
        return int(getattr(import_module(f"e2lm_signal.{module}"), function)(arguments))


def _choice(parser: ArgumentParser) -> None:
    parser.add_argument("--series", nargs="+", default=(), metavar="PATTERN", help="only these series, e.g. '*arch1'")
    parser.add_argument("--tasks", nargs="+", default=(), metavar="PATTERN", help="only these tasks")
    parser.add_argument("--metrics", nargs="+", default=(), metavar="PATTERN", help="only these metrics")


def _common(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON; notes go to standard error")
    parser.add_argument("--seed", type=int, default=0, help="of the resampling (default: 0)")


def _scores_source(parser: ArgumentParser) -> None:
    parser.add_argument("path", help="a Scores table (Parquet, CSV), an lm-eval or e2lm eval folder, competition JSON")
    _choice(parser)
    parser.add_argument(
        "--all-checkpoints", action="store_true", help="competition JSON: all, not the official 14 checkpoints"
    )
    parser.add_argument(
        "--chance", nargs="+", default=(), metavar="TASK=LEVEL", help="what guessing gets, e.g. 'arc*=0.25'"
    )
    parser.add_argument(
        "--columns", nargs="+", default=(), metavar="NAME=COLUMN[+COLUMN]",
        help="which columns of a CSV are series, step, task, metric, value, ..., e.g. series=model+shots",
    )  # fmt: skip


def _plain(parser: ArgumentParser) -> None:
    _scores_source(parser)
    _common(parser)
    parser.add_argument(
        "--scores", nargs="+", metavar="NAME",
        help="only these scores (default: all); NAME.mean3 and NAME.ema50 average checkpoints first",
    )  # fmt: skip
    parser.add_argument("--control", metavar="PATTERN", help="series trained on web data, for e2lmc_cs")
    parser.add_argument(
        "--rc", nargs="+", default=(), metavar="KEY=VALUE",
        help="of e2lmc_rc: window=TOKENS reference=mean|last|final|STEP agreement=pairs|exact|tau-b",
    )  # fmt: skip


def _items_source(parser: ArgumentParser) -> None:
    parser.add_argument("path", help="Samples (folder or Parquet), or .npz with values [series, checkpoints, items]")
    parser.add_argument("--metric", default="gold_minus_mean_wrong", help="item metric to compute of Samples")
    parser.add_argument("--tokens-per-step", type=float, help="training tokens per step, where the file has none")
    _common(parser)


def _noise(parser: ArgumentParser) -> None:
    _items_source(parser)
    parser.add_argument("--control", metavar="PATH", help="items of a control task, subtracted to cancel common drift")


def _distil(parser: ArgumentParser) -> None:
    _items_source(parser)
    parser.add_argument("--keep", type=float, default=0.2, help="share of items to keep (default: 0.2)")
    parser.add_argument("--method", default="group-snr", help="group-snr, item-snr, slope, discrimination or irt")
    parser.add_argument("--repeats", type=int, default=20, help="random halves of the models (default: 20)")
    parser.add_argument(
        "--target", metavar="SCORES", help="a Scores table whose final values say who won (default: the items' own)"
    )
    parser.add_argument("--target-task", help="which task of --target (default: the only one)")
    parser.add_argument("--target-metric", help="which metric of --target (default: the only one)")
    parser.add_argument("--columns", nargs="+", default=(), metavar="NAME=COLUMN", help="columns of --target")
    parser.add_argument("--early-tokens", type=float, nargs="+", default=(), help="where decisions are made early")
    parser.add_argument("--base-task", help="lm-eval task whose items these are (written into the YAML)")
    parser.add_argument("--out", metavar="DIR", help="write the lm-eval task, item ids and card here")
    parser.add_argument("--dry-run", action="store_true", help="say what would be written, write nothing")


def _compare(parser: ArgumentParser) -> None:
    _scores_source(parser)
    _common(parser)
    parser.add_argument("--early", type=float, default=0.1, help="share of the run at which to decide (default: 0.1)")
    parser.add_argument("--target-metric", help="decide the final order by this metric (default: each by its own)")
    parser.add_argument(
        "--scales", nargs=2, metavar=("SMALL", "LARGE"),
        help="patterns of small and large series; what * stands for is the recipe, e.g. '*-150M' '*-1B'",
    )  # fmt: skip


def _outliers(parser: ArgumentParser) -> None:
    _scores_source(parser)
    _common(parser)
    parser.add_argument("--top", type=int, default=10, help="how many to show (default: 10)")


def _plot(parser: ArgumentParser) -> None:
    _scores_source(parser)
    parser.add_argument("--out", required=True, metavar="FILE", help=".html (inline SVG) or .png (needs matplotlib)")
    parser.add_argument("--seed", type=int, default=0, help="of the resampling (default: 0)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be drawn, write nothing")


PLAIN = Verb("Signal scores of every curve in a results file.", _plain, "cli.report:run_signal")
VERBS = {
    "compare": Verb("Which task x metric decides best early on?", _compare, "cli.compare:run_compare"),
    "distil": Verb("Choose the items that carry signal, by held-out models.", _distil, "distilled_task:run_distil"),
    "noise": Verb("Where does the noise come from, and what would help?", _noise, "cli.noise:run_noise"),
    "outliers": Verb("Checkpoints that do not fit into their series.", _outliers, "cli.outliers:run_outliers"),
    "plot": Verb("Curves with bands, ordering over time, SNR against decisions.", _plot, "cli.plot:run_plot"),
}


def _run(arguments: Namespace) -> int:
    rest: list[str] = arguments.rest
    name = rest[0] if rest and rest[0] in VERBS else None
    verb = PLAIN if name is None else VERBS[name]
    parser = _Parser(
        prog="e2lm signal" if name is None else f"e2lm signal {name}",
        description=verb.help,
        epilog=_verbs_help() if name is None else None,
        allow_abbrev=False,
    )
    verb.configure(parser)
    return verb.run(parser.parse_args(rest if name is None else rest[1:]))


def _verbs_help() -> str:
    return "Other forms: " + "; ".join(f"e2lm signal {name}: {verb.help}" for name, verb in VERBS.items())


SIGNAL_COMMAND = Command(
    "signal",
    "Does a benchmark say anything early? Signal scores, noise, distillation, comparison, outliers, plots.",
    lambda parser: None,
    _run,
    takes_rest=True,
)
