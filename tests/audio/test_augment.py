"""Augmentation: conditions at the level asked for, no delay, the same length, equal for equal seeds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import signal

from duologue.audio.augment import (
    NOMINAL_DB,
    Augmenter,
    add_noise,
    babble,
    clip,
    coloured_noise,
    echo,
    gain,
    hum,
    reverb,
    room,
    speech_level,
    speed,
    telephone,
)
from duologue.audio.files import load


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def lag(changed: np.ndarray, pcm: np.ndarray) -> int:
    """How many samples `changed` is late."""
    correlation = signal.correlate(changed, pcm, "full", "fft")
    return int(np.abs(correlation).argmax()) - len(pcm) + 1


def level(pcm: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(pcm, dtype=np.float64))))


@pytest.mark.parametrize("snr", [-5.0, 10.0, 40.0])
@pytest.mark.parametrize("samples", [500, 16000, 500_000])
def test_noise_lies_below_the_speech_as_asked(
    question: np.ndarray, rng: np.random.Generator, snr: float, samples: int
) -> None:
    noisy = add_noise(question, coloured_noise(samples, 1, rng), snr, rng)
    assert noisy.dtype == np.float32
    assert speech_level(question) - level(noisy - question) == pytest.approx(snr, abs=0.05)


def test_pauses_do_not_count_in_the_level_of_speech(question: np.ndarray) -> None:
    padded = np.concatenate((question, np.zeros(10 * len(question), np.float32)))
    assert speech_level(padded) == pytest.approx(speech_level(question), abs=0.1)
    assert speech_level(gain(question, -12)) == pytest.approx(speech_level(question) - 12, abs=0.1)
    assert speech_level(np.zeros(16000, np.float32)) == NOMINAL_DB


def test_reverb_adds_no_delay_and_keeps_the_direct_sound(question: np.ndarray, rng: np.random.Generator) -> None:
    np.testing.assert_allclose(reverb(question, np.eye(1, 2000, 700)[0] * -0.3), question, atol=1e-5)
    wet = reverb(question, np.concatenate((np.zeros(300), room(rng))))
    assert len(wet) == len(question)
    assert wet.dtype == np.float32
    assert lag(wet, question) == 0


def test_reverb_in_real_rooms(speech: Path, question: np.ndarray) -> None:
    for path in sorted((speech / "openair_rir").glob("*.flac")):
        wet = reverb(question, load(path))
        assert np.isfinite(wet).all()
        assert abs(lag(wet, question)) < 16 * 10


def test_the_telephone_keeps_its_band_alone_and_the_time(question: np.ndarray, rng: np.random.Generator) -> None:
    assert lag(telephone(question), question) == 0
    hiss = 0.1 * coloured_noise(64000, 0, rng)
    heard = telephone(hiss)
    assert heard.shape == hiss.shape
    frequency, before = signal.welch(hiss, 16000, nperseg=1024)
    _, after = signal.welch(heard, 16000, nperseg=1024)
    change = 10 * np.log10(after / before)
    assert np.abs(change[(frequency > 500) & (frequency < 3000)]).max() < 2
    assert change[frequency < 100].mean() < -20
    assert change[frequency > 4500].max() < -20


def test_gain_clip_speed(question: np.ndarray) -> None:
    np.testing.assert_allclose(gain(question, 20), question * 10, rtol=1e-5)
    driven = clip(question, 4)
    assert np.abs(driven).max() == 1
    assert (np.abs(driven) == 1).sum() > 10
    np.testing.assert_array_equal(clip(np.zeros(9, np.float32), 4), np.zeros(9))
    assert len(speed(question, 1.25)) == pytest.approx(len(question) / 1.25, abs=2)


def test_echo_is_the_reply_later_and_softer(question: np.ndarray) -> None:
    user = np.zeros(len(question) * 2, np.float32)
    heard = echo(user, question, 0.1, -20)
    np.testing.assert_allclose(heard[1600 : 1600 + len(question)], question * 0.1, atol=1e-6)
    assert not heard[:1600].any()
    assert echo(user[:1000], question, 0.5, -20).tolist() == user[:1000].tolist()


@pytest.mark.parametrize("slope", [0.0, 1.0, 2.0])
def test_noise_has_its_colour(rng: np.random.Generator, slope: float) -> None:
    noise = coloured_noise(160_000, slope, rng)
    assert level(noise) == pytest.approx(0, abs=0.01)
    frequency, power = signal.welch(noise, 16000, nperseg=2048)
    band = (frequency > 100) & (frequency < 6000)
    fitted = np.polyfit(np.log10(frequency[band]), np.log10(power[band]), 1)[0]
    assert -fitted == pytest.approx(slope, abs=0.1)


def test_hum_is_the_mains_and_babble_many_voices(question: np.ndarray, rng: np.random.Generator) -> None:
    spectrum = np.abs(np.fft.rfft(hum(32000, rng)))
    assert np.flatnonzero(spectrum > 0.05 * spectrum.max())[0] / 2 in (50.0, 60.0)
    crowd = babble(32000, [question, question[::-1].copy()], rng)
    assert crowd.shape == (32000,)
    assert level(crowd) > 0


def test_equal_seeds_equal_audio_and_nothing_else_changes(question: np.ndarray, rng: np.random.Generator) -> None:
    augment = Augmenter(noises=[coloured_noise(8000, 1, rng)], rirs=[room(rng)], voices=[question])
    before = question.copy()
    draws = [augment(question, np.random.default_rng(seed)) for seed in range(40)]
    for seed, drawn in enumerate(draws):
        assert drawn.shape == question.shape
        assert drawn.dtype == np.float32
        assert np.isfinite(drawn).all()
        assert np.abs(drawn).max() <= 1
        np.testing.assert_array_equal(drawn, augment(question, np.random.default_rng(seed)))
    np.testing.assert_array_equal(question, before)
    assert len({drawn.tobytes() for drawn in draws}) > 30


def test_every_condition_at_once_keeps_the_time(question: np.ndarray) -> None:
    augment = Augmenter(reverb=1, noise=1, gain=1, clip=1, telephone=1, snr_db=(20, 30))
    for seed in range(5):
        assert lag(augment(question, np.random.default_rng(seed)), question) == 0
    none = Augmenter(reverb=0, noise=0, gain=0, clip=0, telephone=0)
    np.testing.assert_array_equal(none(question, np.random.default_rng(0)), question)


@pytest.mark.parametrize("samples", [0, 1, 100, 1280])
def test_silence_and_scraps_survive(samples: int) -> None:
    augment = Augmenter(reverb=1, noise=1, gain=1, clip=1, telephone=1)
    for seed in range(12):
        drawn = augment(np.zeros(samples, np.float32), np.random.default_rng(seed))
        assert drawn.shape == (samples,)
        assert np.isfinite(drawn).all()
