"""How far ``e2lm eval --executor ray`` goes: simulated, with unit times measured on this machine.

    python benchmarks/scale.py [--checkpoints 10000 --tasks 1000 --tasks-per-unit 1] [--unit-s S] [--quick] [--json]

The scheduler is the real one (``ray_dispatch``, ``ray_queue``); the cluster is played: a worker that gets a batch is
done after its units' time plus a swap of weights where the checkpoint changes, and every call costs the driver what a
call through Ray costs. Time is virtual but for the scheduler's own, which is measured as CPU time. Workers that die are
played too (``--deaths``). Three things are told apart for each number of workers: units per second, how busy the
workers are, and what share of the driver's time is used: at 1 it is saturated, and more workers bring nothing.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import os
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import numpy as np

from e2lm_adapters.eval.ray.queue import Done, Lost, Ready, Span, UnitQueue, dispatch

#: Measured with 2,000 calls of an empty actor method on a local cluster of two cores (``--measure-calls`` does it
#: again): 0.44 ms submitted together, 0.93 ms one by one.
CALL_S = 0.5e-3
#: What ``--quick`` takes for granted: about what 100 items and a swap cost a Llama of 1.8 M parameters on one core.
QUICK_UNIT_S, QUICK_SWAP_S = 0.4, 0.005
WORKERS = (1, 10, 100, 1_000, 10_000)


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds: of a unit on a worker, of a swap of weights, of a call on the driver; deaths per worker hour."""

    unit_s: float
    swap_s: float
    call_s: float
    deaths_per_h: float = 0.0


class PlayedCluster:
    """Workers in virtual time; the driver's time passes with every call and with what the scheduler itself takes."""

    def __init__(self, workers: int, costs: Costs, rng: np.random.Generator) -> None:
        self._costs = costs
        self._rng = rng
        self._heap: list[tuple[float, int, Span | None]] = [(0.0, worker, None) for worker in range(workers)]
        self._started = workers
        self._loaded: dict[int, int] = {}
        self.driver_s = 0.0
        self.driver_busy_s = 0.0
        self.worker_busy_s = 0.0
        self.calls = self.swaps = self.deaths = self.units = self.redone = 0
        self._cpu_s = time.process_time()

    def start(self, worker: int, span: Span, following: int | None) -> None:
        """A batch under way."""
        self._pass(self._costs.call_s)
        self.calls += 1
        swap = self._loaded.get(worker) != span.piece
        self.swaps += swap
        self._loaded[worker] = span.piece
        work_s = len(span) * self._costs.unit_s + swap * self._costs.swap_s
        heapq.heappush(self._heap, (self.driver_s + work_s, worker, span))

    def events(self) -> Sequence[Ready | Done | Lost]:
        """The next worker to be heard of."""
        self._pass(0.0)
        when, worker, span = heapq.heappop(self._heap)
        self.driver_s = max(self.driver_s, when)
        self._cpu_s = time.process_time()
        if span is None:
            return [Ready(worker)]
        work_s = len(span) * self._costs.unit_s
        self.worker_busy_s += work_s
        if self._costs.deaths_per_h and self._rng.random() < work_s * self._costs.deaths_per_h / 3600:
            self.deaths += 1
            self.redone += len(span)
            heapq.heappush(self._heap, (self.driver_s, self._started, None))
            self._started += 1
            return [Lost(worker, span)]
        self.units += len(span)
        return [Done(worker, span, work_s)]

    def _pass(self, more_s: float) -> None:
        """The driver's clock: what it has computed since the last look, and ``more_s``."""
        now_s = time.process_time()
        used_s = now_s - self._cpu_s + more_s
        self._cpu_s = now_s
        self.driver_s += used_s
        self.driver_busy_s += used_s


def simulated(checkpoints: int, units: int, workers: int, costs: Costs, seed: int) -> dict[str, float]:
    """One row of the table: ``checkpoints`` of ``units`` units each on ``workers`` workers."""
    cluster = PlayedCluster(workers, costs, np.random.default_rng(seed))
    began_s = time.process_time()
    given_up = dispatch(UnitQueue((piece, units) for piece in range(checkpoints)), cluster, lambda span: None)
    cpu_s = time.process_time() - began_s
    if given_up or cluster.units != checkpoints * units:
        raise SystemExit(f"the scheduler lost units: {cluster.units} of {checkpoints * units} done")
    total = checkpoints * units
    return {
        "workers": workers,
        "units": total,
        "units_per_s": total / cluster.driver_s,
        "worker_use": total * costs.unit_s / (workers * cluster.driver_s),
        "driver_use": cluster.driver_busy_s / cluster.driver_s,
        "scheduler_us_per_unit": 1e6 * cpu_s / total,
        "driver_us_per_unit": 1e6 * cluster.driver_busy_s / total,
        "batch": total / cluster.calls,
        "swaps_per_checkpoint": cluster.swaps / checkpoints,
        "deaths": cluster.deaths,
        "redone_share": cluster.redone / total,
        "days": cluster.driver_s / 86400,
    }


def measured_call_s(calls: int = 1000) -> float:
    """Driver seconds of a call of an actor of Ray, submitted and answered."""
    from e2lm_adapters.eval.ray.cluster import OBJECT_STORE_BYTES, imported_ray

    ray = imported_ray()
    ray.init(
        num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
        object_store_memory=OBJECT_STORE_BYTES,
    )  # fmt: skip

    @ray.remote(num_cpus=1)
    class Nothing:
        def evaluate(self, calls: object, following: object) -> float:
            return 0.0

    actor = Nothing.remote()
    ray.get(actor.evaluate.remote([], None))
    began_s = time.perf_counter()
    for _ in range(calls):
        ray.get(actor.evaluate.remote(["unit"], None))
    call_s = (time.perf_counter() - began_s) / calls
    ray.shutdown()
    return call_s


def measured_run(items: int) -> tuple[float, float, float, float]:
    """Seconds of a unit of ``items`` items, of a swap, of planning a unit, and of the table's rows of a unit.

    From ``e2lm eval`` on three checkpoints of a Llama of 1.8 M parameters, on this machine's CPU with one thread.
    """
    from series import TASK, made_inputs, series_run

    from e2lm.item_metric import ItemMetric
    from e2lm.live_weights import WeightSwapper
    from e2lm.plugin_manager import plugin_manager
    from e2lm.series import Series
    from e2lm.weights import read_weight_index
    from e2lm_adapters.eval.rows import score_rows
    from e2lm_adapters.eval.store import EvaluationStore, Unit
    from e2lm_adapters.scoring.swap import ReadAhead

    with tempfile.TemporaryDirectory() as name:
        inputs = made_inputs(Path(name), items, 3, 0, False)
        _, out = series_run(inputs, 0)
        units = [Unit.from_json_file(file) for file in sorted((out / "units").rglob("*.json"))]
        if [unit.task for unit in units] != [TASK] * 3:
            raise SystemExit(f"expected three units of {TASK}, found {units}")
        unit_s = float(np.median([unit.wall_s for unit in units[1:]]))

        from transformers import AutoModelForCausalLM

        series = Series.read(inputs.run)
        swapper = WeightSwapper(
            AutoModelForCausalLM.from_pretrained(inputs.checkpoints[0]), read_weight_index(inputs.checkpoints[0])
        )
        with ReadAhead() as reader:
            swap_s = _least(lambda: swapper.swap(reader.take(inputs.checkpoints[1])))
        store = EvaluationStore(out)
        metrics = plugin_manager().all("e2lm_register_metrics", ItemMetric, "item metric")
        unit, checkpoint = units[0], series.checkpoints[0]
        plan_s = _least(lambda: store.finished(unit.series, unit.step, "0" * 40))
        record = store.unit_path(unit.series, unit.step, unit.key)
        rows_s = _least(
            lambda: score_rows(series, checkpoint, Unit.from_json_file(record), store.samples(unit), metrics)
        )
        return unit_s, swap_s, plan_s, rows_s


def _least(action: Callable[[], object], times: int = 20) -> float:
    """Seconds of the fastest of ``times`` goes: the one that was disturbed least."""
    taken = []
    for _ in range(times):
        began_s = time.perf_counter()
        action()
        taken.append(time.perf_counter() - began_s)
    return min(taken)


def peak_mib() -> float:
    """Peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoints", type=int, default=10_000)
    parser.add_argument("--tasks", type=int, default=1_000)
    parser.add_argument("--tasks-per-unit", type=int, default=1, help="1 is the hardest for the scheduler")
    parser.add_argument("--items", type=int, default=100, help="items of a task, where the unit is measured")
    parser.add_argument("--unit-s", type=float, help="seconds of a task on a worker (default: measured here)")
    parser.add_argument("--swap-s", type=float, help="seconds of a swap of weights (default: measured here)")
    parser.add_argument("--call-s", type=float, default=CALL_S, help="seconds of a call on the driver")
    parser.add_argument("--measure-calls", action="store_true", help="measure --call-s with Ray on this machine")
    parser.add_argument("--deaths", type=float, default=0.1, help="deaths per worker and hour")
    parser.add_argument("--workers", type=int, nargs="+", default=list(WORKERS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="1,000 checkpoints, nothing measured by running a model")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def main() -> None:
    arguments = parsed()
    unit_s, swap_s, plan_s, rows_s = arguments.unit_s, arguments.swap_s, math.nan, math.nan
    if arguments.quick:
        arguments.checkpoints = min(arguments.checkpoints, 1_000)
        unit_s, swap_s = unit_s or QUICK_UNIT_S, swap_s or QUICK_SWAP_S
    if unit_s is None or swap_s is None:
        measured_unit_s, measured_swap_s, plan_s, rows_s = measured_run(arguments.items)
        unit_s = measured_unit_s if unit_s is None else unit_s
        swap_s = measured_swap_s if swap_s is None else swap_s
    call_s = measured_call_s() if arguments.measure_calls else arguments.call_s
    costs = Costs(unit_s * arguments.tasks_per_unit, swap_s, call_s, arguments.deaths)
    per_checkpoint = -(-arguments.tasks // arguments.tasks_per_unit)
    before_mib = peak_mib()
    rows = [
        simulated(arguments.checkpoints, per_checkpoint, workers, costs, arguments.seed)
        for workers in arguments.workers
    ]
    result = {
        "checkpoints": arguments.checkpoints,
        "tasks": arguments.tasks,
        "unit_s": costs.unit_s,
        "swap_s": swap_s,
        "call_s": call_s,
        "deaths_per_worker_h": arguments.deaths,
        "plan_us_per_unit": None if math.isnan(plan_s) else 1e6 * plan_s,
        "table_us_per_unit": None if math.isnan(rows_s) else 1e6 * rows_s,
        "memory_growth_mib": peak_mib() - before_mib,
        "saturates_at_workers": saturation(rows),
        "rows": rows,
    }
    print(json.dumps(result) if arguments.json else as_text(result))


def saturation(rows: Sequence[dict[str, float]]) -> float:
    """Workers at which the driver's time is used up, from the row where it is used most."""
    busiest = max(rows, key=lambda row: row["driver_use"])
    return busiest["workers"] * busiest["worker_use"] / busiest["driver_use"]


def as_text(result: dict[str, Any]) -> str:
    columns = ("workers", "units_per_s", "worker_use", "driver_use", "driver_us_per_unit", "scheduler_us_per_unit")
    columns += ("batch", "swaps_per_checkpoint", "redone_share", "days")
    lines = ["  ".join(f"{name:>{max(len(name), 9)}}" for name in columns)]
    for row in result["rows"]:
        lines.append("  ".join(f"{row[name]:>{max(len(name), 9)},.4g}" for name in columns))
    told = (
        f"{result['rows'][0]['units']:,} units of {result['unit_s']:.4g} s, swap {result['swap_s']:.4g} s, call "
        f"{1e3 * result['call_s']:.3g} ms; memory of the scheduler +{result['memory_growth_mib']:.0f} MiB; the driver "
        f"is saturated at about {result['saturates_at_workers']:,.0f} workers"
    )
    if result["table_us_per_unit"] is not None:
        told += (
            f"\nbefore and after, on the driver: {result['plan_us_per_unit']:.0f} us to look for a unit, "
            f"{result['table_us_per_unit']:.0f} us for its rows of the table"
        )
    return "\n".join([told, "", *lines])


if __name__ == "__main__":
    main()
