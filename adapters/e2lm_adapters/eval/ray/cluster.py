"""Workers on a Ray cluster. Ray places them, restarts nothing and tells who died; a new worker takes the place."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from e2lm.errors import UserError, one_line
from e2lm_adapters.eval.ray.queue import Done, Lost, Ready, Span
from e2lm_adapters.eval.ray.worker import RayWorker, UnitCall
from e2lm_adapters.eval.request import RayOptions

#: How long one look for news lasts.
LOOK_S = 1.0
#: Workers that may die in a row before any is ready or finishes something: then it is not the machines' fault.
DEATHS_IN_A_ROW = 5
#: After how many looks without any worker we say what we wait for.
PATIENCE_LOOKS = 60
#: Ray's least; nothing but names and times goes through it.
OBJECT_STORE_BYTES = 80 * 2**20


def imported_ray() -> Any:
    """The package ray, without its reports to its makers."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise UserError('--executor ray: the package ray is missing; pip install "e2lm[ray]"') from error
    return ray


@dataclass(frozen=True, slots=True)
class _Flight:
    """What a reference stands for: a worker that gets ready (span None), or one that does ``span``."""

    worker: int
    span: Span | None


class RayCluster:
    """Starts the workers on entry and ends them on exit; a cluster that was there before stays."""

    def __init__(
        self,
        options: RayOptions,
        worker_arguments: tuple[Any, ...],
        calls_of: Callable[[Span], list[UnitCall]],
        following_of: Callable[[int], tuple[str, int]],
        say: Callable[[str], object],
    ) -> None:
        self._ray = imported_ray()
        self._options = options
        self._worker_arguments = worker_arguments
        self._calls_of = calls_of
        self._following_of = following_of
        self._say = say
        self._actors: dict[int, Any] = {}
        self._flights: dict[Any, _Flight] = {}
        self._started = 0
        self._deaths_in_a_row = 0
        self._looks_alone = 0
        self._ready = 0

    def __enter__(self) -> RayCluster:
        """Connect, or start a cluster on this machine, and ask for the workers."""
        self._connect()
        gpus = self._options.worker_gpus
        resources = self._ray.cluster_resources()
        self._gpus = (1.0 if resources.get("GPU") else 0.0) if gpus is None else gpus
        cpus = self._options.worker_cpus
        self._remote = self._ray.remote(num_cpus=cpus, num_gpus=self._gpus, max_restarts=0)(RayWorker)
        self._shared = [self._ray.put(one) for one in self._worker_arguments]
        for _ in range(self._options.workers or self._places(resources)):
            self._add()
        return self

    def __exit__(self, *details: object) -> None:
        for actor in self._actors.values():
            with contextlib.suppress(Exception):
                self._ray.kill(actor)
        self._ray.shutdown()

    def start(self, worker: int, span: Span, following: int | None) -> None:
        """Send ``span`` to a ready worker."""
        ahead = None if following is None else self._following_of(following)
        self._flights[self._actors[worker].evaluate.remote(self._calls_of(span), ahead)] = _Flight(worker, span)

    def events(self) -> Sequence[Ready | Done | Lost]:
        """News of the workers; a :class:`UserError` for what another try would not mend."""
        refs = list(self._flights)
        found, _ = self._ray.wait(refs, num_returns=1, timeout=LOOK_S)
        if found:
            found, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0)
        self._complain_if_alone(bool(found))
        return [self._event(ref, self._flights.pop(ref)) for ref in found]

    def _event(self, ref: Any, flight: _Flight) -> Ready | Done | Lost:
        errors = self._ray.exceptions
        try:
            value = self._ray.get(ref)
        except errors.RayTaskError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, UserError):
                raise cause from None
            raise
        except errors.RayError as error:
            self._deaths_in_a_row += 1
            if self._deaths_in_a_row >= DEATHS_IN_A_ROW + len(self._actors):
                raise UserError(
                    f"{self._deaths_in_a_row} workers died one after the other, the last with: "
                    f"{one_line(error):.300}; what was finished is kept, the same command goes on"
                ) from error
            del self._actors[flight.worker]
            self._add()
            return Lost(flight.worker, flight.span)
        self._deaths_in_a_row = 0
        if flight.span is None:
            self._ready += 1
            return Ready(flight.worker)
        return Done(flight.worker, flight.span, float(value))

    def _connect(self) -> None:
        address = self._options.address or os.environ.get("RAY_ADDRESS")
        settings: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
        if address is None:
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            wanted = (self._options.workers or 0) * self._options.worker_cpus
            self._ray.init(
                num_cpus=max(int(wanted + 0.5), 1) if wanted else cores,
                object_store_memory=OBJECT_STORE_BYTES,
                **settings,
            )
            return
        try:
            self._ray.init(address=address, **{key: settings[key] for key in ("log_to_driver", "logging_level")})
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UserError(f"--address {address}: no Ray cluster there ({one_line(error):.200})") from error

    def _places(self, resources: dict[str, float]) -> int:
        """Workers that fit into the cluster as it is now; one that grows by itself is asked for one at least."""
        fits = [int(resources.get("CPU", 0) / self._options.worker_cpus)] if self._options.worker_cpus else []
        fits += [int(resources.get("GPU", 0) / self._gpus)] if self._gpus else []
        return max(min(fits, default=1), 1)

    def _add(self) -> None:
        self._started += 1
        actor = self._remote.remote(*self._shared)
        self._actors[self._started] = actor
        self._flights[actor.ready.remote()] = _Flight(self._started, None)

    def _complain_if_alone(self, news: bool) -> None:
        self._looks_alone = 0 if news or self._ready else self._looks_alone + 1
        if self._looks_alone == PATIENCE_LOOKS:
            need = f"{self._options.worker_cpus:g} CPUs and {self._gpus:g} GPUs"
            self._say(f"e2lm: still waiting for the cluster to give a worker {need}")
