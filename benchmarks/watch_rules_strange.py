"""How often the rules of ``e2lm watch`` are wrong on runs of a simulator by somebody who had not read the rules.

The simulator is ``strange_losses.py`` and ``strange_items.py``; every kind of run that it knows is drawn equally often.

* paired: ``P(ends below BASE on TASK) > .95``. A run may be stopped if its realised mean over the items at the end
  (of the last two checkpoints) is below that of its baseline; all other runs are the null, whatever seeds do.
  With two baselines: if it is below both by more than they differ at the end.
* spike: ``loss spike`` on logs whose spikes are all of the ordinary sort, and on logs with one that is not.
* forecast: ``P(loss at T > x) > .95`` where the loss at T is at most x, and where it is above.
* score: ``signal_quality(TASK) < .5`` on curves of accuracy; wrong where the score of the whole curve, with which the
  run ends, is .5 or more.

Rates are over all looks of a run, with Clopper-Pearson bounds (95 %).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import strange_items
import strange_losses
from watch_rules import bounds, stop_and_end, stops_of_forecast

from e2lm.arrays import Values
from e2lm.plugin_manager import plugin_manager
from e2lm.scores import ScoreRow, Scores
from e2lm.signal_score import SignalScore
from e2lm_adapters.watch.evidence import spikes
from e2lm_adapters.watch.judging import SCORE_LOOKS, RuleJudge, WatchedFacts, _curve, _no_log
from e2lm_adapters.watch.rule import parsed

LOOKS, ITEMS, POINTS = 25, 250, 200
#: A spike that is found so many log lines after its onset is found.
SPIKE_LATE = 5
Rate = tuple[int, int]


def paired(runs: int, rng: np.random.Generator) -> Iterator[str]:
    kinds = [*strange_items.PAIR_NULLS, *strange_items.PAIR_ALTS]
    each = -(-runs // (4 * len(kinds)))
    for seeds in (1, 2):
        for score in ("acc", "loglik"):
            wrong = null = right = justified = saved = 0
            lines = []
            for kind in kinds:
                found = [_paired_run(kind, score, seeds, rng) for _ in range(each)]
                kept = [stop for stop, end in found if end >= 0]
                bad = sum(stop is not None for stop in kept)
                good = [stop for stop, end in found if end < 0]
                wrong, null = wrong + bad, null + len(kept)
                justified, right = justified + len(good), right + sum(stop is not None for stop in good)
                saved += sum(1 - stop / LOOKS for stop in good if stop is not None)
                if bad:
                    lines.append(f"    wrong in {kind}: {bounds(bad, len(kept))}")
            yield (
                f"{seeds} baseline(s), {score:<6} wrong stops {bounds(wrong, null)}; "
                f"right stops {bounds(right, justified)}, saved {saved / justified:.0%}"
            )
            yield from lines


def _paired_run(kind: str, score: str, seeds: int, rng: np.random.Generator) -> tuple[int | None, float]:
    run_KI, _, truth = strange_items.paired_items(rng, kind, LOOKS, ITEMS, score=score, n_baselines=seeds)
    bases_SKI = truth["baselines"]
    if score == "loglik":  # the probability of the true choice
        run_KI, bases_SKI = np.exp(run_KI), np.exp(bases_SKI)
    return stop_and_end(np.asarray(run_KI, dtype=np.float64), np.asarray(bases_SKI, dtype=np.float64))


def spike(runs: int, rng: np.random.Generator) -> Iterator[str]:
    each = -(-runs // len(strange_losses.LOSS_NULLS))
    total = 0
    for kind in strange_losses.LOSS_NULLS:
        wrong = sum(bool(spikes(strange_losses.loss_curve(rng, kind, POINTS)[1])) for _ in range(each))
        total += wrong
        yield f"{kind:<20} false alarms {bounds(wrong, each)}"
    yield f"{'all of them':<20} false alarms {bounds(total, each * len(strange_losses.LOSS_NULLS))}"
    for kind in ("alt_spike_recover", "alt_spike_partial", "alt_spike_stay", "alt_spike_train", "alt_diverge_fast"):
        found = 0
        for _ in range(each // 2):
            run = strange_losses.loss_curve(rng, kind, POINTS, full=True)
            late = POINTS if kind == "alt_spike_train" else SPIKE_LATE  # each of a train is higher than the one before
            found += any(0 <= k - run.onset < late for k, _ in spikes(run.loss))
        yield f"{kind:<20} found {bounds(found, each // 2)}"


def forecast(runs: int, rng: np.random.Generator, first: int = 0) -> Iterator[str]:
    """Of ``runs`` runs, the first of them of the kind ``first``; each costs a second of a CPU."""
    wrong: dict[str, Rate] = {}
    for number in range(runs):
        kind = strange_losses.FORECAST_NULLS[number % 3]
        stopped, run = _forecast_run(
            kind, strange_losses.LOSS_NULLS[(7 * number + first) % len(strange_losses.LOSS_NULLS)], rng
        )
        for name in (kind, run, "all of them"):
            bad, count = wrong.get(name, (0, 0))
            wrong[name] = bad + (stopped is not None), count + 1
    for name, rate in wrong.items():
        yield f"{name:<20} wrong stops {bounds(*rate)}"
    for kind in strange_losses.FORECAST_ALTS[1:]:
        stops = [_forecast_run(kind, None, rng)[0] for _ in range(max(runs // 20, 3))]
        saved = sum(1 - one for one in stops if one is not None) / len(stops)
        yield f"{kind:<20} right stops {bounds(sum(one is not None for one in stops), len(stops))}, saved {saved:.0%}"


def _forecast_run(kind: str, run: str | None, rng: np.random.Generator) -> tuple[float | None, str]:
    case = strange_losses.forecast_case(rng, kind, POINTS, run_kind=run, observed_frac=0.97)
    (stop,) = stops_of_forecast(case.tokens, case.loss, float(case.T), [case.x])
    return stop, str(case.run.kind)


def score(runs: int, rng: np.random.Generator) -> Iterator[str]:
    rule = parsed("signal_quality(task) < .5", "stop")
    judge = RuleJudge([rule], Path())
    each, looks = -(-runs // len(strange_items.SCORE_KINDS)), [count for count in SCORE_LOOKS if count < 2 * LOOKS]
    whole = np.zeros(4, dtype=np.int64)
    for kind in strange_items.SCORE_KINDS:
        counts = np.zeros(4, dtype=np.int64)  # wrong, could be wrong; right, could be right
        for _ in range(each):
            value_K, truth = strange_items.scores(rng, kind, 2 * LOOKS, ITEMS, full=True)
            facts = _facts(value_K, float(truth["chance"]))
            stopped = any(list(judge.score(rule, _first(facts, count))) for count in looks)
            ends_low = _ends_low(facts)
            counts += np.array([stopped and not ends_low, not ends_low, stopped and ends_low, ends_low], dtype=np.int64)
        whole += counts
        yield f"{kind:<20} {_told(counts)}"
    yield f"{'all of them':<20} {_told(whole)}"


def _told(counts: Values) -> str:
    wrong, null, right, justified = (int(one) for one in counts)
    return f"wrong {bounds(wrong, null)}; right {bounds(right, justified)}"


def _facts(value_K: Values, chance: float) -> WatchedFacts:
    error_K = np.sqrt(np.maximum(value_K * (1 - value_K), 0.01) / ITEMS)
    rows = [
        ScoreRow(
            "run", 1000 * k, "task", "acc", float(value), stderr=float(error), n=ITEMS, tokens=1e6 * k, chance=chance
        )
        for k, (value, error) in enumerate(zip(value_K, error_K, strict=True), 1)
    ]
    return WatchedFacts("run", Scores.from_rows(rows), (), _no_log(), 0.0)


def _first(facts: WatchedFacts, count: int) -> WatchedFacts:
    return replace(facts, scores=Scores.from_rows(list(facts.scores.rows())[:count]))


def _ends_low(facts: WatchedFacts) -> bool:
    curve = _curve(facts, parsed("signal_quality(task) < .5", "stop"))
    found = plugin_manager().find("e2lm_register_signal_scores", SignalScore, "signal_quality", "signal score")
    value = found.score(curve, np.random.default_rng(0)).value
    return value is not None and value < 0.5


PARTS: dict[str, Callable[..., Iterator[str]]] = {
    "paired": paired,
    "spike": spike,
    "forecast": forecast,
    "score": score,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=list(PARTS))
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    for part in arguments.parts:
        began_s = time.process_time()
        print(f"## {part}")
        rng = np.random.default_rng(arguments.seed)
        first = (arguments.seed,) if part == "forecast" else ()
        for line in PARTS[part](arguments.runs, rng, *first):
            print(line, flush=True)
        print(f"({time.process_time() - began_s:.0f} CPU s)\n")


if __name__ == "__main__":
    main()
