"""The causal log-mel spectrogram that models hear: 80 bands every 10 ms, the same streamed as offline.

Hop n is a 25 ms Hann window that ends with sample (n + 1) * 160, so a feature never waits for audio after its hop: the
algorithmic delay is zero beyond the hop itself. Bands are spaced on Slaney's mel scale (linear below 1 kHz), which
keeps every band at least two FFT bins wide where HTK's scale at this FFT size does not; triangles have a peak of 1.
The normalisation is one fixed affine map, measured once on speech at everyday levels: statistics of the utterance
would need its future.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from duologue.nn.streaming import State, StreamingModule, hold

RATE = 16000
HOP = 160
WINDOW = 400
FFT = 512
BANDS = 80
CONTEXT = WINDOW - HOP
FLOOR = 1e-6  # about white noise at -83 dBFS: above 16-bit rounding, below any microphone
MEAN, STD = -6.0, 4.5  # of log band power over read speech and spoken commands, pauses included


def mel_filterbank(bands: int = BANDS, fft: int = FFT, rate: int = RATE) -> Tensor:
    """Triangles (fft // 2 + 1, bands) from 0 to rate / 2 on the mel scale of Slaney's Auditory Toolbox (1998)."""
    step = np.log(6.4) / 27  # above 1 kHz (mel 15), 27 mels span a factor of 6.4

    def hertz(mel: np.ndarray) -> np.ndarray:
        return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp(step * (mel - 15)))

    top = rate / 2
    top_mel = 15 + np.log(top / 1000) / step if top > 1000 else top * 3 / 200
    edges = hertz(np.linspace(0, top_mel, bands + 2))
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    bins = np.arange(fft // 2 + 1)[:, None] * rate / fft
    triangles = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre))
    return torch.from_numpy(np.maximum(triangles, 0).astype(np.float32))


@dataclass
class LogMelState(State):
    """The last 15 ms of audio, which the next window reaches back to."""

    tail: Tensor


class LogMel(StreamingModule[LogMelState]):
    """Audio (B, T) at 16 kHz, T a multiple of 160, to features (B, T / 160, 80), roughly zero mean and unit variance.

    Computed in float32 whatever the precision around it: squares of quiet speech do not fit in 16 bits.
    """

    window: Tensor
    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)
        self.register_buffer("filters", mel_filterbank(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """All of a signal (B, T) that silence goes before."""
        return self._features(F.pad(_whole_hops(x), (CONTEXT, 0)))

    def init_state(
        self, batch: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> LogMelState:
        """A state before the first sample; audio is kept in float32, so `dtype` is not used."""
        return LogMelState(torch.zeros(batch, CONTEXT, device=device))

    def step(self, x: Tensor, state: LogMelState, active: Tensor | None = None) -> Tensor:
        """The next part (B, T) of the signal, at least one hop."""
        signal = torch.cat((state.tail, _whole_hops(x)), dim=1)
        state.tail = hold(signal[:, -CONTEXT:].clone(), state.tail, active)
        return self._features(signal)

    def _features(self, signal: Tensor) -> Tensor:
        with torch.autocast(signal.device.type, enabled=False):
            frames = signal.unfold(1, WINDOW, HOP) * self.window.float()
            spectrum = torch.view_as_real(torch.fft.rfft(frames, FFT))
            power = spectrum.square().sum(-1) @ self.filters.float()
            return (power.clamp_min(FLOOR).log() - MEAN) / STD


def _whole_hops(x: Tensor) -> Tensor:
    if x.dim() != 2 or x.shape[1] % HOP or x.shape[1] == 0:
        raise ValueError(f"expected audio (B, T) with T a positive multiple of {HOP}, got {tuple(x.shape)}")
    return x.float()
