"""What a process does that must be in time from here on."""

from __future__ import annotations

import gc
import sys

SWITCH = 0.0005
"""Seconds after which a thread lets another run that waits for the interpreter: a tenth of Python's own, since a frame
crosses from one thread to another several times, and each may be a wait."""


def settle() -> None:
    """Take all that is loaded by now out of the garbage collector's sight, and let threads take turns quickly.

    To look through a loaded model and its libraries takes it a tenth of a second, more than a frame, whenever it comes
    to that; what conversations leave behind takes it no time.
    """
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(SWITCH)
