"""Conversations kept on disk, where the operator asks for it: both voices in a stereo FLAC, all events in JSON lines.

An engine's rows are wrapped, so every protocol is recorded alike. A thread of its own writes; an engine never waits for
a disk. What is old, or more than may be kept, is deleted.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Full, Queue
from types import TracebackType
from typing import Self

import numpy as np

from duologue.atomic import atomic
from duologue.audio.files import Writer
from duologue.errors import ConfigError, DuologueError
from duologue.serve.logs import log
from duologue.systems.base import Pcm, Reply, Tool
from duologue.systems.rows import Rows, Saved

BEHIND = 20_000  # frames that may wait for the disk, of all conversations; at 16 kHz 10 KB each
LOOK = 600.0  # seconds between looks at what has become too old
_NAME = re.compile(r"\.?(\d{8}T\d{6}Z-[0-9a-f]{12}(?:-\w+)*)\.(?:flac|jsonl)")  # with a dot: not whole yet


@dataclass(frozen=True)
class Retention:
    """How long recordings are kept, in seconds, and how many bytes of them; the oldest go first."""

    age: float
    size: int


class Recorder:
    """A context manager: within it `wrap`ped rows are recorded into `folder`; at its end all that was said is written.

    Raises:
        ConfigError: the folder cannot be made or written.
    """

    def __init__(self, folder: Path, retention: Retention) -> None:
        self.folder, self.retention = folder, retention
        self._jobs: Queue[Callable[[], None] | None] = Queue(BEHIND)
        self._takes: set[Take] = set()  # that are being written
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def __enter__(self) -> Self:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            probe = self.folder / f".{secrets.token_hex(6)}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise ConfigError(f"cannot record into {self.folder}: {error.strerror}; name a writable folder") from error
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._jobs.put(None)
        self._thread.join()

    def wrap(self, rows: Rows) -> Rows:
        """The same rows, recorded."""
        return _RecordedRows(rows, self)

    def begin(self, rate: int, frame: int, name: str | None = None, part: int = 1) -> Take:
        """A new recording; `name` and `part` are given where it goes on with an earlier one."""
        name = name or f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(6)}"
        take = Take(self, name, part, rate, frame)
        self._takes.add(take)
        return take

    def forget(self, take: Take) -> None:
        self._takes.discard(take)

    def enqueue(self, job: Callable[[], None]) -> bool:
        """Have something done on the writing thread; False where too much waits for it already."""
        try:
            self._jobs.put_nowait(job)
        except Full:
            return False
        return True

    def _run(self) -> None:
        looked = -np.inf
        while True:
            if time.monotonic() - looked >= LOOK:
                self.prune()
                looked = time.monotonic()
            try:
                job = self._jobs.get(timeout=LOOK)
            except Empty:
                continue
            if job is None:
                break
            job()
        for take in list(self._takes):  # of conversations that nobody has closed
            take.close()

    def prune(self) -> None:
        """Delete what is too old or too much; only files that carry a recording's name, and both of it together."""
        files: dict[str, list[tuple[Path, float, int]]] = defaultdict(list)
        try:
            for path in self.folder.iterdir():
                if (match := _NAME.fullmatch(path.name)) is not None:
                    with suppress(FileNotFoundError):  # another server that records here has deleted or named it
                        status = path.stat()
                        files[match[1]].append((path, status.st_mtime, status.st_size))
        except OSError as error:
            log("recording failed", error)
            return
        kept = 0
        for recording in sorted(files.values(), key=lambda each: max(age for _, age, _ in each), reverse=True):
            kept += sum(size for *_, size in recording)
            if kept > self.retention.size or time.time() - max(age for _, age, _ in recording) > self.retention.age:
                for path, *_ in recording:
                    path.unlink(missing_ok=True)


class Take:
    """One recording. Its methods are called on an engine's thread; what they do happens on the recorder's."""

    def __init__(self, recorder: Recorder, name: str, part: int, rate: int, frame: int) -> None:
        self.name, self.part = name, part
        self._recorder = recorder
        self._stem = recorder.folder / (name if part == 1 else f"{name}-{part}")
        self._rate = rate
        self._silence = np.zeros(frame, np.float32)
        self._last: Pcm | None = None  # a reply sounds one frame after the frame that it answers
        self._stack: ExitStack | None = None
        self._failed = False

    def add(self, pcm: Pcm, reply: Reply) -> None:
        """The user's next frame and the reply to it."""
        both = np.stack((pcm, self._silence if self._last is None else self._last))
        self._last = reply.pcm
        lines = [f"{event.model_dump_json()}\n" for event in reply.events if event.kind != "timing"]
        self._do(lambda: self._write(both, lines))

    def end(self) -> None:
        """The conversation is over; what was said last is written too."""
        if self._last is not None:
            self.add(self._silence, Reply(self._silence))
        self._recorder.enqueue(lambda: self._try(self.close))

    def _do(self, job: Callable[[], None]) -> None:
        if not self._failed and not self._recorder.enqueue(lambda: self._try(job)):
            self._failed = True
            log("recording failed", reason="the disk is too slow")

    def _try(self, job: Callable[[], None]) -> None:
        try:
            job()
        except (DuologueError, OSError) as error:
            self._failed = True
            log("recording failed", error)
            stack, self._stack = self._stack, None
            if stack is not None:
                with suppress(DuologueError, OSError):
                    stack.__exit__(type(error), error, None)

    def _write(self, frame: Pcm, lines: list[str]) -> None:
        if self._stack is None:
            with ExitStack() as stack:
                self._sound = stack.enter_context(Writer(self._stem.with_suffix(".flac"), self._rate, 2))
                temporary = stack.enter_context(atomic(self._stem.with_suffix(".jsonl")))
                self._events = stack.enter_context(temporary.open("w", encoding="utf-8"))
                self._stack = stack.pop_all()
        self._sound.write(frame)
        self._events.writelines(lines)

    def close(self) -> None:
        """Give the files their names; on the recorder's thread."""
        self._recorder.forget(self)
        stack, self._stack = self._stack, None
        if stack is not None:
            stack.close()
            self._recorder.prune()


@dataclass(frozen=True)
class _Parked:
    saved: Saved
    name: str | None = None  # a copy's recording is one of its own
    part: int = 1


class _RecordedRows(Rows):
    """Rows that tell a recorder what is heard and said in them."""

    def __init__(self, rows: Rows, recorder: Recorder) -> None:
        self.card, self.size = rows.card, rows.size
        self._rows, self._recorder = rows, recorder
        self._takes: dict[int, Take] = {}

    @property
    def alive(self) -> bool:
        return self._rows.alive

    def open(self, row: int, seed: int) -> None:
        self._rows.open(row, seed)
        self._takes[row] = self._recorder.begin(self.card.sample_rate, self.card.frame)

    def close(self, row: int) -> None:
        self._rows.close(row)
        if row in self._takes:
            self._takes.pop(row).end()

    def step(self, heard: Mapping[int, Pcm]) -> dict[int, Reply | Exception]:
        replies = self._rows.step(heard)
        for row, reply in replies.items():
            if isinstance(reply, Reply):
                self._takes[row].add(heard[row], reply)
        return replies

    def hush(self, row: int) -> bool:
        return self._rows.hush(row)

    def reads(self, row: int) -> bool:
        return self._rows.reads(row)

    def read(self, row: int, text: str) -> bool:
        return self._rows.read(row, text)

    def pace(self, row: int, pace: float) -> bool:
        return self._rows.pace(row, pace)

    def offer(self, row: int, tools: Sequence[Tool]) -> bool:
        return self._rows.offer(row, tools)

    def give(self, row: int, results: Mapping[str, str]) -> bool:
        return self._rows.give(row, results)

    def go_on(self, row: int) -> bool:
        return self._rows.go_on(row)

    def say(self, text: str, pace: float) -> Iterator[Pcm] | None:
        return self._rows.say(text, pace)

    def save(self, row: int) -> Saved:
        """A parked conversation may never be resumed: its recording ends here, and `restore` begins its next part."""
        saved = self._rows.save(row)
        take = self._takes.pop(row)
        take.end()
        return _Parked(saved, take.name, take.part + 1)

    def copy(self, row: int) -> Saved | None:
        saved = self._rows.copy(row)
        return None if saved is None else _Parked(saved)

    def restore(self, row: int, saved: Saved) -> None:
        assert isinstance(saved, _Parked)
        self._rows.restore(row, saved.saved)
        self._takes[row] = self._recorder.begin(self.card.sample_rate, self.card.frame, saved.name, saved.part)
