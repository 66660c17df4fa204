"""Discriminators that see complex spectra at several resolutions and tell real speech from made speech."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm


class SpectrumDiscriminator(nn.Module):
    """Scores patches of a signal's STFT: (B, T) -> scores (B, 1, frames, bands) and the features of every layer.

    It sees magnitude and phase as a complex spectrum whose magnitudes are compressed to the power 0.3, so that weak
    partials count. The hop is half the window. After Jang et al., "UnivNet" (2021), with strides that keep it cheap.
    """

    hann: Tensor

    def __init__(self, window: int, channels: int = 16) -> None:
        super().__init__()
        self.window = window
        self.register_buffer("hann", torch.hann_window(window), persistent=False)
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(cin, cout, kernel, stride, padding))
            for cin, cout, kernel, stride, padding in (
                (3, channels, (3, 8), (1, 4), (1, 2)),
                (channels, 2 * channels, (3, 8), (1, 4), (1, 2)),
                (2 * channels, 2 * channels, (3, 5), (1, 1), (1, 2)),
            )
        )
        self.score = weight_norm(nn.Conv2d(2 * channels, 1, (3, 3), padding=(1, 1)))

    def forward(self, pcm: Tensor) -> tuple[Tensor, list[Tensor]]:
        spectrum = torch.fft.rfft(pcm.unfold(-1, self.window, self.window // 2) * self.hann)
        real, imag = spectrum.real, spectrum.imag
        power = real.square() + imag.square() + 1e-5
        small = power.pow(-0.35)
        x = torch.stack([power.pow(0.15), real * small, imag * small], 1)
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
            features.append(x)
        return self.score(x), features


class Discriminators(nn.Module):
    """One `SpectrumDiscriminator` a resolution: pcm (B, T) -> a score each, and the features of each."""

    def __init__(self, windows: Sequence[int] = (256, 512, 1024), channels: int = 16) -> None:
        super().__init__()
        self.each = nn.ModuleList(SpectrumDiscriminator(window, channels) for window in windows)

    def forward(self, pcm: Tensor) -> tuple[list[Tensor], list[list[Tensor]]]:
        results = [one(pcm) for one in self.each]
        return [score for score, _ in results], [features for _, features in results]
