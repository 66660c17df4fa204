"""Many conversations with one system in real time: slots on a clock, stepped together on a thread of their own.

A slot is stepped when a whole frame of its user is there. Frames that are ready at the same time share a step, so the
busier the engine is, the larger its batches are, and a lone conversation waits for nobody. What comes unevenly is heard
evenly (`cushion`). Of a client that is later than ever, a slot whose conversation runs hears silence; of one that is
early, what has piled up is heard at up to `HASTE` times real time, and what would pile up beyond `buffer` seconds is
refused.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from duologue.errors import DuologueError
from duologue.systems.base import Pcm, Reply, SystemCard, Tool
from duologue.systems.cushion import Cushion
from duologue.systems.rows import Rows, Saved

T = TypeVar("T")

HASTE = 8.0
RECENT = 512  # steps over which lateness is judged


class EngineFullError(DuologueError):
    """Every slot holds a conversation."""


class SlotLostError(DuologueError):
    """The conversation of a slot is over: it was left, or it failed."""


@dataclass(frozen=True)
class Heard:
    """One step of one slot.

    Attributes:
        reply: what the system said in it.
        silence: the client was late, and silence was heard for it.
        waited: seconds from the moment at which the step was due to that at which it was done.
        stepped: seconds of those that the step itself took.
    """

    reply: Reply
    silence: bool
    waited: float
    stepped: float


Listener = Callable[[Heard | Exception], None]
"""Called on the engine's thread with every step of a slot, or with the error that ended its conversation."""


@dataclass
class Statistics:
    """What an engine has done since it started."""

    steps: int = 0
    frames: int = 0
    silences: int = 0  # frames that a late client did not send in time
    late: int = 0  # frames that were not done within the time of one frame after they were due
    refused: int = 0  # frames of clients that were too early
    failures: int = 0  # conversations that ended with an error
    seconds: float = 0.0  # spent in steps


class Slot:
    """One conversation's place in an engine. All methods may be called from any thread and return at once.

    Attributes:
        fills: whether the conversation goes on in silence while the client sends nothing; else it pauses.
    """

    def __init__(self, engine: Engine, row: int, listener: Listener) -> None:
        self.engine, self.row, self.listener = engine, row, listener
        self.fills = False
        self._frames: deque[tuple[Pcm, float]] = deque()  # with the time at which each is to be heard
        self._cushion: Cushion | None = None  # while the conversation goes on by the clock
        self._stepped = -np.inf  # when the last frame was heard

    @property
    def waiting(self) -> int:
        """Frames that wait to be heard."""
        return len(self._frames)

    def push(self, pcm: Pcm) -> bool:
        """The user's next frame, (frame,) float32; False where the buffer is full and the frame is dropped."""
        return self.engine._push(self, pcm)

    def run(self, fills: bool) -> None:
        """Let the conversation go on in silence while nothing comes, or let it pause then."""
        self.engine._change(self, fills)

    def drop(self, newest: int) -> None:
        """Forget what waits of the last `newest` frames."""
        self.engine._drop(self, newest)

    def hush(self) -> bool:
        """Stop the reply that sounds; False where the system can't be stopped, and only its sound can be dropped."""
        return self.engine._between_steps(self, lambda rows: rows.hush(self.row))

    def reads(self) -> bool:
        """Whether the conversation takes text."""
        return self.engine._between_steps(self, lambda rows: rows.reads(self.row))

    def read(self, text: str) -> bool:
        """Give text to the conversation; False where the system takes none.

        Raises:
            TextError: it is too long; none of it is read.
        """
        return self.engine._between_steps(self, lambda rows: rows.read(self.row, text))

    def pace(self, pace: float) -> bool:
        """Let replies be spoken `pace` times as fast; False where the system speaks as it does."""
        return self.engine._between_steps(self, lambda rows: rows.pace(self.row, pace))

    def offer(self, tools: Sequence[Tool]) -> bool:
        """Let the conversation call these functions; False where the system calls none."""
        return self.engine._between_steps(self, lambda rows: rows.offer(self.row, tools))

    def give(self, results: Mapping[str, str]) -> bool:
        """What calls came to, by their ids; False where the system calls none."""
        return self.engine._between_steps(self, lambda rows: rows.give(self.row, results))

    def go_on(self) -> bool:
        """Let the system reply to what it was given; False where it calls none."""
        return self.engine._between_steps(self, lambda rows: rows.go_on(self.row))

    def copy(self) -> tuple[Saved, list[Pcm]] | None:
        """The conversation as it is now, for `Engine.join`, and the frames that wait; None where there can't be two."""
        return self.engine._copy(self)

    def leave(self) -> None:
        """End the conversation and free the slot; leaving twice is harmless."""
        self.engine._leave(self)

    def park(self) -> Saved:
        """End the conversation here so that `Engine.join` can go on with it; frees the slot.

        Raises:
            SlotLostError: the conversation has ended already.
        """
        return self.engine._park(self)


@dataclass(frozen=True)
class _Job:
    """Something that is asked for, and what comes of it."""

    do: Callable[[Rows], Any]
    done: Future[Any]

    def run(self, rows: Rows) -> None:
        try:
            self.done.set_result(self.do(rows))
        except BaseException as error:
            self.done.set_exception(error)


class Engine:
    """As many conversations with a system as there are rows. `start` it, `join` it, and `stop` it."""

    def __init__(self, rows: Rows, buffer: float = 30.0) -> None:
        self.card: SystemCard = rows.card
        self.capacity = rows.size
        self.frame_seconds = self.card.frame / self.card.sample_rate
        self.statistics = Statistics()
        self.observe: Callable[[float], None] = lambda seconds: None
        """Called with the seconds that each step took."""
        self.report: Callable[[Exception], None] = lambda error: None
        """Called on the engine's thread with every error that ended conversations, once, however many they were."""
        self._rows = rows
        self._limit = max(1, round(buffer / self.frame_seconds))
        self._free = deque(range(rows.size))
        self._slots: dict[int, Slot] = {}
        self._recent: deque[tuple[int, int]] = deque(maxlen=RECENT)  # frames and late frames of each step
        self._wake = threading.Condition()  # guards slots and queues; never held during a step
        self._rows_lock = threading.Lock()  # guards the rows
        self._jobs: deque[_Job] = deque()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=f"engine {self.card.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the step that it is at."""
        with self._wake:
            self._stopped = True
            self._wake.notify()
        self._thread.join()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and self._rows.alive

    @property
    def taken(self) -> int:
        return len(self._slots)

    @property
    def waiting(self) -> int:
        """Frames that wait to be heard, in all slots."""
        with self._wake:
            return sum(slot.waiting for slot in self._slots.values())

    @property
    def lateness(self) -> float:
        """The share of late frames among those of the last steps."""
        frames, late = (sum(counts) for counts in zip(*self._recent, strict=True)) if self._recent else (0, 0)
        return late / max(1, frames)

    def join(self, listener: Listener, seed: int = 0, saved: Saved | None = None) -> Slot:
        """Begin a conversation, or go on with one that was parked. May wait for steps under way.

        Raises:
            EngineFullError: no slot is free.
        """

        def begin(rows: Rows) -> Slot:
            with self._wake:
                if not self._free:
                    raise EngineFullError(f"all {self.capacity} slots of {self.card.name} are taken; try again later")
                row = self._free.popleft()
            try:
                if saved is None:
                    rows.open(row, seed)
                else:
                    rows.restore(row, saved)
            except BaseException:
                self._free.append(row)
                raise
            slot = Slot(self, row, listener)
            with self._wake:
                self._slots[row] = slot
            return slot

        return self._ask(begin)

    def say(self, text: str, pace: float) -> Pcm | None:
        """Text read aloud (T,), beside the conversations; None where the system reads nothing aloud."""
        pieces = self._rows.say(text, pace)
        return None if pieces is None else np.concatenate((np.zeros(0, np.float32), *pieces))

    def _push(self, slot: Slot, pcm: Pcm) -> bool:
        with self._wake:
            if slot.waiting >= self._limit:
                self.statistics.refused += 1
                return False
            now = time.monotonic()
            slot._frames.append((pcm, slot._cushion.arrive(now) if slot._cushion else now))
            self._wake.notify()
        return True

    def _change(self, slot: Slot, fills: bool) -> None:
        with self._wake:
            if fills != slot.fills:
                slot._cushion = Cushion(self.frame_seconds, time.monotonic()) if fills else None
            slot.fills = fills
            self._wake.notify()

    def _drop(self, slot: Slot, newest: int) -> None:
        with self._wake:
            for _ in range(min(newest, len(slot._frames))):
                slot._frames.pop()

    def _ask(self, do: Callable[[Rows], T]) -> T:
        """Have something done with the rows, between two steps.

        On the engine's thread, where it can take its turn: at a lock, a step that is due would wait behind all of them.
        """
        with self._wake:
            asked = not self._stopped and self._thread.is_alive()
            if asked:
                done: Future[T] = Future()
                self._jobs.append(_Job(do, done))
                self._wake.notify()
        if asked:
            return done.result()
        with self._rows_lock:  # nobody steps them any more, or yet
            return do(self._rows)

    def _between_steps(self, slot: Slot, do: Callable[[Rows], bool]) -> bool:
        # The row of a slot that has been left may be another's by now.
        return self._ask(lambda rows: self._slots.get(slot.row) is slot and do(rows))

    def _leave(self, slot: Slot) -> None:
        def leave(rows: Rows) -> None:
            if self._slots.get(slot.row) is slot:  # it may have failed in a step before, and its row be another's
                self._release(slot)
                rows.close(slot.row)
                self._free.append(slot.row)

        self._ask(leave)

    def _copy(self, slot: Slot) -> tuple[Saved, list[Pcm]] | None:
        def copy(rows: Rows) -> tuple[Saved, list[Pcm]] | None:
            saved = rows.copy(slot.row) if self._slots.get(slot.row) is slot else None
            with self._wake:
                waiting = [pcm for pcm, _ in slot._frames]
            return None if saved is None else (saved, waiting)

        return self._ask(copy)

    def _park(self, slot: Slot) -> Saved:
        def park(rows: Rows) -> Saved:
            if self._slots.get(slot.row) is not slot:
                raise SlotLostError("the conversation has ended")
            self._release(slot)
            try:
                return rows.save(slot.row)
            finally:
                self._free.append(slot.row)

        return self._ask(park)

    def _release(self, slot: Slot) -> None:
        with self._wake:
            del self._slots[slot.row]

    def _run(self) -> None:
        try:
            self._take_turns()
        finally:
            with self._wake:
                self._stopped = True  # whoever asks from now on does it himself
            for job in self._jobs:
                with self._rows_lock:
                    job.run(self._rows)

    def _take_turns(self) -> None:
        """Step who is due, and in between do what is asked for, until the engine is stopped."""
        stepped = True
        while True:
            with self._wake:
                if self._stopped:
                    return
                now = time.monotonic()
                wait = min((self._due(slot) - now for slot in self._slots.values()), default=np.inf)
                # What is asked for waits while a step is due, but no longer than for one.
                job = self._jobs.popleft() if self._jobs and (wait > 0 or stepped) else None
                if job is None and wait > 0:
                    self._wake.wait(None if wait == np.inf else wait)
                    continue
            with self._rows_lock:
                if job is None:
                    self._step()
                else:
                    job.run(self._rows)
            stepped = job is None

    def _due(self, slot: Slot) -> float:
        """When a slot may take its next step, as far as it is known by now."""
        if slot._frames:
            return max(slot._frames[0][1], slot._stepped + self.frame_seconds / HASTE)
        if slot._cushion is not None:
            return max(slot._cushion.silence(), slot._stepped + self.frame_seconds)
        return np.inf

    def _step(self) -> None:
        """Step every slot that is due."""
        heard: dict[int, Pcm] = {}
        taken: list[tuple[Slot, bool, float]] = []
        begin = time.monotonic()
        with self._wake:
            for row, slot in self._slots.items():
                due = self._due(slot)
                if due > begin:
                    continue
                taken.append((slot, not slot._frames, due))
                heard[row] = slot._frames.popleft()[0] if slot._frames else np.zeros(self.card.frame, np.float32)
                slot._stepped = begin
        if not heard:
            return  # who was due has left, or dropped its frames, in the meantime
        try:
            replies = self._rows.step(heard)
        except Exception as error:  # of all rows: with them the system is gone, and `alive` is to tell so
            self._stopped = True
            self.report(error)
            for slot in list(self._slots.values()):
                self._fail(slot, error)
            return
        end = time.monotonic()
        late = 0
        reported: set[Exception] = set()  # a batch that broke off has one error for all of its rows
        for slot, silence, due in taken:
            reply = replies[slot.row]
            if isinstance(reply, Exception):
                if reply not in reported:
                    reported.add(reply)
                    self.report(reply)
                self._fail(slot, reply)
                continue
            late += end - due > self.frame_seconds
            slot.listener(Heard(reply, silence, end - due, end - begin))
        self._count(len(taken), sum(silence for _, silence, _ in taken), late, end - begin)

    def _fail(self, slot: Slot, error: Exception) -> None:
        self.statistics.failures += 1
        self._release(slot)
        self._rows.close(slot.row)
        self._free.append(slot.row)
        slot.listener(error)

    def _count(self, frames: int, silences: int, late: int, seconds: float) -> None:
        statistics = self.statistics
        statistics.steps += 1
        statistics.frames += frames
        statistics.silences += silences
        statistics.late += late
        statistics.seconds += seconds
        self._recent.append((frames, late))
        self.observe(seconds)
