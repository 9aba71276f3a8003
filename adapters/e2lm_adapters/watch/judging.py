"""Holds rules against what is known of each watched run: scores, items, weights, the trainer's log, the clock."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from e2lm.arrays import Values
from e2lm.errors import UserError, one_line
from e2lm.interval import normal_quantile
from e2lm.plugin_manager import plugin_manager
from e2lm.results import read_scores
from e2lm.results.direction import direction_of_name
from e2lm.samples import SAMPLES_FOLDER, Samples, read_samples
from e2lm.scaling_predictor import Forecast, ScalingPredictor, UnfinishedRun
from e2lm.scores import Scores
from e2lm.signal_score import Curve, SignalScore
from e2lm.verdict import RunVerdict
from e2lm_adapters.checkpoints.formats.transformers_folder import TRAINER_STATE
from e2lm_adapters.eval.recorded import TABLE_FILE
from e2lm_adapters.eval.store import UNITS_FOLDER, EvaluationStore, Unit
from e2lm_adapters.watch.evidence import (
    end_of_differences,
    first_of_cell,
    log_e_value,
    spikes,
    surely_below,
    surely_past,
    thinned,
)
from e2lm_adapters.watch.finished import Look
from e2lm_adapters.watch.rule import WatchRule
from e2lm_adapters.watch.verdicts import hash_of_inputs, now

#: Who forecasts the end of a loss; found among the predictors of all plugins.
PREDICTOR = "token-power"
FEWEST_LOSSES = 8
#: A signal score is looked at when so many checkpoints are there; alpha = .05 is spent over all of these looks.
SCORE_LOOKS = (8, 12, 18, 27, 40, 60, 90, 135, 200, 300)
LOOKED_QUANTILE = normal_quantile(1 - 2 * 0.05 / len(SCORE_LOOKS))
LOGGED_LOSS = "loss"


@dataclass(frozen=True, slots=True)
class LossLog:
    """Logged losses of a run, in order of step; tokens are NaN where unknown."""

    steps_K: Values
    tokens_K: Values
    loss_K: Values


@dataclass
class WatchedFacts:
    """What is known of one series when rules are judged."""

    name: str
    scores: Scores
    units: Sequence[Unit]
    log: LossLog
    newest_s: float

    @property
    def step(self) -> int:
        """The newest step that is known of."""
        steps = [unit.step for unit in self.units] + [int(step) for step in self.log.steps_K[-1:]]
        return max(steps, default=0)


FoundByRule = tuple[int, float | None, Any]


@dataclass
class RuleJudge:
    """Judges ``rules`` over the runs of an output folder; what cannot be judged yet is said once."""

    rules: Sequence[WatchRule]
    out: Path
    tokens_per_step: float | None = None
    began_s: float = field(default_factory=time.time)
    _told: set[str] = field(default_factory=set)
    _seen: tuple[float, ...] | None = None
    _samples: dict[Path, tuple[int, Samples]] = field(default_factory=dict)

    def verdicts(self, looks: Sequence[Look]) -> list[RunVerdict]:
        """What holds now, told before or not."""
        if not self.rules:
            return []
        found = []
        seen, self._seen = self._seen, self._state(looks)
        rules = [rule for rule in self.rules if rule.kind == "stalled" or seen != self._seen]
        for facts in self._facts(looks) if rules else ():
            for rule in rules:
                if facts.name in {Path(one).name for one in rule.baselines}:
                    continue
                try:
                    findings = list(JUDGES[rule.kind](self, rule, facts))
                except UserError as error:
                    self._tell_once(f"{rule.text}: {facts.name}: not judged: {one_line(error)}")
                    continue
                found += [_verdict(rule, facts.name, finding) for finding in findings]
        return found

    def _tell_once(self, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            print(f"note: {line}", file=sys.stderr, flush=True)

    def _state(self, looks: Sequence[Look]) -> tuple[float, ...]:
        """What changes when there is something new to judge."""
        places = [self.out / TABLE_FILE, *(self.out / UNITS_FOLDER / name for look in looks for name in look.names)]
        return (*(look.newest_s for look in looks), *(one.stat().st_mtime for one in places if one.exists()))

    def _facts(self, looks: Sequence[Look]) -> Iterator[WatchedFacts]:
        path = self.out / TABLE_FILE
        scores = read_scores(path).scores if path.is_file() else Scores.from_rows([])
        store = EvaluationStore(self.out)
        for name in dict.fromkeys(name for look in looks for name in look.names):
            places = [look.newest[name] for look in looks if name in look.newest]
            newest_s = max((look.newest_s for look in looks if name in look.names), default=0.0)
            log = logged_losses(places[-1], self.tokens_per_step) if places else _no_log()
            yield WatchedFacts(name, scores.where(series=name), store.recorded(name), log, newest_s)

    # -- one function for each kind of rule -----------------------------------------------------------------------

    def loss(self, rule: WatchRule, facts: WatchedFacts) -> Iterator[FoundByRule]:
        """Where the loss ends, by a forecast of a plugin."""
        at_K, loss_K = _losses(facts)
        if len(at_K) < FEWEST_LOSSES or at_K[-1] >= rule.tokens:
            return
        used = first_of_cell(at_K, rule.tokens)
        at_K, loss_K = thinned(at_K[:used], loss_K[:used])
        if len(at_K) < FEWEST_LOSSES:
            return
        told = forecast_at(at_K, loss_K, rule.tokens)
        value = surely_past(told.value, told.log_half_width, rule.loss, rule.sign, normal_quantile())
        if value > rule.threshold:
            yield facts.step, value, [at_K.tolist(), loss_K.tolist()]

    def below(self, rule: WatchRule, facts: WatchedFacts) -> Iterator[FoundByRule]:
        """Whether the run ends below a baseline, paired on items."""
        own = self._given(self.out, facts.name, rule.task)
        seeds = [self._baseline(name, rule.task) for name in rule.baselines]
        steps = sorted(set(own).intersection(*seeds) - {0})
        if not steps:
            return
        logs, differences = [], []
        for step in steps:
            theirs = [paired(own[step], seed[step]) for seed in seeds]
            gaps = [float(np.mean(a - b)) for a, b in combinations(theirs, 2)]
            margin = max((abs(gap) for gap in gaps), default=0.0)
            logs.append(min(log_e_value(below_I, margin) for below_I in theirs))
            differences.append(max(-float(np.mean(below_I)) for below_I in theirs) + margin)
        steps_K, differences_K = np.array(steps, dtype=np.float64), np.array(differences)
        end = float(max(max(seed) for seed in seeds))
        value = surely_below(np.array(logs))
        if value > rule.threshold and end_of_differences(steps_K, differences_K, end) < 0:
            yield steps[-1], value, [steps, logs, differences]

    def score(self, rule: WatchRule, facts: WatchedFacts) -> Iterator[FoundByRule]:
        """A signal score past a number, by the end of its interval that says so surely."""
        curve = _curve(facts, rule)
        looks = [count for count in SCORE_LOOKS if count <= len(curve.steps_K)]
        if not looks:
            return
        curve = curve.at(np.arange(len(curve.steps_K)) < looks[-1])
        score: SignalScore = plugin_manager().find(
            "e2lm_register_signal_scores", SignalScore, rule.score, "signal score"
        )
        told = score.score(curve, np.random.default_rng(0))
        if told.value is None:
            return
        low, high = (told.value if end is None else end for end in (told.low, told.high))
        wider = LOOKED_QUANTILE / normal_quantile()
        sure = told.value + wider * ((high if rule.sign == "<" else low) - told.value)
        if (sure < rule.threshold) if rule.sign == "<" else (sure > rule.threshold):
            yield int(curve.steps_K[-1]), float(told.value), [curve.steps_K.tolist(), curve.values_K.tolist()]

    def spike(self, rule: WatchRule, facts: WatchedFacts) -> Iterator[FoundByRule]:
        """A jump of the logged loss; of the losses in the table where nothing is logged."""
        log = facts.log if len(facts.log.loss_K) else _table_losses(facts)
        finite_K = np.isfinite(log.loss_K)
        steps_K, loss_K = log.steps_K[finite_K], log.loss_K[finite_K]
        for k, deviations in spikes(loss_K):
            yield int(steps_K[k]), deviations, [steps_K[: k + 1].tolist(), loss_K[: k + 1].tolist()]

    def nan(self, rule: WatchRule, facts: WatchedFacts) -> Iterator[FoundByRule]:
        """What is NaN or infinite: a checkpoint, or a logged loss; the first of them."""
        units = [(unit.step, unit.not_finite) for unit in facts.units if unit.not_finite and not unit.is_unusable]
        logged = [(int(step), "loss") for step in facts.log.steps_K[~np.isfinite(facts.log.loss_K)]]
        for step, why in sorted([*units, *logged])[:1]:
            yield step, None, why

    def duplicate(self, rule: WatchRule, facts: WatchedFacts) -> Iterator[FoundByRule]:
        """Weights of an earlier step, byte for byte."""
        first: dict[str, int] = {}
        for unit in sorted(facts.units, key=lambda one: one.step):
            step = first.setdefault(unit.weights_sha256, unit.step)
            if step != unit.step:
                yield unit.step, float(step), unit.weights_sha256

    def stalled(self, rule: WatchRule, facts: WatchedFacts) -> Iterator[FoundByRule]:
        """Nothing new for so long; the clock of a folder without files begins with the watch."""
        idle_s = time.time() - max(facts.newest_s, 0.0 if facts.newest_s else self.began_s)
        if idle_s > rule.threshold:
            yield facts.step, round(idle_s, 1), facts.newest_s

    # -- items ----------------------------------------------------------------------------------------------------

    def _baseline(self, name: str, task: str) -> dict[int, Samples]:
        path = Path(name)
        if (path / TABLE_FILE).is_file():
            return self._given(path, None, task)
        return self._given(self.out, path.resolve().name, task)

    def _given(self, out: Path, series: str | None, task: str) -> dict[int, Samples]:
        """What the checkpoints of a series say of the items of ``task``, by step."""
        found: dict[int, Samples] = {}
        for file in sorted((out / SAMPLES_FOLDER).glob(f"{series or '*'}/{task}/checkpoint-*.parquet")):
            changed = file.stat().st_mtime_ns
            known = self._samples.get(file)
            if known is None or known[0] != changed:
                known = self._samples[file] = (changed, read_samples(file)[0])
            found[known[1].step] = known[1]
        return found


JUDGES: dict[str, Callable[[RuleJudge, WatchRule, WatchedFacts], Iterator[FoundByRule]]] = {
    "loss": RuleJudge.loss,
    "below": RuleJudge.below,
    "score": RuleJudge.score,
    "loss spike": RuleJudge.spike,
    "nan": RuleJudge.nan,
    "duplicate checkpoint": RuleJudge.duplicate,
    "stalled": RuleJudge.stalled,
}


def _verdict(rule: WatchRule, series: str, finding: FoundByRule) -> RunVerdict:
    step, value, numbers = finding
    return RunVerdict(
        time=now(),
        rule=rule.text,
        series=series,
        step=step,
        value=value,
        threshold=rule.threshold,
        state=rule.state,
        inputs_sha256=hash_of_inputs(numbers),
    )


def forecast_at(at_K: Values, loss_K: Values, end: float) -> Forecast:
    """The loss at ``end``, by the predictor of a plugin; a :class:`UserError` where it has no interval."""
    predictor: ScalingPredictor = plugin_manager().find(
        "e2lm_register_scaling_predictors", ScalingPredictor, PREDICTOR, "scaling predictor"
    )
    count, unknown_K = len(at_K), np.full(len(at_K), np.nan)
    curve = Curve(
        "run", "", LOGGED_LOSS, np.arange(count), at_K, loss_K, unknown_K, np.zeros(count, np.int64),
        higher_is_better=False,
    )  # fmt: skip
    forecast = predictor.at_end(UnfinishedRun(curve, end), np.random.default_rng(0))
    if not 0 < forecast.log_half_width < math.inf:
        raise UserError(f"the forecast has no interval ({forecast.reason})")
    return forecast


def paired(run: Samples, base: Samples) -> Values:
    """Probability of the true choice among all choices, baseline minus run, item by item."""
    if not np.array_equal(run.doc_ids_I, base.doc_ids_I):
        raise UserError(f"{run.task}: step {run.step} of {run.series} and of {base.series} have other items")
    return _chosen(base) - _chosen(run)


def _chosen(samples: Samples) -> Values:
    choices = samples.choices
    if choices.loglik_IC.shape[1] < 2:
        raise UserError(f"{samples.task}: its items have one choice; a rule on items needs several")
    given_IC = np.where(choices.there_IC, choices.loglik_IC, -np.inf)
    given_IC = np.exp(given_IC - given_IC.max(axis=1, keepdims=True))
    return np.asarray(np.where(choices.gold_IC, given_IC, 0.0).sum(axis=1) / given_IC.sum(axis=1))


def logged_losses(place: Path, tokens_per_step: float | None) -> LossLog:
    """The training losses in the ``trainer_state.json`` beside a checkpoint; none where there is none."""
    try:
        history = json.loads((place / TRAINER_STATE).read_text(encoding="utf-8"))["log_history"]
        entries = [one for one in history if isinstance(one.get("step"), int) and LOGGED_LOSS in one]
        rows = {one["step"]: (float(one[LOGGED_LOSS]), one.get("num_input_tokens_seen")) for one in entries}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return _no_log()
    steps_K = np.array(sorted(rows), dtype=np.float64)
    known = [float(rows[int(step)][1] or math.nan) for step in steps_K]
    tokens_K = np.array(known) if tokens_per_step is None else steps_K * tokens_per_step
    return LossLog(steps_K, tokens_K, np.array([rows[int(step)][0] for step in steps_K]))


def _no_log() -> LossLog:
    empty_K = np.zeros(0)
    return LossLog(empty_K, empty_K, empty_K)


def _table_losses(facts: WatchedFacts) -> LossLog:
    rows = facts.scores.frame[facts.scores.frame["metric"] == LOGGED_LOSS]
    if rows["task"].nunique() > 1:
        raise UserError(f"the table has the losses of {', '.join(sorted(rows['task'].unique())[:4])}; one is needed")
    columns = (rows[column].to_numpy(dtype=np.float64) for column in ("step", "tokens", "value"))
    return LossLog(*columns)


def _losses(facts: WatchedFacts) -> tuple[Values, Values]:
    """Tokens and losses: as logged, else as they stand in the table."""
    log = facts.log if len(facts.log.loss_K) else _table_losses(facts)
    if len(log.loss_K) and not np.isfinite(log.tokens_K).any():
        raise UserError("its tokens are not known; --tokens-per-step tells them")
    good_K = np.isfinite(log.tokens_K) & np.isfinite(log.loss_K) & (log.tokens_K > 0) & (log.loss_K > 0)
    return log.tokens_K[good_K], log.loss_K[good_K]


def _curve(facts: WatchedFacts, rule: WatchRule) -> Curve:
    frame = facts.scores.frame
    rows = frame[frame["task"] == rule.task]
    metrics = sorted(rows["metric"].unique())
    metric = rule.metric or ("acc" if "acc" in metrics else next(iter(metrics), ""))
    if metrics and metric not in metrics:
        raise UserError(f"{rule.task} has no metric {metric!r}, but {', '.join(metrics[:6])}")
    rows = rows[rows["metric"] == metric].drop_duplicates("step", keep="last")
    chance = float(rows["chance"].iloc[-1]) if "chance" in rows and len(rows) else math.nan
    columns: Any = {name: rows[name].to_numpy() for name in ("step", "tokens", "value", "stderr", "n")}
    return Curve(
        facts.name, rule.task, metric, columns["step"].astype(np.int64), columns["tokens"], columns["value"],
        columns["stderr"], columns["n"].astype(np.int64), chance=None if math.isnan(chance) else chance,
        higher_is_better=direction_of_name(metric) is not False,
    )  # fmt: skip
