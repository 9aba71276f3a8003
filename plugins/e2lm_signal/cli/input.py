"""What the verbs of ``e2lm signal`` read their curves from, with the notes that belong to it."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from e2lm import Curve, ItemMetric, Scores, UserError
from e2lm.plugin_manager import PluginManager
from e2lm.results import Reading, read_scores
from e2lm.results.competition import COMPETITION_RAMP, RUNS, BatchRamp
from e2lm.results.direction import Directions
from e2lm.scores import ScoreRow
from e2lm_signal.curves import Wanted, chosen_scores, curve_groups, official_selection, with_tokens
from e2lm_signal.item_table import SampleIndex, read_item_tables


@dataclass(frozen=True, slots=True)
class ScoreInput:
    """The chosen scores, what was done to them, and the items behind them where there are any."""

    scores: Scores
    notes: list[str]
    metrics: list[ItemMetric]
    chances: dict[str, float]
    items: SampleIndex | ItemIndex | None
    directions: Directions
    #: With the checkpoints that the competition's selection took from ``scores``.
    unselected: Scores | None = None

    @property
    def curve_count(self) -> int:
        """Number of series x task x metric."""
        return int(self.scores.frame.groupby(["series", "task", "metric"]).ngroups)

    def groups(self) -> Iterator[list[Curve]]:
        """The curves of each task x metric; items are computed for one group at a time."""
        for curves in curve_groups(self.scores, self.metrics, self.chances, self.directions):
            yield curves if self.items is None else self.items.with_items(curves, self.metrics)

    def unselected_curves(self) -> dict[tuple[str, str], list[Curve]]:
        """By task and metric, the curves with all their checkpoints, where a selection took some."""
        groups = (
            ()
            if self.unselected is None
            else curve_groups(self.unselected, self.metrics, self.chances, self.directions)
        )
        return {(curves[0].task, curves[0].metric): curves for curves in groups}


def read_input(arguments: Namespace, manager: PluginManager) -> ScoreInput:
    """The scores that the arguments ``path``, ``columns``, ``series``, ``tasks``, ``metrics`` ... name."""
    path = Path(arguments.path)
    metrics = manager.all("e2lm_register_metrics", ItemMetric, "item metric")
    chances = parsed_levels(arguments.chance)
    if path.suffix == ".npz":
        return _from_items(path, arguments, metrics, chances)
    source = read_scores(path, reading_of(arguments))
    table = chosen_scores(source.scores, Wanted(arguments.series, arguments.tasks, arguments.metrics))
    table, said = _with_tokens(table, arguments)
    notes, unselected = [*source.notes, *said], None
    if source.layout == "e2lmc" and not arguments.all_checkpoints:
        unselected = table
        table, said = official_selection(table)
        notes += said
    samples = SampleIndex.beside(path, source)
    if samples is not None:
        notes.append("intervals of metrics computed from Samples are paired item bootstraps")
    ways = Directions(source.directions, tuple(metrics), arguments.lower, arguments.higher)
    notes += asked_directions(table, ways.checked(source.scores.frame["metric"].unique()))
    return ScoreInput(table, notes, metrics, chances, samples, ways, unselected)


def reading_of(arguments: Namespace) -> Reading:
    """How the user wants results to be read."""
    split_by = getattr(arguments, "split_by", None)
    return Reading(
        tuple(arguments.columns),
        getattr(arguments, "step_pattern", ""),
        getattr(arguments, "series_pattern", ""),
        None if split_by is None else tuple(split_by),
        apart=True,
    )


def asked_directions(table: Scores, ways: Directions) -> list[str]:
    """A line for each metric that falls in most series while nobody says which way is better."""
    lines = []
    for (task, metric), rows in table.frame.groupby(["task", "metric"], sort=True):
        if ways.known(str(task), str(metric)) is not None:
            continue
        by_series = [one["value"].to_numpy() for _, one in rows.sort_values("step").groupby("series")]
        falling = sum(len(values) > 1 and values[-1] < values[0] for values in by_series)
        if 2 * falling > len(by_series):
            lines.append(
                f"{metric} of {task} falls, and neither file nor name says whether that is good; taken as bad: "
                f"--lower {metric} if less is better, --higher {metric} if more"
            )
    return lines


def _with_tokens(table: Scores, arguments: Namespace) -> tuple[Scores, list[str]]:
    """Tokens where the file has none, as the user says, else as the runs of the competition are known to go."""
    per_step, ramp = arguments.tokens_per_step, arguments.batch_ramp
    if per_step is not None and ramp:
        raise UserError("--tokens-per-step and --batch-ramp: give one of them")
    if ramp or per_step is not None:
        option = "--batch-ramp" if ramp else "--tokens-per-step"
        told = parsed_ramp(ramp).tokens if ramp else lambda step: step * per_step
        table, rows = with_tokens(table, told, lambda series: True)
        return table, [f"{option}: tokens of {rows} rows; {len(table) - rows} rows had theirs, which stand"]
    table, rows = with_tokens(table, COMPETITION_RAMP.tokens, lambda series: RUNS.fullmatch(series) is not None)
    said = f"tokens of {rows} rows follow from the step by the competition's batch ramp, by the names of their series"
    return table, [f"{said}; --tokens-per-step or --batch-ramp says otherwise"] if rows else []


def parsed_ramp(texts: Sequence[str]) -> BatchRamp:
    """``["e2lmc"]``, or ``start=256 increment=256 samples=4882812 batch=1024 length=4096``.

    >>> parsed_ramp(["e2lmc"]) == parsed_ramp("start=256 increment=256 samples=4882812 batch=1024 length=4096".split())
    True
    """
    if list(texts) == ["e2lmc"]:
        return COMPETITION_RAMP
    names = [one.name for one in fields(BatchRamp)]
    parts = dict(text.partition("=")[::2] for text in texts)
    wrong = [name for name in parts if name not in names]
    if wrong or len(parts) < len(texts) or any(not parts.get(name, "").isdecimal() for name in names):
        usage = " ".join(f"{name}=N" for name in names)
        raise UserError(f"--batch-ramp: found {' '.join(texts)!r}; allowed are e2lmc, or all of {usage}")
    ramp = BatchRamp(**{name: int(parts[name]) for name in names})
    if min(ramp.start, ramp.increment, ramp.length) < 1 or (ramp.batch - ramp.start) % ramp.increment:
        raise UserError("--batch-ramp: the batch must grow from start to batch by whole increments of at least 1")
    return ramp


def parsed_levels(texts: Sequence[str]) -> dict[str, float]:
    """``["arc*=0.25"]`` as ``{"arc*": 0.25}``."""
    levels = {}
    for text in texts:
        pattern, equals, level = text.partition("=")
        try:
            levels[pattern] = float(level)
        except ValueError:
            equals = ""
        if not equals or not pattern:
            raise UserError(f"--chance: {text!r} is not of the form TASK=LEVEL, for example 'arc*=0.25'")
    return levels


@dataclass(frozen=True, slots=True)
class ItemIndex:
    """Curves of one table of item values, by series."""

    by_series: dict[str, Curve]

    def with_items(self, curves: Sequence[Curve], metrics: Sequence[ItemMetric]) -> list[Curve]:
        """The curves with their item values; the chance level they were given stays."""
        return [
            replace(self.by_series[one.series], chance=one.chance, higher_is_better=one.higher_is_better)
            for one in curves
        ]


def _from_items(path: Path, arguments: Namespace, metrics: list[ItemMetric], chances: dict[str, float]) -> ScoreInput:
    curves = read_item_tables(path, metrics, "")[0].curves()
    rows = [
        ScoreRow(curve.series, int(step), curve.task, curve.metric, float(value), stderr=float(stderr), n=int(n))
        for curve in curves
        for step, value, stderr, n in zip(curve.steps_K, curve.values_K, curve.stderr_K, curve.n_items_K, strict=True)
    ]
    table = chosen_scores(Scores.from_rows(rows), Wanted(arguments.series, arguments.tasks, arguments.metrics))
    notes = [f"{path}: tokens unknown, steps stand in; intervals are paired item bootstraps"]
    ways = Directions({}, tuple(metrics), arguments.lower, arguments.higher).checked(table.frame["metric"].unique())
    index = ItemIndex({curve.series: curve for curve in curves})
    return ScoreInput(table, notes, metrics, chances, index, ways)
