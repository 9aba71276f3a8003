"""Batches side by side on the cores of a CPU, each computed by one thread.

A small model's matrices are too small to be worth splitting: two threads on one of them spend a third of their time
waiting for each other. Whole batches need no waiting, and what one thread computes does not depend on how many cores
there are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

#: Every thread holds the activations of one batch; with more cores than this the batches are split after all.
MAX_BATCH_THREADS = 8


def batch_threads(device_type: str) -> int:
    """How many batches run at a time: on a CPU one per core that torch may use, elsewhere 1."""
    import torch

    return min(torch.get_num_threads(), MAX_BATCH_THREADS) if device_type == "cpu" else 1


def in_order(work: Callable[[Task], Result], tasks: Iterable[Task], threads: int) -> Iterator[Result]:
    """Results of ``work`` in the order of ``tasks``, which are drawn as they are needed; errors come out in place.

    >>> list(in_order(lambda number: number**2, range(5), threads=2))
    [0, 1, 4, 9, 16]
    """
    if threads <= 1:
        yield from map(work, tasks)
        return
    waiting: deque[Future[Result]] = deque()
    with _cores_shared_by(threads) as prepared, ThreadPoolExecutor(threads) as pool:
        try:
            for task in tasks:
                waiting.append(pool.submit(prepared, work, task))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _cores_shared_by(threads: int) -> Iterator[Callable[[Callable[[Task], Result], Task], Result]]:
    """Gives each of ``threads`` its part of torch's cores, and what torch keeps per thread: autocast and inference."""
    import torch

    cores = torch.get_num_threads()
    own = max(cores // threads, 1)
    autocast, dtype = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

    def prepared(work: Callable[[Task], Result], task: Task) -> Result:
        torch.set_num_threads(own)
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            if autocast:
                stack.enter_context(torch.autocast("cpu", dtype=dtype))
            return work(task)

    torch.set_num_threads(own)
    try:
        yield prepared
    finally:
        torch.set_num_threads(cores)
