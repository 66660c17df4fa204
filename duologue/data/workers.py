"""Processes that make data in parallel: an interrupt is the parent's to heed, and they end with it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice
from multiprocessing import get_context, parent_process
from typing import TypeVar

Part = TypeVar("Part")
Made = TypeVar("Made")


def in_workers(
    make: Callable[[Part], Made], parts: Iterable[Part], workers: int, start: Callable[[], None] | None = None
) -> Iterator[tuple[Part, Made]]:
    """Make parts in processes of their own; yields each with what `make` returned, as it is done.

    No more are handed out than there are workers: an interrupt then waits only for those under way.

    Args:
        start: called once in each worker.

    Raises:
        BrokenProcessPool: a worker died.
    """
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _begin, (start,))
    todo = iter(parts)
    running: dict[Future[Made], Part] = {}
    try:
        while True:
            for part in islice(todo, workers - len(running)):
                with _born_deaf():
                    running[pool.submit(make, part)] = part
            if not running:
                return
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(done), done.result()
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _born_deaf() -> Iterator[None]:
    """Block Ctrl-C, which a terminal sends to all processes: those that are started here inherit it from birth."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(start: Callable[[], None] | None) -> None:
    """End with the parent even where it is killed, and do what this kind of worker begins with."""
    parent = parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    if start is not None:
        start()
