"""A perturbed scene is another voice that says the same: formants move, silence stays silence, nothing else happens."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from duologue.audio.augment import reverb
from duologue.audio.features import MEAN, STD, LogMel
from duologue.audio.files import load
from duologue.train.perturb import Perturbation, in_noise, in_room, warp_matrix


def tone(hertz: float) -> np.ndarray:
    time = np.arange(16_000) / 16_000
    return LogMel()(torch.from_numpy((0.2 * np.sin(2 * np.pi * hertz * time)).astype(np.float32))[None])[0].numpy()


def test_a_factor_of_one_changes_nothing() -> None:
    np.testing.assert_allclose(warp_matrix(1.0, 80), np.eye(80), atol=1e-5)


@pytest.mark.parametrize("hertz", [500, 1000, 2500])
@pytest.mark.parametrize("factor", [0.85, 1.18])
def test_warping_moves_a_tone_to_where_a_tone_that_much_higher_lies(hertz: float, factor: float) -> None:
    warped = (tone(hertz) @ warp_matrix(factor, 80))[50].argmax()
    assert abs(int(warped) - int(tone(hertz * factor)[50].argmax())) <= 1


def test_every_draw_is_another_voice_and_the_same_seed_the_same() -> None:
    said = heard(speech(2.0))
    perturb = Perturbation(share=1.0, rooms=0, noises=0)
    first, again, other = (perturb(said, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert first.shape == said.shape and first.dtype == np.float32
    assert np.abs(first - other).mean() > 0.05
    # it is still the same speech: loud and soft come at the same times
    assert np.corrcoef(first.mean(1), said.mean(1))[0, 1] > 0.9


def test_silence_stays_as_silent_as_it_was() -> None:
    silence = LogMel()(torch.zeros(1, 16_000))[0].numpy()
    for seed in range(20):
        out = Perturbation(share=1.0)(silence, np.random.default_rng(seed))
        assert out.min() >= silence.min() - 1e-4  # there is nothing below the floor
        assert out.max() <= silence.max() + 1.0  # a microphone turned up hisses, no more


def speech(seconds: float = 3.0) -> np.ndarray:
    return load("examples/question.wav")[: round(16_000 * seconds)]


def heard(pcm: np.ndarray) -> np.ndarray:
    return LogMel()(torch.from_numpy(pcm[: len(pcm) // 160 * 160].astype(np.float32))[None])[0].numpy()


def decibels(features: np.ndarray) -> np.ndarray:
    return (features * STD + MEAN) * 10 / np.log(10)


@pytest.mark.parametrize("decay", [0.3, 0.6])
def test_a_room_dies_by_60_db_in_its_time(decay: float) -> None:
    burst = tone(300)
    burst[20:] = burst.min()
    band = int(burst[10].argmax())
    late = decibels(in_room(burst, decay, 0.0))[22:30, band]
    slope = -np.diff(late).mean() * 100  # decibels in a second
    assert slope == pytest.approx(60 / (decay * np.linspace(1, 0.5, 80)[band]), rel=0.02)


def test_a_room_put_on_features_sounds_as_one_put_on_sound() -> None:
    rng = np.random.default_rng(0)
    time = np.arange(8000) / 16_000
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / 0.45)  # a decay in the middle of what bands are given
    tail[:160] = 0
    tail /= np.sqrt(np.sum(tail**2))  # as loud as the direct sound
    tail[0] = 1
    dry, wet = heard(speech()), heard(reverb(speech(), tail.astype(np.float32)))
    made = in_room(dry, 0.6, 0.0)
    apart, changed = np.abs(decibels(made) - decibels(wet)).mean(), np.abs(decibels(dry) - decibels(wet)).mean()
    assert apart < 0.4 * changed


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 20.0])
def test_noise_lies_as_far_below_the_speech_as_it_was_asked_to(snr_db: float) -> None:
    dry = heard(speech())
    noisy = in_noise(dry, snr_db, np.random.default_rng(3))
    levels, added = (np.exp(x * STD + MEAN).sum(1) for x in (dry, noisy))
    quiet = levels < 1e-5 * levels.max()
    assert quiet.sum() > 10
    measured = 10 * np.log10(levels[levels > 1e-3 * levels.max()].mean() / added[quiet].mean())
    assert measured == pytest.approx(snr_db, abs=1.0)


def test_rooms_and_noise_leave_silence_alone() -> None:
    silence = heard(np.zeros(16_000))
    for changed in (in_room(silence, 0.5, 0.0), in_noise(silence, 0.0, np.random.default_rng(0))):
        np.testing.assert_allclose(changed, silence, atol=1e-4)


def test_a_share_of_none_leaves_scenes_as_rendered() -> None:
    features = tone(700)
    assert Perturbation(share=0.0)(features, np.random.default_rng(0)) is features
