"""New voices and microphones out of prepared features: what a scene sounds like is drawn anew each time it is heard.

Scenes are rendered once, by a few hundred voices; a model that meets each of them several times learns those voices.
Vocal tract length perturbation (Jaitly and Hinton 2013) moves the formants as a longer or shorter throat would, gain
and tilt stand for another microphone at another place, and masked bands (SpecAugment, Park et al. 2019) keep a word
from being known by a single band. The labels hold, since time is left alone.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from duologue.audio.features import FLOOR, MEAN, STD, mel_filterbank

Features = NDArray[np.float32]

_LOWEST = (np.log(FLOOR) - MEAN) / STD  # the value of a band without sound
_DECIBEL = np.log(10) / 10 / STD


class Perturbation(BaseModel):
    """How far features are moved; each draw is uniform up to these ends."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: float = Field(default=0.8, ge=0, le=1)
    """Share of the scenes that are changed at all."""
    warp: float = Field(default=1.18, ge=1)
    """Frequencies are scaled by a factor from 1 / warp to warp."""
    gain_db: float = Field(default=6.0, ge=0)
    tilt_db: float = Field(default=6.0, ge=0)
    """From the lowest band to the highest."""
    masks: int = Field(default=2, ge=0)
    """At most so many stretches of bands are hidden,"""
    mask_bands: int = Field(default=8, ge=0)
    """each of at most so many bands."""

    def __call__(self, features: Features, rng: np.random.Generator) -> Features:
        """Features (T, 80) as `LogMel` makes them -> the same words in another voice."""
        if rng.random() >= self.share:
            return features
        bands = features.shape[1]
        out: Features = features.astype(np.float32) @ warp_matrix(np.exp(rng.uniform(-1, 1) * np.log(self.warp)), bands)
        colour = rng.uniform(-1, 1) * self.gain_db + rng.uniform(-1, 1) * self.tilt_db * np.linspace(-0.5, 0.5, bands)
        out = np.maximum(out + (colour * _DECIBEL).astype(np.float32), np.float32(_LOWEST))
        for _ in range(rng.integers(self.masks + 1)):
            width = int(rng.integers(self.mask_bands + 1))
            start = int(rng.integers(bands - width + 1))
            out[:, start : start + width] = _LOWEST
        return out


def warp_matrix(factor: float, bands: int) -> Features:
    """(bands, bands) that turns features into those of a voice whose formants lie `factor` times as high."""
    centres = _centres(bands)
    source = np.interp(centres / factor, centres, np.arange(bands))
    low = np.minimum(source.astype(int), bands - 2)
    weight = source - low
    matrix = np.zeros((bands, bands), np.float32)
    matrix[low, np.arange(bands)] = 1 - weight
    matrix[low + 1, np.arange(bands)] = weight
    return matrix


@cache
def _centres(bands: int) -> Features:
    """Where each band lies (bands,), in bins of the Fourier transform."""
    filters = mel_filterbank(bands).numpy()
    return np.asarray(np.arange(len(filters)) @ filters / filters.sum(0))
