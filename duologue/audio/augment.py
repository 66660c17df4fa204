"""What rooms, microphones and lines do to a voice: noise, echo, reverberation, level, clipping, the telephone band.

Every function takes mono float32 (T,) at 16 kHz and returns as many samples, undelayed, so that the times of words
stay true (`speed` alone changes both). Chance comes only from the generator passed in: equal seeds, equal audio.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import signal

from duologue.audio.g711 import mulaw_decode, mulaw_encode
from duologue.audio.resample import resample
from duologue.audio.vad import frame_levels

RATE = 16000
NOMINAL_DB = -26.0  # the usual level of active speech (ITU-T P.56), the reference where there is no speech
_BAND = signal.butter(4, (300, 3400), "bandpass", fs=8000, output="sos")


def speech_level(pcm: np.ndarray) -> float:
    """The level in dBFS without the pauses: of frames within 30 dB of the loudest; NOMINAL_DB in silence."""
    levels = frame_levels(pcm)
    if len(levels) == 0 or levels.max() < -80:
        return NOMINAL_DB
    return _decibels(np.mean(10 ** (levels[levels > levels.max() - 30] / 10)))


def add_noise(pcm: np.ndarray, noise: np.ndarray, snr_db: float, rng: np.random.Generator) -> np.ndarray:
    """Add a random stretch of `noise` (N,), repeated where short, `snr_db` below the level of the speech."""
    start = int(rng.integers(0, max(1, len(noise) - len(pcm) + 1)))
    stretch = np.resize(noise[start:], len(pcm))
    power = float(np.mean(np.square(stretch))) if len(stretch) else 0.0
    if power < 1e-14:
        return pcm
    return pcm + stretch * np.float32(10 ** ((speech_level(pcm) - snr_db - _decibels(power)) / 20))


def reverb(pcm: np.ndarray, rir: np.ndarray) -> np.ndarray:
    """Put the voice into the room of an impulse response (N,); its direct sound keeps its time and level."""
    direct = int(np.abs(rir).argmax())
    wet = signal.fftconvolve(pcm, rir[direct:] / rir[direct])[: len(pcm)]
    return np.asarray(wet, np.float32)


def gain(pcm: np.ndarray, db: float) -> np.ndarray:
    """Make louder or softer by `db` decibels."""
    return pcm * np.float32(10 ** (db / 20))


def clip(pcm: np.ndarray, drive: float) -> np.ndarray:
    """Overdrive: the peak would reach `drive` times full scale, and is cut off there."""
    peak = float(np.abs(pcm).max(initial=0))
    return np.clip(pcm * np.float32(drive / peak), -1, 1) if peak else pcm


def telephone(pcm: np.ndarray) -> np.ndarray:
    """A telephone line: 300 to 3400 Hz, 8 kHz, G.711 mu-law, and back to 16 kHz."""
    narrow = signal.sosfiltfilt(_BAND, np.pad(resample(pcm, RATE, 8000), 400))[400:-400]
    wide = resample(mulaw_decode(mulaw_encode(narrow)), 8000, RATE)
    return _fit(wide, len(pcm))


def speed(pcm: np.ndarray, factor: float) -> np.ndarray:
    """Play `factor` times as fast, pitch and all (Ko et al. 2015): (T / factor,)."""
    return resample(pcm, round(RATE * factor), RATE)


def echo(user: np.ndarray, reply: np.ndarray, delay_s: float, level_db: float) -> np.ndarray:
    """The user's microphone with the loudspeaker in it: the reply `delay_s` late and `level_db` louder (so below 0)."""
    late = np.concatenate((np.zeros(round(delay_s * RATE), np.float32), gain(reply, level_db)))
    heard: np.ndarray = user + _fit(late, len(user))
    return heard


def coloured_noise(samples: int, slope: float, rng: np.random.Generator) -> np.ndarray:
    """Noise (samples,) of unit power whose density falls with frequency to the `slope`: 0 white, 1 pink, 2 brown."""
    size = 2 ** max(samples, 2).bit_length()
    spectrum = rng.standard_normal(size // 2 + 1, np.float32) + 1j * rng.standard_normal(size // 2 + 1, np.float32)
    frequency = np.maximum(np.arange(size // 2 + 1) * RATE / size, 20.0)  # below hearing, no more than at 20 Hz
    noise = np.fft.irfft(spectrum * frequency ** (-slope / 2))[:samples]
    return np.asarray(noise / np.sqrt(np.sum(noise**2) / max(samples, 1) + 1e-30), np.float32)


def hum(samples: int, rng: np.random.Generator) -> np.ndarray:
    """The mains, at 50 or 60 Hz with harmonics that fall at random: (samples,) of unit power."""
    mains = float(rng.choice((50.0, 60.0)))
    time = np.arange(RATE // 10) / RATE  # whole periods of either
    tones = [
        rng.uniform(0.2, 1) / harmonic * np.sin(2 * np.pi * (mains * harmonic * time + rng.uniform()))
        for harmonic in range(1, 11)
    ]
    periods = np.sum(tones, axis=0)
    return np.resize(np.asarray(periods / periods.std(), np.float32), samples)


def babble(samples: int, voices: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Four to eight of `voices` talking at once, each at one level and begun anywhere: (samples,)."""
    mixed = np.zeros(samples, np.float32)
    for index in rng.integers(0, len(voices), rng.integers(4, 9)):
        voice = gain(voices[index], -speech_level(voices[index]))
        mixed += np.resize(np.roll(voice, int(rng.integers(0, len(voice)))), samples)
    return mixed


def room(rng: np.random.Generator) -> np.ndarray:
    """An impulse response of a made-up room: direct sound, then noise that decays by 60 dB in 0.1 to 0.8 s (Polack)."""
    decay = rng.uniform(0.1, 0.8)
    time = np.arange(int(decay * RATE)) / RATE
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / decay)
    tail[: int(rng.uniform(0.001, 0.01) * RATE)] = 0  # the nearest wall
    tail *= 10 ** (rng.uniform(-15, 0) / 20) / np.sqrt(np.sum(tail**2))
    tail[0] = 1
    return np.asarray(tail, np.float32)


@dataclass(frozen=True)
class Augmenter:
    """Draws the conditions of one recording, each with its probability, in the order in which they happen.

    The room, noise in it, the distance or gain, the overdriven microphone, the line. Recorded `noises` and `rirs`
    (arrays at 16 kHz) take half of the draws where given, made-up ones the rest; `voices` make babble.
    """

    noises: Sequence[np.ndarray] = ()
    rirs: Sequence[np.ndarray] = ()
    voices: Sequence[np.ndarray] = ()
    reverb: float = 0.3
    noise: float = 0.6
    gain: float = 0.7
    clip: float = 0.03
    telephone: float = 0.1
    snr_db: tuple[float, float] = (3.0, 35.0)
    gain_db: tuple[float, float] = (-20.0, 6.0)

    def __call__(self, pcm: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(T,) under one draw of conditions: (T,) float32 in [-1, 1]."""
        if rng.random() < self.reverb:
            pcm = reverb(pcm, self._room(rng))
        if rng.random() < self.noise:
            pcm = add_noise(pcm, self._noise(len(pcm), rng), rng.uniform(*self.snr_db), rng)
        if rng.random() < self.gain:
            pcm = gain(pcm, rng.uniform(*self.gain_db))
        if rng.random() < self.clip:
            pcm = clip(pcm, rng.uniform(1, 4))
        if rng.random() < self.telephone:
            pcm = telephone(pcm)
        return np.asarray(np.clip(pcm, -1, 1), np.float32)

    def _room(self, rng: np.random.Generator) -> np.ndarray:
        if self.rirs and rng.random() < 0.5:
            return self.rirs[int(rng.integers(0, len(self.rirs)))]
        return room(rng)

    def _noise(self, samples: int, rng: np.random.Generator) -> np.ndarray:
        if self.noises and rng.random() < 0.5:
            return self.noises[int(rng.integers(0, len(self.noises)))]
        kind = rng.integers(0, 6 if self.voices else 5)
        if kind == 5:
            return babble(samples, self.voices, rng)
        if kind == 4:
            return hum(samples, rng)
        return coloured_noise(samples, slope=(0.0, 1.0, 2.0, rng.uniform(0, 2))[kind], rng=rng)


def _decibels(power: float | np.floating) -> float:
    return float(10 * np.log10(power))


def _fit(pcm: np.ndarray, samples: int) -> np.ndarray:
    return np.asarray(np.pad(pcm[:samples], (0, max(0, samples - len(pcm)))), np.float32)
