"""What a process does that must be in time from here on."""

from __future__ import annotations

import gc


def settle() -> None:
    """Take all that is loaded by now out of the garbage collector's sight.

    To look through a loaded model and its libraries takes it a tenth of a second, more than a frame, whenever it comes
    to that; what conversations leave behind takes it no time.
    """
    gc.collect()
    gc.freeze()
