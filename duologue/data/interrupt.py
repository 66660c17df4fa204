"""Ctrl-C where another library's code is at work: heeded as soon as that code returns."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def deferred() -> Iterator[None]:
    """Hold a Ctrl-C back until the block is over; then it does what it does elsewhere.

    C that calls back into Python has nowhere to pass an exception on to: a KeyboardInterrupt would be printed and
    forgotten, and with it what that call was to take in. Only the main thread is ever interrupted.
    """
    earlier = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(earlier):
        yield
        return
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, earlier)
        if came:
            signal.raise_signal(signal.SIGINT)
