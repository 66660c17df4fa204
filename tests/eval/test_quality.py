"""Faults put into a signal are counted, and a listener's opinion falls with noise."""

from __future__ import annotations

import numpy as np
import pytest

from duologue.audio.augment import gain
from duologue.errors import AudioError
from duologue.eval.metrics import RATE, Pcm
from duologue.eval.quality import clicks, clipped_share, dnsmos, lag, mel_distance, silence_share


def tone(seconds: float = 1.0) -> Pcm:
    return np.asarray(0.2 * np.sin(2 * np.pi * 220 * np.arange(round(seconds * RATE)) / RATE), np.float32)


def test_every_click_is_counted_once() -> None:
    sound = tone()
    assert clicks(sound) == 0
    sound[[3000, 7000, 12000]] += 0.4
    sound[7003] -= 0.4  # one click may last some samples
    assert clicks(sound) == 3


def test_a_frame_left_out_is_a_click_and_pulses_of_a_voice_are_none() -> None:
    sound = tone()
    cut = np.concatenate([sound[: 4000 + 18], sound[4000 + 18 + 37 :]])  # from peak to trough
    assert clicks(cut) == 1
    voice = np.zeros(RATE, np.float32)
    voice[::133] = 0.5
    assert clicks(voice[133:-133]) == 0


def test_speech_has_hardly_any_clicks(question: Pcm) -> None:
    assert clicks(question) <= 1


def test_silence_inside_counts_and_around_does_not() -> None:
    nothing = np.zeros(RATE, np.float32)
    assert silence_share(np.concatenate([nothing, tone(2.0), nothing])) < 0.02
    assert silence_share(np.concatenate([tone(1.5), nothing[: RATE // 2], tone(2.0)])) == pytest.approx(0.125, abs=0.01)
    assert silence_share(nothing) == 0


def test_cut_off_samples_are_found() -> None:
    assert clipped_share(tone()) == 0
    square = np.asarray(np.clip(50 * tone(), -1, 1) * (np.arange(RATE) < RATE // 2), np.float32)
    assert clipped_share(square) == pytest.approx((np.abs(square) == 1).mean(), abs=0.002)


def test_spectra_that_differ_by_a_gain_differ_by_so_many_decibels(question: Pcm) -> None:
    loud = np.random.default_rng(0).normal(0, 0.3, RATE).astype(np.float32)
    assert mel_distance(question, question) == 0
    assert mel_distance(loud, gain(loud, -6)) == pytest.approx(6, abs=0.1)
    with pytest.raises(AudioError, match="equal lengths"):
        mel_distance(question, question[:-160])


def test_a_shift_is_measured(question: Pcm) -> None:
    sound = np.pad(question, 800)
    assert lag(sound, sound) == 0
    assert lag(sound, np.roll(sound, 480)) == pytest.approx(0.03, abs=0.0005)
    assert lag(sound, np.roll(-sound, -160)) == pytest.approx(-0.01, abs=0.0005)


def test_noise_costs_a_listeners_opinion(question: Pcm) -> None:
    noise = np.random.default_rng(0).normal(0, 0.05, len(question)).astype(np.float32)
    clean, noisy = dnsmos(question), dnsmos(question + noise)
    assert 1 <= noisy.overall < clean.overall - 0.3 and clean.overall <= 5
    assert noisy.background < clean.background - 0.5
    with pytest.raises(AudioError, match="silence"):
        dnsmos(np.zeros(RATE, np.float32))
