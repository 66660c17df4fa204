"""Whether a sound is a tone and nothing else."""

from __future__ import annotations

import numpy as np

OWN = 60.0  # Hz around a tone that are its own: a frame that is missing from it widens it by less
PURE = 0.9  # share of a sound's energy that must be


def purity(pcm: bytes, hertz: float, rate: int) -> float:
    """The share of the energy of 16-bit PCM that lies at a tone."""
    samples = np.frombuffer(pcm, "<i2").astype(float)
    energy = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2
    at = np.fft.rfftfreq(len(samples), 1 / rate)
    return float(energy[np.abs(at - hertz) <= OWN].sum() / max(1e-9, energy.sum()))
