"""A perturbed scene is another voice that says the same: formants move, silence stays silence, nothing else happens."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from duologue.audio.features import LogMel
from duologue.audio.files import load
from duologue.train.perturb import Perturbation, warp_matrix


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
    speech = LogMel()(torch.from_numpy(load("examples/question.wav"))[None, : 16_000 * 2])[0].numpy()
    perturb = Perturbation(share=1.0)
    first, again, other = (perturb(speech, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert first.shape == speech.shape and first.dtype == np.float32
    assert np.abs(first - other).mean() > 0.05
    # it is still the same speech: loud and soft come at the same times
    assert np.corrcoef(first.mean(1), speech.mean(1))[0, 1] > 0.9


def test_silence_stays_as_silent_as_it_was() -> None:
    silence = LogMel()(torch.zeros(1, 16_000))[0].numpy()
    for seed in range(20):
        out = Perturbation(share=1.0)(silence, np.random.default_rng(seed))
        assert out.min() >= silence.min() - 1e-4  # there is nothing below the floor
        assert out.max() <= silence.max() + 1.0  # a microphone turned up hisses, no more


def test_a_share_of_none_leaves_scenes_as_rendered() -> None:
    features = tone(700)
    assert Perturbation(share=0.0)(features, np.random.default_rng(0)) is features
