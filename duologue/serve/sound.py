"""Sound on the wire: samples at a client's rate in a client's code, as streams to and from a system's rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from duologue.audio import g711
from duologue.audio.resample import LiveResampler
from duologue.systems.base import Pcm

Code = Literal["pcm", "pcmu", "pcma"]


@dataclass(frozen=True)
class Format:
    """Mono sound as bytes: 16-bit little-endian samples ("pcm"), or G.711 by mu-law ("pcmu") or A-law ("pcma")."""

    code: Code
    rate: int

    @property
    def width(self) -> int:
        """Bytes of a sample."""
        return 2 if self.code == "pcm" else 1

    def seconds(self, data: bytes) -> float:
        return len(data) / self.width / self.rate

    def decode(self, data: bytes) -> Pcm:
        """Whole samples to float32 in [-1, 1], (T,)."""
        if self.code == "pcm":
            return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768)
        codes = np.frombuffer(data, np.uint8)
        return g711.mulaw_decode(codes) if self.code == "pcmu" else g711.alaw_decode(codes)

    def encode(self, pcm: Pcm) -> bytes:
        """Samples (T,) in [-1, 1] to bytes; louder ones are clipped."""
        if self.code == "pcm":
            return (np.clip(pcm, -1, 1) * 32767).round().astype("<i2").tobytes()
        return (g711.mulaw_encode(pcm) if self.code == "pcmu" else g711.alaw_encode(pcm)).tobytes()


class Inward:
    """Bytes of a client, in pieces of any size, to frames (frame,) at a system's rate."""

    def __init__(self, format: Format, rate: int, frame: int) -> None:
        self.format = format
        self._frame = frame
        self._resampler = LiveResampler(format.rate, rate, prompt=True)
        self._odd = b""  # half a sample
        self._pending = np.zeros(0, np.float32)

    def push(self, data: bytes) -> list[Pcm]:
        """The frames that are whole with these bytes."""
        data = self._odd + data
        whole = len(data) // self.format.width * self.format.width
        self._odd = data[whole:]
        return self._cut(self._resampler.push(self.format.decode(data[:whole])))

    def flush(self) -> list[Pcm]:
        """What is left, filled up with silence; the next `push` begins afresh."""
        frames = self._cut(self._resampler.flush())
        if len(self._pending):
            frames.append(np.pad(self._pending, (0, self._frame - len(self._pending))))
        self.clear()
        return frames

    def clear(self) -> None:
        """Forget what is not a whole frame yet."""
        self._odd, self._pending = b"", np.zeros(0, np.float32)
        self._resampler.flush()

    def _cut(self, pcm: Pcm) -> list[Pcm]:
        self._pending = np.concatenate((self._pending, pcm))
        whole = len(self._pending) // self._frame * self._frame
        frames = np.split(self._pending[:whole], whole // self._frame) if whole else []
        self._pending = self._pending[whole:]
        return frames


class Outward:
    """Frames of a system to bytes for a client."""

    def __init__(self, format: Format, rate: int) -> None:
        self.format = format
        self._resampler = LiveResampler(rate, format.rate, prompt=True)

    def push(self, pcm: Pcm) -> bytes:
        return self.format.encode(self._resampler.push(pcm))

    def flush(self) -> bytes:
        """The end of a reply."""
        return self.format.encode(self._resampler.flush())
