"""Workers on a Ray cluster. Ray places them, restarts nothing and tells who died; a new worker takes the place."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from e2lm.errors import UserError, one_line
from e2lm_adapters.eval.ray.address import check_address
from e2lm_adapters.eval.ray.guard import ClusterGuard, processes_below
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


def cluster_address(given: str | None) -> str | None:
    """``given``, else what Ray's own variable says; None where a cluster is to be started here."""
    address = (os.environ.get("RAY_ADDRESS") or None) if given is None else given
    return None if address in (None, "local") else address


@dataclass(frozen=True, slots=True)
class _Flight:
    """What a reference stands for: a worker that gets ready (span None), or one that does ``span``."""

    worker: int
    span: Span | None


@dataclass(frozen=True, slots=True)
class WorkerSize:
    """What a worker asks of the cluster: ``bundles`` of resources, each of which must fit into one node."""

    cpus: float
    gpus: float
    engine_on_ray: bool = False

    @property
    def bundles(self) -> list[dict[str, float]]:
        """The worker, and where its engine's workers are Ray's, a GPU for each of them: Ray gives all or none.

        If the worker held the GPUs itself, its engine would ask for others, for ever.
        """
        if self.engine_on_ray and self.gpus:
            return [{"CPU": self.cpus}, *({"GPU": 1.0} for _ in range(int(self.gpus)))]
        return [{"CPU": self.cpus, "GPU": self.gpus}]

    def places(self, nodes: Sequence[Mapping[str, float]]) -> int:
        """How many workers fit into ``nodes``.

        >>> WorkerSize(1, 2).places([{"CPU": 8, "GPU": 3}, {"CPU": 8, "GPU": 3}])
        2
        >>> WorkerSize(1, 2, engine_on_ray=True).places([{"CPU": 8, "GPU": 3}, {"CPU": 8, "GPU": 3}])
        3
        """
        if self.engine_on_ray:
            nodes = [{name: sum(node.get(name, 0.0) for node in nodes) for name in ("CPU", "GPU")}]
        return sum(self._places_of(node) for node in nodes)

    def _places_of(self, node: Mapping[str, float]) -> int:
        wanted = [(name, size) for name, size in (("CPU", self.cpus), ("GPU", self.gpus)) if size]
        return min((int(node.get(name, 0.0) / size) for name, size in wanted), default=1)

    def __str__(self) -> str:
        return f"{self.cpus:g} CPUs and {self.gpus:g} GPUs"


class RayCluster:
    """Starts the workers on entry and ends them on exit; a cluster that was there before stays."""

    def __init__(
        self,
        options: RayOptions,
        worker_arguments: tuple[Any, ...],
        calls_of: Callable[[Span], list[UnitCall]],
        following_of: Callable[[int], tuple[str, int]],
        say: Callable[[str], object],
        units: int,
    ) -> None:
        self._ray = imported_ray()
        self._options = options
        self._worker_arguments = worker_arguments
        self._calls_of = calls_of
        self._following_of = following_of
        self._say = say
        self._units = units
        self._guard: ClusterGuard | None = None
        self._groups: dict[int, Any] = {}
        self._actors: dict[int, Any] = {}
        self._flights: dict[Any, _Flight] = {}
        self._started = 0
        self._deaths_in_a_row = 0
        self._looks_alone = 0
        self._ready = 0

    def __enter__(self) -> RayCluster:
        """Connect, or start a cluster on this machine, and ask for the workers."""
        self._connect()
        try:
            nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
            self._size = self._worker_size(any(node.get("GPU") for node in nodes))
            places = self._size.places(nodes)
            if not places:
                self._complain_of_size(nodes)
            self._shared = [self._ray.put(one) for one in self._worker_arguments]
            for _ in range(min(self._options.workers or max(places, 1), self._units)):
                self._add()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *details: object) -> None:
        for worker, actor in self._actors.items():
            with contextlib.suppress(Exception):
                self._ray.kill(actor)
            self._free(worker)
        self._ray.shutdown()
        if self._guard is not None:
            self._guard.dismiss()

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
            self._free(flight.worker)
            self._add()
            return Lost(flight.worker, flight.span)
        self._deaths_in_a_row = 0
        if flight.span is None:
            self._ready += 1
            return Ready(flight.worker)
        return Done(flight.worker, flight.span, float(value))

    def _connect(self) -> None:
        address = cluster_address(self._options.address)
        if address is None:
            self._start_here()
            return
        check_address(self._ray, address)
        try:
            self._ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        except (OSError, RuntimeError, ValueError, self._ray.exceptions.RayError) as error:
            raise UserError(f"--address {address}: no Ray cluster there to join ({one_line(error):.300})") from error

    def _start_here(self) -> None:
        """A cluster of this machine's GPUs and of as many CPUs as the workers want, which ends with the driver."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        if self._options.worker_cpus > cores:
            raise UserError(
                f"--worker-cpus {self._options.worker_cpus:g}: this machine has {cores}; say less, or give --address"
            )
        wanted = min(self._options.workers or 0, self._units) * self._options.worker_cpus
        before = processes_below()
        self._ray.init(
            address="local",
            num_cpus=max(int(wanted + 0.5), 1) if wanted else cores,
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
        )
        self._guard = ClusterGuard(before)

    def _worker_size(self, has_gpus: bool) -> WorkerSize:
        options = self._options
        gpus = options.worker_gpus
        if gpus is None:
            gpus = float(options.engine_gpus) if has_gpus else 0.0
        return WorkerSize(options.worker_cpus, gpus, options.engine_on_ray)

    def _complain_of_size(self, nodes: Sequence[Mapping[str, float]]) -> None:
        """Nothing there is large enough: this machine will not grow, another cluster may."""
        most = {name: max((node.get(name, 0.0) for node in nodes), default=0.0) for name in ("CPU", "GPU")}
        have = f"{most['CPU']:g} CPUs and {most['GPU']:g} GPUs"
        if self._guard is not None:
            raise UserError(
                f"a worker wants {self._size}, and this machine has {have}; "
                "change --worker-cpus, --worker-gpus or the model's parallel sizes, or give --address"
            )
        self._say(
            f"e2lm: a worker wants {self._size}, and no node of the cluster has more than {have}; waiting for one that "
            "has (or stop, and change --worker-cpus and --worker-gpus)"
        )

    def _add(self) -> None:
        self._started += 1
        options: dict[str, Any] = {"num_cpus": self._size.cpus, "num_gpus": self._size.gpus}
        if len(self._size.bundles) > 1:
            options = {"num_cpus": self._size.cpus, "num_gpus": 0, **self._grouped(self._started)}
        actor = self._ray.remote(max_restarts=0, **options)(RayWorker).remote(*self._shared)
        self._actors[self._started] = actor
        self._flights[actor.ready.remote()] = _Flight(self._started, None)

    def _grouped(self, worker: int) -> dict[str, Any]:
        """How an actor is placed into the first bundle of a group of its own, whose others its engine finds and uses.

        ``ray.util.get_current_placement_group`` gives the group to whatever runs in the actor.
        """
        from ray.util import placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        self._groups[worker] = placement_group(self._size.bundles, strategy="PACK")
        return {
            "scheduling_strategy": PlacementGroupSchedulingStrategy(
                self._groups[worker], placement_group_bundle_index=0, placement_group_capture_child_tasks=True
            )
        }

    def _free(self, worker: int) -> None:
        """Give back the resources of ``worker`` that do not end with it."""
        group = self._groups.pop(worker, None)
        if group is not None:
            with contextlib.suppress(Exception):
                self._ray.util.remove_placement_group(group)

    def _complain_if_alone(self, news: bool) -> None:
        self._looks_alone = 0 if news or self._ready else self._looks_alone + 1
        if self._looks_alone == PATIENCE_LOOKS:
            self._say(f"e2lm: still waiting for the cluster to give a worker {self._size}")
