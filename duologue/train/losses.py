"""Losses of the codec: spectra at several resolutions, adversaries, features of the adversaries.

Signals are (B, T) float32; every loss is a scalar, a mean over the batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def magnitude(pcm: Tensor, window: Tensor, hop: int) -> Tensor:
    """Magnitudes of the STFT of (B, T): (B, frames, len(window) / 2 + 1). No padding, frames inside the signal only.

    The gradient at zero is finite: the square root is taken of at least 1e-8.
    """
    spectrum: Tensor = torch.fft.rfft(pcm.unfold(-1, len(window), hop) * window)
    power: Tensor = spectrum.real.square() + spectrum.imag.square()
    return power.clamp_min(1e-8).sqrt()


def mel_filters(bands: int, window: int, rate: int) -> Tensor:
    """Triangular filters, equally wide in mel from 0 Hz to half the rate, each of sum 1: (window / 2 + 1, bands)."""
    mel = torch.linspace(0, 2595 * torch.log10(torch.tensor(1 + rate / 2 / 700)).item(), bands + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    # A filter is at least one bin of the FFT wide on either side, or the lowest ones would be empty.
    width = torch.maximum(edges.diff(), torch.tensor(rate / window))
    hertz = torch.linspace(0, rate / 2, window // 2 + 1)[:, None]
    rise = 1 - (edges[1:-1] - hertz) / width[:-1]
    fall = 1 - (hertz - edges[1:-1]) / width[1:]
    filters = torch.minimum(rise, fall).clamp_min(0)
    return filters / filters.sum(0)


class MelLoss(nn.Module):
    """L1 distance of log-mel spectra at several window lengths (hop a quarter of the window)."""

    FLOOR = 3e-3
    """Below this magnitude, about the rounding noise of 16 bits, differences are not heard."""

    def __init__(
        self,
        rate: int = 16000,
        windows: Sequence[int] = (256, 512, 1024, 2048),
        bands: Sequence[int] = (20, 40, 80, 120),
    ) -> None:
        super().__init__()
        self.windows = tuple(windows)
        for window, count in zip(windows, bands, strict=True):
            self.register_buffer(f"hann_{window}", torch.hann_window(window), persistent=False)
            self.register_buffer(f"mel_{window}", mel_filters(count, window, rate), persistent=False)

    def forward(self, output: Tensor, target: Tensor, windows: Sequence[int] = ()) -> Tensor:
        """The mean over `windows`, all of them where none is named: a random part of them each step is cheaper."""
        loss = output.new_zeros(())
        for window in windows or self.windows:
            hann, mel = getattr(self, f"hann_{window}"), getattr(self, f"mel_{window}")
            a, b = (torch.log(magnitude(x, hann, window // 4) @ mel + self.FLOOR) for x in (output, target))
            loss = loss + F.l1_loss(a, b)
        return loss / len(windows or self.windows)


class STFTLoss(nn.Module):
    """Spectral convergence and L1 of log magnitudes at several resolutions (Yamamoto et al., 2020)."""

    FLOOR = 3e-3

    def __init__(self, windows: Sequence[int] = (320, 800, 1600)) -> None:
        super().__init__()
        self.windows = tuple(windows)
        for window in windows:
            self.register_buffer(f"hann_{window}", torch.hann_window(window), persistent=False)

    def forward(self, output: Tensor, target: Tensor, windows: Sequence[int] = ()) -> Tensor:
        """The mean over `windows`, all of them where none is named."""
        loss = output.new_zeros(())
        for window in windows or self.windows:
            hann = getattr(self, f"hann_{window}")
            a, b = (magnitude(x, hann, window // 4) for x in (output, target))
            convergence = (b - a).norm(dim=(1, 2)) / b.norm(dim=(1, 2)).clamp_min(1.0)
            loss = loss + convergence.mean() + F.l1_loss((a + self.FLOOR).log(), (b + self.FLOOR).log())
        return loss / len(windows or self.windows)


def hinge_discriminator(real: Iterable[Tensor], fake: Iterable[Tensor]) -> Tensor:
    """Scores of real signals should be above 1, of made ones below -1 (Lim and Ye, 2017)."""
    losses = [F.relu(1 - r).mean() + F.relu(1 + f).mean() for r, f in zip(real, fake, strict=True)]
    return torch.stack(losses).mean()


def hinge_generator(fake: Iterable[Tensor]) -> Tensor:
    """What is made should score high."""
    return torch.stack([-f.mean() for f in fake]).mean()


def lsgan_discriminator(real: Iterable[Tensor], fake: Iterable[Tensor]) -> Tensor:
    """Scores of real signals should be 1, of made ones 0 (Mao et al., 2017)."""
    losses = [(r - 1).square().mean() + f.square().mean() for r, f in zip(real, fake, strict=True)]
    return torch.stack(losses).mean()


def lsgan_generator(fake: Iterable[Tensor]) -> Tensor:
    """What is made should score 1."""
    return torch.stack([(f - 1).square().mean() for f in fake]).mean()


def feature_matching(real: Iterable[Sequence[Tensor]], fake: Iterable[Sequence[Tensor]]) -> Tensor:
    """Mean L1 distance of the discriminators' features, each relative to the real one's mean size."""
    losses = [
        (f - r.detach()).abs().mean() / r.detach().abs().mean().clamp_min(1e-3)
        for real_one, fake_one in zip(real, fake, strict=True)
        for r, f in zip(real_one, fake_one, strict=True)
    ]
    return torch.stack(losses).mean()
