"""Holds jobs in processes of one thread each; a case that takes its process down with it fails alone."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import torch

from duologue.errors import DuologueError
from duologue.eval.holder import Holder, Job, Setup, failed
from duologue.eval.suites.base import Row


def held(holder: Holder, jobs: Sequence[Job], workers: int) -> Iterator[tuple[Row, dict[str, Any] | None]]:
    """The row of every job as it is done, and the case's facts; suites that measure the machine come last, alone."""
    alone = [job for job in jobs if holder.suite(job.suite).alone]
    together = [job for job in jobs if not holder.suite(job.suite).alone]
    workers = min(workers, len(together))
    if workers > 1:
        holder.forget()
        yield from _in_parallel(holder.setup, together, workers)
        together = []
    for job in (*together, *alone):
        yield holder.row(job)


_holder: Holder | None = None


def _start(setup: Setup) -> None:
    global _holder
    torch.set_num_threads(1)  # the environment would come too late: PyTorch is imported by now
    _holder = Holder(setup)


def _hold(job: Job) -> tuple[Row, dict[str, Any] | None]:
    assert _holder is not None
    return _holder.row(job)


def _in_parallel(setup: Setup, jobs: Sequence[Job], workers: int) -> Iterator[tuple[Row, dict[str, Any] | None]]:
    """Hold jobs in processes; one that takes its process down with it fails alone."""
    left = dict.fromkeys(jobs)
    try:
        with _pool(setup, workers) as pool:
            futures = {pool.submit(_hold, job): job for job in jobs}
            try:
                for future in as_completed(futures):
                    result = future.result()
                    del left[futures[future]]
                    yield result
            finally:
                pool.shutdown(cancel_futures=True)
    except BrokenProcessPool:
        yield from _one_by_one(setup, list(left))


def _one_by_one(setup: Setup, jobs: Sequence[Job]) -> Iterator[tuple[Row, dict[str, Any] | None]]:
    """Hold each job so that it is known which one a process dies of."""
    waiting = list(jobs)
    while waiting:
        with _pool(setup, 1) as pool:
            try:
                while waiting:
                    result = pool.submit(_hold, waiting[0]).result()
                    waiting.pop(0)
                    yield result
            except BrokenProcessPool:
                yield failed(waiting.pop(0), DuologueError("its process was killed; perhaps memory ran out")), None


def _pool(setup: Setup, workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start, (setup,))
