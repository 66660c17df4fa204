"""Losses of the codec: zero for equal signals, growing with the damage, gradients finite even in silence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from duologue.train.discriminators import Discriminators
from duologue.train.losses import (
    MelLoss,
    STFTLoss,
    feature_matching,
    hinge_discriminator,
    hinge_generator,
    lsgan_discriminator,
    lsgan_generator,
    mel_filters,
)

SPECTRAL = (MelLoss(), STFTLoss())


@pytest.fixture
def voice(question: np.ndarray) -> Tensor:
    return torch.from_numpy(question)[None, :16000]


@pytest.mark.parametrize("loss", SPECTRAL)
def test_grows_with_noise(loss: torch.nn.Module, voice: Tensor) -> None:
    noise = torch.randn_like(voice)
    values = [float(loss(voice + level * noise, voice)) for level in (0.0, 0.003, 0.03, 0.3)]
    assert values[0] == 0 and values == sorted(values)


@pytest.mark.parametrize("loss", SPECTRAL)
def test_gradient_is_finite_in_silence(loss: torch.nn.Module, voice: Tensor) -> None:
    silence = torch.zeros_like(voice, requires_grad=True)
    loss(silence, voice).backward()
    assert silence.grad is not None and torch.isfinite(silence.grad).all()


@pytest.mark.parametrize("loss", SPECTRAL)
def test_named_windows_average_to_the_whole(loss: MelLoss | STFTLoss, voice: Tensor) -> None:
    output = voice * 0.5
    parts = [loss(output, voice, (window,)) for window in loss.windows]
    torch.testing.assert_close(torch.stack(parts).mean(), loss(output, voice))


def test_mel_filters_rise_and_leave_no_hole() -> None:
    filters = mel_filters(40, 512, 16000)
    centres = filters.argmax(0)
    assert torch.all(centres.diff() >= 0) and torch.all(filters.sum(0) > 0.99)
    assert torch.all(filters[2:-1].sum(1) > 0)


def test_discriminators_learn_to_tell_and_the_generator_to_fool(voice: Tensor) -> None:
    torch.manual_seed(0)
    judge = Discriminators((256,), channels=4)
    optimizer = torch.optim.Adam(judge.parameters(), 3e-3)
    fake = 0.1 * torch.randn_like(voice)
    losses = []
    for _ in range(40):
        loss = hinge_discriminator(judge(voice)[0], judge(fake)[0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[0]
    (real, real_features), (made, made_features) = judge(voice), judge(fake)
    assert hinge_generator(made) > hinge_generator(real)
    assert feature_matching(real_features, real_features) == 0
    assert feature_matching(real_features, made_features) > 0.1


def test_least_squares_losses_know_their_goals() -> None:
    ones, zeros = [torch.ones(2, 3)], [torch.zeros(2, 3)]
    assert lsgan_discriminator(ones, zeros) == 0 and lsgan_discriminator(zeros, ones) == 2
    assert lsgan_generator(ones) == 0 and lsgan_generator(zeros) == 1
