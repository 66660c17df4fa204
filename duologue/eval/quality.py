"""How a signal sounds, without asking what is said: a listener's opinion foretold, and faults that can be counted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import maximum_filter1d
from scipy.signal import correlate

from duologue.audio.features import HOP, STD, LogMel
from duologue.audio.vad import frame_levels
from duologue.errors import AudioError
from duologue.eval.metrics import RATE, SILENCE_DBFS, Pcm, sound_bounds

_WINDOW = round(9.01 * RATE)  # samples that DNSMOS judges at once
_FULL = 0.99  # of full scale: a sample that was cut off
_JUMP = 0.05  # the softest click that is looked for
_ISOLATED = 4.0  # times as large as anything around it
_DECIBELS = 10 * STD / np.log(10)  # in one unit of a feature, which is a normalised natural logarithm of power


@dataclass(frozen=True)
class Opinion:
    """Mean opinion scores, 1 to 5, that listeners would give (DNSMOS P.835 and P.808, Reddy et al. 2022)."""

    overall: float
    signal: float
    background: float
    p808: float


@cache
def _network() -> Any:
    import onnxruntime
    import speechmos
    from speechmos.dnsmos import DNSMOS

    folder = Path(speechmos.__file__).parent / "dnsmos_models"
    names = [str(folder / name) for name in ("sig_bak_ovr.onnx", "model_v8.onnx")]
    network = DNSMOS(*names)
    # as it comes it takes every core; cases run in parallel by themselves
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    network.onnx_sess, network.p808_onnx_sess = (onnxruntime.InferenceSession(name, options) for name in names)
    return network


def dnsmos(pcm: Pcm) -> Opinion:
    """DNSMOS of (T,) at 16 kHz; what is shorter than the 9 s that it judges at once is repeated up to there.

    Its makers double short sounds instead, which can take seven such windows to say the same.

    Raises:
        AudioError: there is no sound in it.
    """
    if sound_bounds(pcm) is None:
        raise AudioError(f"DNSMOS judges a sound; {len(pcm) / RATE:.2f} s of silence were given")
    found = _network()(np.resize(np.clip(pcm, -1, 1), max(len(pcm), _WINDOW)), RATE, False)
    return Opinion(*(float(found[name]) for name in ("ovrl_mos", "sig_mos", "bak_mos", "p808_mos")))


def clicks(pcm: Pcm) -> int:
    """How many clicks are in (T,) at 16 kHz: jumps between samples that stand alone.

    A jump counts where the second difference of the samples is over 0.05 and four times as large as any from 1 to 20 ms
    before it, and any from 1 to 20 ms after it. The pulses of a voice are as sharp, but they come again within 20 ms.
    """
    near, far = RATE // 1000, RATE // 50
    jump = np.abs(np.diff(np.pad(np.asarray(pcm, np.float64), far + 2, mode="edge"), 2))
    span = far - near + 1
    # the largest of the `span` values centred on each; shifted, of those that lie before and of those after
    largest = maximum_filter1d(jump, span, mode="constant")
    middle = near + span // 2
    around = np.maximum(np.roll(largest, middle), np.roll(largest, -middle))
    found = np.flatnonzero((jump > _JUMP) & (jump > _ISOLATED * around))
    return int(len(found) > 0) + int((np.diff(found) > near).sum())


def silence_share(pcm: Pcm) -> float:
    """The share of (T,) that is silent (10 ms below -50 dBFS) between its first sound and its last; 0 if all is."""
    bounds = sound_bounds(pcm)
    if bounds is None:
        return 0.0
    levels = frame_levels(pcm)[round(bounds[0] * 100) : round(bounds[1] * 100)]
    return float((levels < SILENCE_DBFS).mean())


def clipped_share(pcm: Pcm) -> float:
    """The share of the samples (T,) that are cut off: in runs of three or more at 99% of full scale or over."""
    full = np.pad(np.abs(pcm) >= _FULL, 1)
    edges = np.flatnonzero(np.diff(full.astype(np.int8)))
    lengths = edges[1::2] - edges[::2]
    return float(lengths[lengths >= 3].sum() / max(1, len(pcm)))


def lag(reference: Pcm, other: Pcm) -> float:
    """Seconds by which `other` (T,) lies behind `reference` (T,): where changes of loudness correlate most.

    Loudness and not the waveform, so that it is told of vocoders too, which keep no phases.
    """
    window = np.hanning(RATE // 20)
    loudness = [np.convolve(np.abs(pcm), window / window.sum(), mode="same") for pcm in (reference, other)]
    # loudness itself is never below zero, and its level would draw the best place towards no shift at all
    first, second = np.diff(loudness)
    return float(correlate(second, first, method="fft").argmax() - (len(first) - 1)) / RATE


@torch.no_grad()
def mel_distance(reference: Pcm, other: Pcm) -> float:
    """The mean difference between the log-mel spectra (80 bins, 10 ms) of two aligned signals (T,), in decibels.

    Raises:
        AudioError: the lengths differ, or they are shorter than 10 ms.
    """
    if reference.shape != other.shape or len(reference) < HOP:
        raise AudioError(f"spectra are compared of equal lengths from 10 ms, not {reference.shape} and {other.shape}")
    both = np.stack([reference, other]).astype(np.float32)[:, : len(reference) // HOP * HOP]
    first, second = _mel()(torch.from_numpy(both))
    return float((first - second).abs().mean() * _DECIBELS)


@cache
def _mel() -> LogMel:
    return LogMel()
