"""A recorded question: checked before anyone listens to it, then streamed frame by frame in constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from duologue.commands.files import header
from duologue.errors import AudioError
from duologue.systems.base import Pcm

SHORTEST = 0.08  # seconds: less than a frame cannot hold a word
SILENT = 3e-4  # peak, -70 dBFS: a whisper recorded badly is louder
CLIPPED = 0.985  # a sample this near full scale, resampling ripple allowed for, counts as clipped
CLIPPED_SHARE = 0.001


@dataclass(frozen=True)
class Question:
    """An audio file that can be listened to.

    Attributes:
        path: the file.
        seconds: its duration, in whole frames.
        notes: what the user should know about it, a line each.
    """

    path: Path
    seconds: float
    notes: tuple[str, ...]

    def frames(self, rate: int, size: int) -> Iterator[Pcm]:
        """Mono frames (size,) float32 at `rate`, the last one padded with silence."""
        from duologue.audio.files import stream

        return stream(self.path, rate, size)


def inspect(path: Path) -> Question:
    """Read a file once from end to end and judge whether it can be a question.

    Raises:
        AudioError: it is missing, not audio, holds NaN, is too short or is silent.
    """
    from duologue.audio.files import stream

    rate, size = 16000, 1280
    count, clipped, peak = 0, 0, 0.0
    blocks = stream(path, rate, size)
    channels, duration = header(path)
    if duration < SHORTEST:
        raise AudioError(f"{path}: too short ({1000 * duration:.2g} ms); a question lasts at least 80 ms")
    for block in blocks:
        level = np.abs(block)
        count += 1
        clipped += int((level >= CLIPPED).sum())
        peak = max(peak, float(level.max()))
    if peak < SILENT:
        mixed = f" once its {channels} channels are mixed down" if channels > 1 else ""
        raise AudioError(f"{path}: silent{mixed} (peak {_decibels(peak)}); record a question that can be heard")
    notes = []
    if channels > 2:
        notes.append(f"note: {path}: {channels} channels mixed down to one")
    share = clipped / (count * size)
    if share > CLIPPED_SHARE:
        notes.append(f"warning: {path}: clipped ({share:.1%} of samples at full scale); record at a lower level")
    return Question(path, count * size / rate, tuple(notes))


def _decibels(peak: float) -> str:
    return "-inf dBFS" if peak == 0 else f"{20 * np.log10(peak):.0f} dBFS"
