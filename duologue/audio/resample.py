"""Sample-rate conversion, of whole signals and of streams, by libsoxr's linear-phase filters."""

from __future__ import annotations

import numpy as np
import soxr


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
