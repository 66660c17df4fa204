"""A system in a process of its own, its rows used from this one.

A step is more than a thousand small operations, and after each of them Python threads fight for the interpreter: beside
a busy event loop a step takes several times as long. Here a step is one message there and one back.
"""

from __future__ import annotations

import itertools
import multiprocessing
import signal
import threading
import weakref
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from typing import Any

from duologue.errors import DuologueError, ModelError
from duologue.systems.base import Pcm, Reply, Tool
from duologue.systems.punctual import settle
from duologue.systems.rows import Rows, Saved, rows_of

END_SIGNALS = (signal.SIGINT, signal.SIGTERM)  # often sent to both processes; when to end is for this one to say
END = 5.0  # seconds that the process may take to end by itself


class RowsLostError(DuologueError):
    """The process of a system died, and with it all of its conversations."""


class _Ticket:
    """Stands for a conversation that lies saved in the other process, for as long as somebody holds it."""

    def __init__(self, number: int) -> None:
        self.number = number


class ProcessRows(Rows):
    """`size` rows of the system `name` (see `registry.load`); `close_all` ends its process, as does our own end.

    Raises:
        DuologueError: what `registry.load` raises there.
    """

    def __init__(self, name: str, size: int, threads: int = 1) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._calls, calls = spawn.Pipe()
        self._orders, orders = spawn.Pipe()
        self._reading = threading.Lock()  # one text at a time is read aloud
        self._dropped: deque[int] = deque()  # saved conversations that nobody holds any more
        self._closed: list[int] = []  # rows that are to be closed before whatever is called next
        process = spawn.Process(
            target=_serve, args=(name, size, threads, calls, orders), name=f"system {name}", daemon=True
        )
        self._process = process
        resource_tracker.ensure_running()  # or `start` would, and lift what is blocked here
        before = signal.pthread_sigmask(signal.SIG_BLOCK, END_SIGNALS)  # which the process inherits
        try:
            process.start()
            # By priority before multiprocessing waits for its processes, which would last: this one heeds no signal.
            self._end = Finalize(self, _end, (process, self._calls, self._orders), exitpriority=10)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        calls.close()
        orders.close()
        self.card, self.size = self._answer(self._calls), size

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def open(self, row: int, seed: int) -> None:
        self._call("open", row, seed)

    def close(self, row: int) -> None:
        """With the next call: a step that is due is not to wait for the way there and back."""
        self._closed.append(row)

    def step(self, heard: Mapping[int, Pcm]) -> dict[int, Reply | Exception]:
        replies: dict[int, Reply | Exception] = self._call("step", dict(heard))
        return replies

    def hush(self, row: int) -> bool:
        return bool(self._call("hush", row))

    def reads(self, row: int) -> bool:
        return bool(self._call("reads", row))

    def read(self, row: int, text: str) -> bool:
        return bool(self._call("read", row, text))

    def pace(self, row: int, pace: float) -> bool:
        return bool(self._call("pace", row, pace))

    def offer(self, row: int, tools: Sequence[Tool]) -> bool:
        return bool(self._call("offer", row, tools))

    def give(self, row: int, results: Mapping[str, str]) -> bool:
        return bool(self._call("give", row, results))

    def go_on(self, row: int) -> bool:
        return bool(self._call("go_on", row))

    def save(self, row: int) -> Saved:
        return self._ticket(self._call("save", row))

    def copy(self, row: int) -> Saved | None:
        number: int | None = self._call("copy", row)
        return None if number is None else self._ticket(number)

    def _ticket(self, number: int) -> _Ticket:
        ticket = _Ticket(number)
        weakref.finalize(ticket, self._dropped.append, ticket.number)
        return ticket

    def restore(self, row: int, saved: Saved) -> None:
        assert isinstance(saved, _Ticket)
        self._call("restore", row, saved.number)

    def say(self, text: str, pace: float) -> Iterator[Pcm] | None:
        with self._reading:
            self._send(self._orders, (text, pace))
            pieces: list[Pcm] | None = self._answer(self._orders)
            return None if pieces is None else iter(pieces)

    def close_all(self) -> None:
        """End the process."""
        self._end()

    def _call(self, method: str, *arguments: Any) -> Any:
        dropped = [self._dropped.popleft() for _ in range(len(self._dropped))]
        closed, self._closed = self._closed, []
        self._send(self._calls, (method, arguments, dropped, closed))
        return self._answer(self._calls)

    @staticmethod
    def _send(connection: Connection, message: object) -> None:
        try:
            connection.send(message)
        except OSError as error:
            raise RowsLostError("the model's process has ended") from error

    @staticmethod
    def _answer(connection: Connection) -> Any:
        try:
            done, result = connection.recv()
        except (EOFError, OSError) as error:
            raise RowsLostError("the model's process has ended") from error
        if not done:
            raise result
        return result


def _end(process: BaseProcess, *connections: Connection) -> None:
    for connection in connections:
        connection.close()  # which it takes for the end
    process.join(END)
    if process.is_alive():
        process.kill()
        process.join()


# ---- in the other process ---------------------------------------------------------------------------------------


def _serve(name: str, size: int, threads: int, calls: Connection, orders: Connection) -> None:
    """Load a system and do what is asked of its rows, until the asker is gone."""
    import torch

    from duologue.systems import registry

    torch.set_num_threads(threads)
    with suppress(EOFError, OSError):  # the asker has ended
        try:
            rows = rows_of(registry.load(name), size)
        except Exception as error:
            return calls.send((False, _told(error)))
        settle()
        calls.send((True, rows.card))
        reader = _Reader(rows, orders)
        saved: dict[int, Saved] = {}
        numbers = itertools.count()
        while True:
            reader.read_until(calls)
            method, arguments, dropped, closed = calls.recv()
            for number in dropped:
                del saved[number]
            for row in closed:
                with suppress(Exception):  # whoever left is gone, and what the others ask for is not to fail for it
                    rows.close(row)
            try:
                result = _do(rows, saved, numbers, method, arguments)
            except Exception as error:
                calls.send((False, _told(error)))
            else:
                calls.send((True, result))


def _do(rows: Rows, saved: dict[int, Saved], numbers: itertools.count[int], method: str, arguments: Any) -> Any:
    if method in ("save", "copy"):
        kept: Saved | None = getattr(rows, method)(*arguments)
        if kept is None:
            return None
        number = next(numbers)
        saved[number] = kept
        return number
    if method == "restore":
        row, number = arguments
        return rows.restore(row, saved[number])
    result = getattr(rows, method)(*arguments)
    if method == "step":
        return {row: _told(reply) if isinstance(reply, Exception) else reply for row, reply in result.items()}
    return result


class _Reader:
    """Reads texts aloud between the steps, so that a step waits for a piece at most: on a thread beside them, each
    would take from the other at every operation."""

    def __init__(self, rows: Rows, orders: Connection) -> None:
        self._rows, self._orders = rows, orders
        self._coming: Iterator[Pcm] | None = None  # of the text that is being read
        self._read: list[Pcm] = []

    def read_until(self, calls: Connection) -> None:
        """Read while nothing is called, but at least a piece, since calls may come one upon the other."""
        while True:
            if self._coming is None and self._orders in wait((calls, self._orders)):
                self._begin(*self._orders.recv())
            if self._coming is not None:
                self._go_on(self._coming)
            if calls.poll():
                return

    def _begin(self, text: str, pace: float) -> None:
        try:
            self._coming, self._read = self._rows.say(text, pace), []
        except Exception as error:
            self._orders.send((False, _told(error)))
        else:
            if self._coming is None:
                self._orders.send((True, None))

    def _go_on(self, coming: Iterator[Pcm]) -> None:
        try:
            piece = next(coming, None)
        except Exception as error:
            self._coming = None
            self._orders.send((False, _told(error)))
        else:
            if piece is not None:
                self._read.append(piece)
                return
            self._coming = None
            self._orders.send((True, self._read))


def _told(error: Exception) -> Exception:
    """An error as it can be sent: our own as it is, any other by its words, since it may hold anything."""
    return error if isinstance(error, DuologueError) else ModelError(f"{type(error).__name__}: {error}")
