"""What workers ask of a cluster whose GPUs are made up: no two wait for each other."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from e2lm.atomic_file import is_partial, remove_leftovers
from e2lm_adapters.eval.ray import cluster as ray_cluster
from e2lm_adapters.eval.ray.cluster import RayCluster, WorkerSize
from e2lm_adapters.eval.ray.executor import temporary_files_of_engines
from e2lm_adapters.eval.ray.queue import Ready
from e2lm_adapters.eval.ray.worker import share_temporary_files
from e2lm_adapters.eval.request import RayOptions

#: Larger than the number of any process.
NO_PROCESS = 2**22 + 1
NODES = [{"CPU": 8.0, "GPU": 3.0}, {"CPU": 2.0, "GPU": 3.0}, {"CPU": 8.0}]


@pytest.mark.parametrize(
    ("size", "places"),
    [
        (WorkerSize(1, 0), 18),
        (WorkerSize(4, 0), 4),
        (WorkerSize(1, 1), 5),
        (WorkerSize(1, 2), 2),
        (WorkerSize(1, 4), 0),
        (WorkerSize(1, 4, engine_on_ray=True), 1),
        (WorkerSize(0, 0.5), 12),
        (WorkerSize(0, 0), 3),
        (WorkerSize(9, 0), 0),
    ],
)
def test_a_worker_fits_into_one_node_and_an_engine_on_ray_over_several(size: WorkerSize, places: int) -> None:
    assert size.places(NODES) == places


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster that says it has two GPUs."""
    ray_cluster.imported_ray()
    from ray.cluster_utils import Cluster

    own = {
        "num_cpus": 2,
        "num_gpus": 2,
        "object_store_memory": ray_cluster.OBJECT_STORE_BYTES,
        "include_dashboard": False,
    }
    cluster = Cluster(initialize_head=True, head_node_args=own)
    yield str(cluster.address)
    cluster.shutdown()


class EngineOnRay:
    """Does what vLLM does: its workers are actors with a GPU each, in the group it finds itself in, or a new one."""

    def ready(self) -> int:
        import ray
        from ray.util import get_current_placement_group, placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        group = get_current_placement_group() or placement_group([{"GPU": 1.0}] * 2)
        ray.get(group.ready())
        bundles = [number for number, one in enumerate(group.bundle_specs) if one.get("GPU")]

        def whoami() -> int:
            return len(ray.get_gpu_ids())

        held = [
            ray.remote(num_cpus=0, num_gpus=1)(whoami).options(
                scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=number)
            )
            for number in bundles
        ]
        return sum(ray.get([one.remote() for one in held]))


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that know no lm-eval, sent as they stand here."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr(ray_cluster, "RayWorker", EngineOnRay)


def cluster(address: str, said: list[str], **options: Any) -> RayCluster:
    return RayCluster(RayOptions(address, **options), (), lambda span: [], lambda piece: ("", 0), said.append, units=4)


def ready_within(ray: RayCluster, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if any(isinstance(event, Ready) for event in ray.events()):
            return True
    return False


@pytest.mark.slow
@pytest.mark.usefixtures("workers")
def test_an_engine_whose_workers_are_rays_gets_its_gpus_and_one_after_the_other(address: str) -> None:
    said: list[str] = []
    with cluster(address, said, engine_gpus=2, engine_on_ray=True) as ray:
        assert len(ray._actors) == 1
        assert ready_within(ray, 120)
    # Its group is given back: the next one finds the GPUs free.
    with cluster(address, said, engine_gpus=2, engine_on_ray=True) as ray:
        assert ready_within(ray, 120)
    assert said == []


def test_temporary_files_of_an_engine_on_ray_are_seen_by_all_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("VLLM_RPC_BASE_PATH", "set so that it is put back")
    monkeypatch.delenv("VLLM_RPC_BASE_PATH")
    local = tempfile.gettempdir()
    request: Any = SimpleNamespace(ray=RayOptions(engine_on_ray=True), out=tmp_path)
    shared = temporary_files_of_engines(request)
    assert shared is not None
    share_temporary_files(shared)
    with tempfile.TemporaryDirectory() as made:
        assert tmp_path in Path(made).parents
        assert is_partial(Path(made))
        remove_leftovers(tmp_path)  # as another command on the same folder does
        assert Path(made).is_dir()
    name = shared.name.replace(f".{os.getpid()}.", f".{NO_PROCESS}.")
    shared.rename(tmp_path / name)
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert os.environ["VLLM_RPC_BASE_PATH"] == local


@pytest.mark.slow
@pytest.mark.usefixtures("workers")
def test_what_no_node_has_is_said_at_once(address: str) -> None:
    said: list[str] = []
    with cluster(address, said, worker_gpus=3.0) as ray:
        assert len(ray._actors) == 1
    (line,) = said
    assert "a worker wants 1 CPUs and 3 GPUs, and no node of the cluster has more than 2 CPUs and 2 GPUs" in line


@pytest.mark.slow
@pytest.mark.usefixtures("workers")
def test_no_more_workers_are_asked_for_than_there_are_units(address: str) -> None:
    with cluster(address, [], workers=10**9, worker_cpus=0.1) as ray:
        assert len(ray._actors) == 4
