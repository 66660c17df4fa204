"""Where speech is, by its energy: a tool for labelling clean recordings, not for listening in noise.

A frame of 10 ms belongs to speech when its level is over a threshold that follows the recording: `floor_db` below its
loudest part, or just over its background where that is higher, and never below -65 dBFS. Gaps of up to 100 ms, the
closures of stops, are filled. Hysteresis then keeps weak endings and drops weak noises: a stretch counts only where it
also rises 10 dB over the threshold, and for at least 30 ms, which clicks do not. Steady noise without speech counts as
speech, since nothing in its energy tells it from a vowel.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

FRAMES = 100  # a second
_ABSOLUTE = -65.0  # dBFS
_RISE = 10.0
_SMOOTH, _CLOSURE, _CLICK = 5, 10, 3  # frames


def frame_levels(pcm: np.ndarray, rate: int = 16000) -> np.ndarray:
    """The level in dBFS (a full-scale square wave is 0) of each 10 ms of (T,); silence fills up the last one."""
    hop = rate // FRAMES
    padded = np.pad(pcm, (0, -len(pcm) % hop)).reshape(-1, hop)
    levels: np.ndarray = 10 * np.log10(np.square(padded, dtype=np.float32).mean(axis=1) + 1e-12)
    return levels


def activity(pcm: np.ndarray, rate: int = 16000, floor_db: float = -40) -> np.ndarray:
    """Which 10 ms of (T,) are speech: bool (T / 10 ms, rounded up)."""
    levels = frame_levels(pcm, rate)
    if len(levels) == 0:
        return np.zeros(0, bool)
    smooth = ndimage.uniform_filter1d(levels, _SMOOTH, mode="nearest")
    loud, background = smooth.max(), np.percentile(smooth, 10)
    threshold = max(loud + floor_db, min(background + 6, loud - 20), _ABSOLUTE)
    active: np.ndarray = levels > threshold
    for gap in _runs(~active):
        if gap.start > 0 and gap.stop < len(active) and gap.stop - gap.start <= _CLOSURE:
            active[gap] = True
    for run in _runs(active):
        if levels[run].max() < min(threshold + _RISE, loud) or run.stop - run.start < _CLICK:
            active[run] = False
    return active


def speech_bounds(pcm: np.ndarray, rate: int = 16000, floor_db: float = -40) -> tuple[float, float] | None:
    """Seconds at which the speech in (T,) begins and ends, or None where there is none."""
    frames = np.flatnonzero(activity(pcm, rate, floor_db))
    if len(frames) == 0:
        return None
    return float(frames[0]) / FRAMES, min(float(frames[-1] + 1) / FRAMES, len(pcm) / rate)


def _runs(mask: np.ndarray) -> list[slice]:
    return [found[0] for found in ndimage.find_objects(ndimage.label(mask)[0])]
