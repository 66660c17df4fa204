"""New voices and microphones out of prepared features: what a scene sounds like is drawn anew each time it is heard.

Scenes are rendered once, by a few hundred voices; a model that meets each of them several times learns those voices.
Vocal tract length perturbation (Jaitly and Hinton 2013) moves the formants as a longer or shorter throat would, gain
and tilt stand for another microphone at another place, and masked bands (SpecAugment, Park et al. 2019) keep a word
from being known by a single band. A room's late sound decays exponentially and adds to the direct one by its power
(Polack 1993), as noise does, so both can be put on features as well as on sound, anew each time and a hundred times
cheaper. The labels hold, since time is left alone.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.signal import lfilter

from duologue.audio.features import FLOOR, HOP, MEAN, RATE, STD, mel_filterbank

Features = NDArray[np.float32]

_LOWEST = (np.log(FLOOR) - MEAN) / STD  # the value of a band without sound
_FREEDOM = 4.0  # of a band's power from hop to hop in steady noise: it is the mean of a few bins
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
    rooms: float = Field(default=0.3, ge=0, le=1)
    """Share of the changed scenes that are put into a room,"""
    decay: tuple[float, float] = (0.2, 1.2)
    """whose sound dies by 60 dB in so many seconds, in its highest band in half of that,"""
    direct_db: tuple[float, float] = (-3.0, 15.0)
    """and lies so far below the direct sound."""
    noises: float = Field(default=0.3, ge=0, le=1)
    """Share that gets a steady noise of a spectrum of its own,"""
    snr_db: tuple[float, float] = (0.0, 30.0)
    """so far below the speech."""

    def __call__(self, features: Features, rng: np.random.Generator) -> Features:
        """Features (T, 80) as `LogMel` makes them -> the same words in another voice."""
        if rng.random() >= self.share:
            return features
        bands = features.shape[1]
        out: Features = features.astype(np.float32) @ warp_matrix(np.exp(rng.uniform(-1, 1) * np.log(self.warp)), bands)
        if rng.random() < self.rooms:
            out = in_room(out, rng.uniform(*self.decay), rng.uniform(*self.direct_db))
        if rng.random() < self.noises:
            out = in_noise(out, rng.uniform(*self.snr_db), rng)
        colour = rng.uniform(-1, 1) * self.gain_db + rng.uniform(-1, 1) * self.tilt_db * np.linspace(-0.5, 0.5, bands)
        out = np.maximum(out + (colour * _DECIBEL).astype(np.float32), np.float32(_LOWEST))
        for _ in range(rng.integers(self.masks + 1)):
            width = int(rng.integers(self.mask_bands + 1))
            start = int(rng.integers(bands - width + 1))
            out[:, start : start + width] = _LOWEST
        return out


def in_room(features: Features, decay: float, direct_db: float) -> Features:
    """Features (T, bands) with the late sound of a room after each hop, `direct_db` below what it follows in power.

    It dies by 60 dB in `decay` seconds in the lowest band and in half of that in the highest: walls and air swallow
    high tones first.
    """
    power = _power(features)
    times = decay * np.linspace(1.0, 0.5, features.shape[1])
    stays = 10 ** (-6.0 * HOP / RATE / times)  # of the power, from one hop to the next
    share = 10 ** (-direct_db / 10) * (1 - stays)
    late = [lfilter([0.0, gain], [1.0, -stay], band) for gain, stay, band in zip(share, stays, power.T, strict=True)]
    return _features(power + np.stack(late, axis=1))


def in_noise(features: Features, snr_db: float, rng: np.random.Generator) -> Features:
    """Features (T, bands) in a steady noise, its spectrum drawn by `rng`, `snr_db` below the hops that are speech."""
    power = _power(features)
    levels = power.sum(1)
    speech = levels[levels >= 1e-3 * levels.max()].mean()  # within 30 dB of the loudest, as in `speech_level`
    place = np.linspace(0, 1, features.shape[1])
    shape_db = rng.uniform(-20, 20) * place + rng.uniform(0, 8) * np.cos(
        2 * np.pi * (rng.uniform(0.5, 2) * place + rng.random())
    )
    spectrum = 10 ** (shape_db / 10)
    spectrum *= speech * 10 ** (-snr_db / 10) / spectrum.sum()
    return _features(power + spectrum * rng.standard_gamma(_FREEDOM, power.shape) / _FREEDOM)


def _power(features: Features) -> NDArray[np.float64]:
    return np.maximum(np.exp(features.astype(np.float64) * STD + MEAN) - FLOOR, 0.0)


def _features(power: NDArray[np.float64]) -> Features:
    return ((np.log(power + FLOOR) - MEAN) / STD).astype(np.float32)


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
