"""``e2lm signal PATH`` and its actions: distil, noise, compare, versus, outliers, plot; ``e2lm results PATH``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from e2lm import Command
from e2lm.answer import Answer
from e2lm.argument import AMOUNT, COUNT, COUNT_OR_NONE, SEED, SHARE, Several, file_to_write, folder_to_write, word
from e2lm.command import Action


def _choice(parser: ArgumentParser) -> None:
    parser.add_argument("--series", action=Several, metavar="PATTERN", help="only these series, e.g. '*arch1'")
    parser.add_argument("--tasks", action=Several, metavar="PATTERN", help="only these tasks")
    parser.add_argument("--metrics", action=Several, metavar="PATTERN", help="only these metrics")


def _common(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON; notes go to standard error")
    parser.add_argument("--seed", type=SEED, default=0, help="of the resampling (default: 0)")


def _scores_source(parser: ArgumentParser) -> None:
    parser.add_argument("path", help="a Scores table (Parquet, CSV), an lm-eval or e2lm eval folder, competition JSON")
    _choice(parser)
    parser.add_argument(
        "--all-checkpoints", action="store_true",
        help="official scores over all checkpoints, not every 4,000th step up to 206 billion tokens",
    )  # fmt: skip
    parser.add_argument("--tokens-per-step", type=AMOUNT, help="training tokens per step, where the file has none")
    parser.add_argument(
        "--batch-ramp", action=Several, metavar="e2lmc|KEY=VALUE",
        help="tokens of a step while the batch grew: e2lmc, or start= increment= samples= batch= length=",
    )  # fmt: skip
    parser.add_argument("--chance", action=Several, metavar="TASK=LEVEL", help="what guessing gets, e.g. 'arc*=0.25'")
    _reading(parser)
    parser.add_argument("--lower", action=Several, metavar="METRIC", help="metrics of which less is better")
    parser.add_argument("--higher", action=Several, metavar="METRIC", help="metrics of which more is better")


def _reading(parser: ArgumentParser) -> None:
    """How results are to be read: columns of tables, patterns of names, what splits curves."""
    parser.add_argument(
        "--columns", action=Several, item=word, metavar="NAME=COLUMN[+COLUMN]",
        help="which columns of a table are series, step, task, metric, value, ..., e.g. series=model+shots",
    )  # fmt: skip
    parser.add_argument(
        "--split-by", action=Several, default=None, metavar="FIELD",
        help="what splits curves where it differs, e.g. shots limit (default: all that does; e2lm results PATH shows)",
    )  # fmt: skip
    parser.add_argument(
        "--step-pattern", default="", metavar="REGEX", help="where names tell the step, e.g. 'it([0-9]+)'"
    )
    parser.add_argument(
        "--series-pattern", default="", metavar="REGEX", help="where names tell the run, e.g. 'runs/([^/]+)'"
    )


def _plain(parser: ArgumentParser) -> None:
    _scores_source(parser)
    _common(parser)
    parser.add_argument(
        "--scores", action=Several, default=None, metavar="NAME",
        help="only these scores (default: all); NAME.mean3 and NAME.ema50 average checkpoints first",
    )  # fmt: skip
    parser.add_argument("--full", action="store_true", help="text with every score, row and reason, as JSON has them")
    parser.add_argument("--control", metavar="PATTERN", help="series trained on web data, for e2lmc_cs")
    parser.add_argument(
        "--rc", action=Several, metavar="KEY=VALUE",
        help="of e2lmc_rc: window=TOKENS reference=mean|last|final|STEP agreement=pairs|exact|tau-b",
    )  # fmt: skip


def _items_source(parser: ArgumentParser) -> None:
    parser.add_argument("path", help="Samples (folder or Parquet), or .npz with values [series, checkpoints, items]")
    parser.add_argument("--metric", default="gold_minus_mean_wrong", help="item metric to compute of Samples")
    parser.add_argument("--tokens-per-step", type=AMOUNT, help="training tokens per step, where the file has none")
    _common(parser)


def _noise(parser: ArgumentParser) -> None:
    _items_source(parser)
    parser.add_argument("--control", metavar="PATH", help="items of a control task, subtracted to cancel common drift")


def _distil(parser: ArgumentParser) -> None:
    _items_source(parser)
    parser.add_argument("--keep", type=SHARE, help="share of items to keep (default: 0.2)")
    parser.add_argument(
        "--method", default="group-snr",
        help="group-snr, item-snr, slope, discrimination, irt or easiest (highest late values); or, without --keep, "
        "rising (all whose line against checkpoints rises) or all",
    )  # fmt: skip
    parser.add_argument("--tasks", action=Several, metavar="PATTERN", help="only these tasks")
    parser.add_argument(
        "--where", action=Several, item=word, metavar="FIELD=PATTERN",
        help="only items whose document, as lm-eval logged it, says so: 'type=mcq*' 'details.level=L[123]'",
    )  # fmt: skip
    parser.add_argument(
        "--choose-until", type=SHARE, default=1.0, metavar="SHARE",
        help="choose the items from this first share of the run, e.g. 0.5, and measure them over all (default: 1)",
    )  # fmt: skip
    parser.add_argument("--repeats", type=COUNT, default=20, help="random halves of the models (default: 20)")
    parser.add_argument(
        "--target", metavar="SCORES", help="a Scores table whose final values say who won (default: the items' own)"
    )
    parser.add_argument("--target-task", help="which task of --target (default: the only one)")
    parser.add_argument("--target-metric", help="which metric of --target (default: the only one)")
    parser.add_argument("--columns", action=Several, item=word, metavar="NAME=COLUMN", help="columns of --target")
    parser.add_argument("--early-tokens", action=Several, item=AMOUNT, help="where decisions are made early")
    parser.add_argument("--base-task", help="lm-eval task whose items these are (written into the YAML)")
    parser.add_argument(
        "--group", metavar="NAME", help="distil all tasks together, as one benchmark: an lm-eval group of that name"
    )
    parser.add_argument("--include-path", metavar="DIR", help="where base tasks are that lm-eval does not bring")
    parser.add_argument(
        "--num-fewshot", type=COUNT_OR_NONE, help="of the written tasks (default: as the samples were logged)"
    )
    parser.add_argument(
        "--out", type=folder_to_write, metavar="DIR", help="write the lm-eval task, item ids and card here"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be written, write nothing")


def _compare(parser: ArgumentParser) -> None:
    _scores_source(parser)
    _common(parser)
    parser.add_argument("--early", type=SHARE, default=0.1, help="share of the run at which to decide (default: 0.1)")
    parser.add_argument("--target-metric", help="decide the final order by this metric (default: each by its own)")
    parser.add_argument(
        "--scales", action=Several, default=None, metavar="PATTERN",
        help="small and large series; * is the recipe, {seed} is averaged: '*-150M' '*-1B', or '*-{size}-{seed}'",
    )  # fmt: skip


def _outliers(parser: ArgumentParser) -> None:
    _scores_source(parser)
    _common(parser)
    parser.add_argument("--top", type=COUNT, default=10, help="how many to show (default: 10)")


def _export(parser: ArgumentParser) -> None:
    _scores_source(parser)
    parser.add_argument(
        "--dataset", action=Several, required=True, metavar="TASK=ID",
        help="the benchmark of the Hub that a task is: OWNER/DATASET or OWNER/DATASET:TASK_ID",
    )  # fmt: skip
    parser.add_argument("--step", type=COUNT_OR_NONE, help="which checkpoint (default: the last)")
    parser.add_argument("--source-url", metavar="URL", help="where the evaluation can be seen")
    parser.add_argument(
        "--out", required=True, type=folder_to_write, metavar="DIR", help="folder of the model repository"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be written, write nothing")


def _plot(parser: ArgumentParser) -> None:
    _scores_source(parser)
    parser.add_argument(
        "--out", required=True, type=file_to_write, metavar="FILE", help=".html (inline SVG) or .png (needs matplotlib)"
    )
    parser.add_argument("--seed", type=SEED, default=0, help="of the resampling (default: 0)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be drawn, write nothing")


def _versus(parser: ArgumentParser) -> None:
    usage = "results of the {} checkpoint: PATH, PATH@SERIES or PATH@SERIES@STEP (default: the last step)"
    parser.add_argument("first", metavar="A", help=usage.format("first"))
    parser.add_argument("second", metavar="B", help=usage.format("second"))
    parser.add_argument("--tasks", action=Several, metavar="PATTERN", help="only these tasks")
    parser.add_argument("--metrics", action=Several, metavar="PATTERN", help="only these metrics")
    parser.add_argument(
        "--groups", metavar="CSV", help="items that belong together (a passage): columns task, doc_id, group"
    )
    _reading(parser)
    parser.add_argument("--json", action="store_true", help="print JSON; notes go to standard error")


_PLAIN = Action("Signal scores of every curve in a results file.", _plain, "e2lm_signal.cli.report:run_signal")
_ACTIONS = {
    "compare": Action("Which task x metric decides best early on?", _compare, "e2lm_signal.cli.compare:run_compare"),
    "distil": Action(
        "Choose the items that carry signal, by held-out models.", _distil, "e2lm_signal.distilled_task:run_distil"
    ),
    "export": Action("Scores as .eval_results of a model on the Hub.", _export, "e2lm_signal.cli.export:run_export"),
    "noise": Action("Where does the noise come from, and what would help?", _noise, "e2lm_signal.cli.noise:run_noise"),
    "outliers": Action(
        "Checkpoints that do not fit into their series.", _outliers, "e2lm_signal.cli.outliers:run_outliers"
    ),
    "versus": Action(
        "Two checkpoints or runs on the same items: difference, interval, p, least that shows, items needed.",
        _versus,
        "e2lm_signal.cli.versus:run_versus",
    ),
    "plot": Action(
        "Curves with bands, ordering over time, SNR against decisions.", _plot, "e2lm_signal.cli.plot:run_plot"
    ),
}

SIGNAL_COMMAND = Command.with_actions(
    "signal",
    "Does a benchmark say anything early? Signal scores, noise, distillation, comparison, outliers, plots.",
    _ACTIONS,
    default=_PLAIN,
)


def _results(parser: ArgumentParser) -> None:
    parser.add_argument("path", help="whatever e2lm signal reads: a folder, a table, a file of results")
    _reading(parser)
    parser.add_argument("--full", action="store_true", help="a line for every curve, as JSON has them")
    parser.add_argument("--json", action="store_true", help="print JSON; notes go to standard error")


def _run_results(arguments: Namespace) -> Answer:
    from e2lm_signal.cli.results import run_results

    return run_results(arguments)


RESULTS_COMMAND = Command(
    "results", "What is understood of results before they are scored, and what is left out.", _results, _run_results
)
