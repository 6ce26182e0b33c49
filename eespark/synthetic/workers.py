"""Work of a generator in processes of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def run_in_processes(function: Callable[[T], R], tasks: Sequence[T], workers: int) -> Iterator[R]:
    """Results of a function at module level, in the order of its tasks; one worker is this process."""
    if workers == 1:
        yield from map(function, tasks)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(function, tasks)
