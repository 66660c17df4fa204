"""Ctrl-C and termination as a wish that the loop grants when the step is done."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from duologue.train.distributed import parallel


class Interrupted(SystemExit):
    """Training was stopped by the user after its checkpoint was written; the process exits with 130."""

    def __init__(self) -> None:
        super().__init__(130)


class StopSignal:
    """Context in which SIGINT and SIGTERM set `wanted` instead of raising; a second Ctrl-C raises at once.

    Under torchrun a second signal is ignored, for the launcher passes on the one that the terminal already sent.
    """

    def __init__(self) -> None:
        self.wanted = False
        self._earlier: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            for number in (signal.SIGINT, signal.SIGTERM):
                self._earlier[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.wanted and number == signal.SIGINT and not parallel():
            raise KeyboardInterrupt
        self.wanted = True
