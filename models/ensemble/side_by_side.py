"""Many small computations side by side on a CPU, each on one thread."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

import torch
from threadpoolctl import threadpool_limits

from models.devices import choose_device
from models.progress import told

MAX_WORKERS = 4  # as each needs memory of its own

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(
    function: Callable[[Item], Result], items: Sequence[Item], unit: str, most: int = MAX_WORKERS
) -> list[Result]:
    """The results in the order of the items, which are begun in this order; one after the other on a GPU.

    Small operations take little more time on one thread than on all.

    Args:
        unit: what the items are, where the progress is told.
        most: how many are computed at a time, at most.
    """
    workers = min(torch.get_num_threads(), MAX_WORKERS, most, len(items))
    if workers < 2 or choose_device("auto").type != "cpu":
        return list(map(function, told(items, len(items), unit)))
    with threadpool_limits(1), ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            for future in told(as_completed(futures), len(futures), unit):
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # those that have not begun
            raise
        return [future.result() for future in futures]
