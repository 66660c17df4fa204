"""Sample-rate conversion by linear-phase filters, of whole signals, of files in parts, and of live sound."""

from __future__ import annotations

from functools import cache
from math import ceil, gcd

import numpy as np
import soxr
from scipy.signal import firwin, upfirdn

ZERO_CROSSINGS = 32  # of the live filter's sinc, on each side: how far it sees ahead, in samples of the lower rate
CUTOFF = 0.92  # of the lower Nyquist frequency: with the window's slope, the stop band begins right above it
KAISER = 8.0  # 80 dB


def resample(pcm: np.ndarray, source: int, target: int) -> np.ndarray:
    """Convert (T,) or (C, T) float32 from `source` to `target` samples a second, without delay."""
    if source == target or pcm.shape[-1] == 0:
        return pcm.astype(np.float32, copy=False)
    return np.asarray(soxr.resample(pcm.T.astype(np.float32, order="C", copy=False), source, target)).T


class StreamResampler:
    """Converts a signal that arrives in parts; what comes out, joined, equals `resample` of the whole.

    Output lags the input by the milliseconds that the filter sees ahead; `flush` gives the rest and ends the signal,
    after which the next `push` begins another.
    """

    def __init__(self, source: int, target: int, channels: int = 1) -> None:
        self._stream = soxr.ResampleStream(source, target, channels, dtype="float32") if source != target else None
        self._channels = channels

    def push(self, pcm: np.ndarray) -> np.ndarray:
        """The next part, (T,) for one channel or (C, T), to the samples that are ready, in the same layout."""
        pcm = pcm.astype(np.float32, copy=False)
        if self._stream is None:
            return pcm
        return np.asarray(self._stream.resample_chunk(np.ascontiguousarray(pcm.T))).T

    def flush(self) -> np.ndarray:
        """The samples still inside, (T,) for one channel or (C, T)."""
        nothing = np.zeros(0 if self._channels == 1 else (self._channels, 0), np.float32)
        if self._stream is None:
            return nothing
        rest = np.asarray(self._stream.resample_chunk(np.ascontiguousarray(nothing.T), last=True)).T
        self._stream.clear()
        return rest


@cache
def _live_filter(up: int, down: int) -> np.ndarray:
    """Taps (2 * reach + 1,) at the common multiple of two rates; `reach` is a multiple of `down`."""
    reach = down * ceil(ZERO_CROSSINGS * max(up, down) / down)
    return np.asarray(up * firwin(2 * reach + 1, CUTOFF / max(up, down), window=("kaiser", KAISER)))


class LiveResampler:
    """Converts live sound that arrives in parts, and holds back only what its filter must see ahead: 2 ms at 16 kHz.

    libsoxr works in blocks, so its streams keep back up to 0.1 s. This is a windowed sinc in polyphase form whose delay
    is taken out: what comes out, joined, lies where `resample` of the whole would put it.

    Where it is to be `prompt` the delay is left in: silence comes before the sound, and in return nothing is held back,
    so that a frame is whole with its last sample and not with the part that comes after it.
    """

    def __init__(self, source: int, target: int, prompt: bool = False) -> None:
        common = gcd(source, target)
        self._up, self._down = target // common, source // common
        reach = len(_live_filter(self._up, self._down)) // 2 if prompt and self._up != self._down else 0
        # A multiple of `down`, so that the sound is late by whole samples on both sides.
        self._lead = ceil((reach / self._up + 1) / self._down) * self._down if reach else 0
        self._kept = np.zeros(self._lead, np.float32)
        self._start = 0  # the input sample that `_kept` begins with
        self._next = 0  # the output sample that comes next

    def push(self, pcm: np.ndarray) -> np.ndarray:
        """The next part (T,) to the samples that are ready, (T',) float32."""
        pcm = pcm.astype(np.float32, copy=False)
        if self._up == self._down:
            return pcm
        self._kept = np.concatenate((self._kept, pcm))
        taps = _live_filter(self._up, self._down)
        reach = len(taps) // 2
        last = ((self._start + len(self._kept) - 1) * self._up - reach) // self._down
        if last < self._next:
            return np.zeros(0, np.float32)
        first = (reach - self._start * self._up) // self._down  # where the output at time 0 would stand
        out = upfirdn(taps, self._kept, self._up, self._down)[first + self._next : first + last + 1]
        self._next = last + 1
        # What is kept begins at a multiple of `down`, where an output falls on an input.
        begin = max(self._start, (self._next * self._down - reach) // self._up // self._down * self._down)
        self._kept, self._start = self._kept[begin - self._start :], begin
        return np.asarray(out, np.float32)

    def flush(self) -> np.ndarray:
        """The samples still inside, (T,); the next `push` begins another signal."""
        if self._start == 0 and len(self._kept) == self._lead:
            return np.zeros(0, np.float32)  # nothing was given
        total = ceil((self._start + len(self._kept)) * self._up / self._down)
        missing = total - self._next
        reach = len(_live_filter(self._up, self._down)) // 2 if self._up != self._down else 0
        rest = self.push(np.zeros(reach // self._up + self._down, np.float32))[:missing] if reach else self._kept
        self._kept, self._start, self._next = np.zeros(self._lead, np.float32), 0, 0
        return rest
