"""How something is said: fundamental frequency, loudness, voicing, pace; of one signal, and compared between two.

F0 is found by the autocorrelation method of Boersma (1993) as Praat has it. All contours have a value every 10 ms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import parselmouth
from numpy.typing import NDArray
from scipy.signal import find_peaks

from duologue.audio.augment import speech_level
from duologue.audio.vad import activity, frame_levels
from duologue.errors import AudioError
from duologue.eval.metrics import RATE, Pcm, sound_bounds

STEP = 0.01  # seconds between the values of a contour
LOWEST, HIGHEST = 60.0, 500.0  # Hz of a voice
SHARED = 10  # frames voiced in both signals below which their F0 cannot be compared
_DIP = 2.0  # dB between two syllables, and
_BELOW = 25.0  # dB below the loudest at which there are still syllables (de Jong and Wempe 2009)
_NUCLEUS = 0.1  # seconds between two syllables at the least: nobody speaks faster

Contour = NDArray[np.float64]


def f0(pcm: Pcm) -> Contour:
    """The fundamental frequency of (T,) at 16 kHz in Hz, 0 where nothing is voiced: (T / 10 ms, rounded up).

    Value n is that of the middle of [n, n + 1) steps.
    """
    frames = -(-len(pcm) // round(STEP * RATE))
    if not pcm.any():
        return np.zeros(frames)
    # the analysis sees 50 ms: silence at both ends lets it reach the first and the last sound
    edge = 0.1
    sound = parselmouth.Sound(np.pad(np.asarray(pcm, np.float64), round(edge * RATE)), RATE)
    pitch = sound.to_pitch_ac(time_step=STEP, pitch_floor=LOWEST, pitch_ceiling=HIGHEST)
    found: Contour = pitch.selected_array["frequency"]
    middles = edge + (np.arange(frames) + 0.5) * STEP
    places = np.rint((middles - pitch.xs()[0]) / STEP).astype(int)
    contour: Contour = found[places.clip(0, len(found) - 1)]
    return contour


@dataclass(frozen=True)
class F0Match:
    """How one signal's F0 follows another's, where both are voiced.

    Attributes:
        rmse: root mean square of the difference, in cents (1200 an octave).
        correlation: Pearson's, of the logarithms; 0 where one of them does not move.
        voicing_errors: share of the 10 ms voiced in either signal that are not voiced in both.
    """

    rmse: float
    correlation: float
    voicing_errors: float


def compare_f0(reference: Pcm, other: Pcm) -> F0Match | None:
    """Compare the F0 of two aligned signals (T,); None where less than 0.1 s is voiced in both.

    Raises:
        AudioError: the lengths differ.
    """
    if reference.shape != other.shape:
        raise AudioError(f"F0 is compared between signals of one length, not {reference.shape} and {other.shape}")
    first, second = f0(reference), f0(other)
    both, either = (first > 0) & (second > 0), (first > 0) | (second > 0)
    if both.sum() < SHARED:
        return None
    cents = 1200 * np.log2(np.stack([first[both], second[both]]))
    rmse = float(np.sqrt(np.mean(np.square(cents[0] - cents[1]))))
    return F0Match(rmse, correlation(cents[0], cents[1]), float(1 - both.sum() / either.sum()))


def correlation(first: Contour, second: Contour) -> float:
    """Pearson's correlation of (n,) and (n,); 0 where one of them is constant: then nothing follows anything."""
    x, y = first - first.mean(), second - second.mean()
    scale = float(np.sqrt(np.square(x).sum() * np.square(y).sum()))
    return float((x * y).sum() / scale) if scale > 1e-9 else 0.0


@dataclass(frozen=True)
class Prosody:
    """How a stretch of speech is said.

    Attributes:
        f0: median F0 in Hz, None where less than 0.1 s is voiced (a whisper, say).
        range: semitones from the 5th to the 95th percentile of F0; None likewise.
        level: dBFS of what is not pause.
        voicing: share of what is not pause that is voiced.
        pace: syllables a second from the first to the last sound.
    """

    f0: float | None
    range: float | None
    level: float
    voicing: float
    pace: float


def prosody(pcm: Pcm) -> Prosody | None:
    """The prosody of (T,) at 16 kHz, or None where it is silent."""
    bounds = sound_bounds(pcm)
    if bounds is None:
        return None
    contour = f0(pcm)
    voiced = contour[contour > 0]
    low, high = np.percentile(voiced, [5, 95]) if len(voiced) >= SHARED else (0.0, 0.0)
    known = len(voiced) >= SHARED
    return Prosody(
        f0=float(np.median(voiced)) if known else None,
        range=float(12 * np.log2(high / low)) if known else None,
        level=speech_level(pcm),
        voicing=float((contour[activity(pcm)] > 0).mean()),
        pace=syllables(pcm) / (bounds[1] - bounds[0]),
    )


def syllables(pcm: Pcm) -> int:
    """The syllables of (T,): peaks of loudness with dips of 2 dB between them, within 25 dB of the loudest.

    The method of de Jong and Wempe (2009), without their condition that a peak is voiced, so that a whisper counts too.
    """
    levels = frame_levels(np.pad(pcm, round(0.1 * RATE)))
    power = np.convolve(10 ** (levels / 10), np.hanning(9) / np.hanning(9).sum(), mode="same")
    smooth = 10 * np.log10(power + 1e-12)
    peaks, _ = find_peaks(smooth, height=smooth.max() - _BELOW, prominence=_DIP, distance=round(_NUCLEUS / STEP))
    return len(peaks)
