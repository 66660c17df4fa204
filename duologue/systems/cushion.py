"""A client's frames on their way: how unevenly they come, and how long each waits so that they are heard evenly.

A frame is due, by the client's own clock, one frame after the one before it. That clock is set by the frames that come
soonest; how far the others come behind it is the client's jitter. Where that is more than a frame, frames are kept for
as long as the latest of them may take, as in the playout buffer of a telephone (Ramjee et al., "Adaptive playout
mechanisms for packetized audio applications in wide-area networks", 1994). Of a steady client nothing is ever kept.
"""

from __future__ import annotations

PATIENCE = 2.0  # frames: so much later than ever before a frame may be until silence is heard in its stead
MOST = 0.4  # seconds behind from which a client has not been late but has paused
FORGET = 0.995  # of the jitter remains after each frame: half of it after 11 s
DRIFT = 0.002  # share of a frame's lateness by which the client's clock is set back, as clocks run unevenly


class Cushion:
    """The frames of one client, in order; all times are seconds of one clock.

    Attributes:
        jitter: how far behind the client's clock frames have come of late.
    """

    def __init__(self, frame: float, now: float) -> None:
        """The client's next frame, of `frame` seconds, is expected a frame from `now`."""
        self._frame = frame
        self._clock = now  # when the client's last frame would have come at the soonest
        self.jitter = 0.0

    def arrive(self, now: float) -> float:
        """A frame came; when it is to be heard."""
        self._clock += self._frame
        behind = now - self._clock
        if behind < 0 or behind > MOST:
            self._clock, behind = now, 0.0
        self._clock += DRIFT * behind
        self.jitter = max(behind, FORGET * self.jitter)
        return now if self.jitter <= self._frame else max(now, self._clock + self.jitter)

    def silence(self) -> float:
        """When silence is to be heard if no frame has come by then."""
        return self._clock + self._frame + self.jitter + PATIENCE * self._frame
