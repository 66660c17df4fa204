"""A causal spectral codec: STFT in, ConvNeXt blocks at frame rate, residual codes, inverse STFT out.

Working on spectra at 100 and 25 frames a second instead of on samples makes it many times cheaper than a
convolutional waveform codec (after Siuzdak, "Vocos", 2023, made causal and put on both sides of a quantiser).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from torch import Tensor
from torch.nn import functional as F

from duologue.atomic import write_text
from duologue.codec.base import Codec, CodecCard
from duologue.errors import ModelError
from duologue.nn.conv import CausalConv1d, CausalConvTranspose1d, Chain, ChainState, ChannelNorm, ConvNeXtBlock
from duologue.nn.quantize import CodebookKind, Quantized, ResidualVQ
from duologue.nn.streaming import State, StreamingModule, hold
from duologue.nn.weights import read_weights, write_weights


class SpectralConfig(BaseModel):
    """Sizes of a `SpectralCodec`. `window` and `hop` are those of the STFTs, in samples; a frame is `stride` hops."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "spectral"
    trained_on: str = ""
    sample_rate: int = 16000
    hop: int = 160
    window: int = 640
    stride: int = 4
    kernel: int = 5
    front_dim: int = 160
    front_hidden: int = 384
    front_blocks: int = 2
    encoder_dim: int = 256
    encoder_hidden: int = 768
    encoder_blocks: int = 5
    latent: int = 64
    books: int = 4
    cardinality: int = 1024
    codebook: CodebookKind = "ema"
    levels: tuple[int, ...] = ()
    """Of "fsq" codebooks; their product is the cardinality, for example 8 x 5 x 5 x 5 = 1000."""
    decoder_dim: int = 320
    decoder_hidden: int = 896
    decoder_blocks: int = 6
    back_dim: int = 192
    back_hidden: int = 448
    back_blocks: int = 2

    @model_validator(mode="after")
    def _check(self) -> SpectralConfig:
        if self.codebook == "fsq" and math.prod(self.levels) != self.cardinality:
            raise ValueError(f"levels {self.levels} have a product of {math.prod(self.levels)}, not {self.cardinality}")
        if self.codebook != "fsq" and self.levels:
            raise ValueError(f'levels belong to codebook "fsq", not to "{self.codebook}"')
        return self


@dataclass
class SignalState(State):
    """Samples (B, window - hop): those still to be analysed again, or those that are not complete yet."""

    samples: Tensor


class Spectrum(StreamingModule[SignalState]):
    """Log-magnitude STFT, (B, T) -> (B, window / 2 + 1, T / hop); the window of hop n ends at sample (n + 1) * hop."""

    hann: Tensor
    FLOOR = 1e-3
    """Magnitudes well below this, about the rounding noise of 16 bits, count as silence."""

    def __init__(self, window: int, hop: int) -> None:
        super().__init__()
        self.window, self.hop = window, hop
        self.register_buffer("hann", torch.hann_window(window), persistent=False)

    def forward(self, pcm: Tensor) -> Tensor:
        return self._analyse(F.pad(pcm, (self.window - self.hop, 0)))

    def init_state(
        self, batch: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> SignalState:
        return SignalState(torch.zeros(batch, self.window - self.hop, device=device, dtype=dtype))

    def step(self, x: Tensor, state: SignalState, active: Tensor | None = None) -> Tensor:
        seen = torch.cat([state.samples, x], -1)
        state.samples = hold(seen[:, self.hop - self.window :], state.samples, active)
        return self._analyse(seen)

    def _analyse(self, padded: Tensor) -> Tensor:
        frames = padded.unfold(-1, self.window, self.hop) * self.hann
        # Centred and scaled to about unit variance for speech.
        magnitude: Tensor = torch.fft.rfft(frames).abs()
        return ((magnitude + self.FLOOR).log() / 2 + 1).transpose(1, 2)


class InverseSpectrum(StreamingModule[SignalState]):
    """Log-magnitude and phase (B, window + 2, N) -> (B, N * hop), overlapped and added, `window - hop` samples late."""

    hann: Tensor
    LOUDEST = 6.0
    """Log-magnitudes are cut here: a full-scale sine reaches log(window / 4) = 5.1."""

    def __init__(self, window: int, hop: int) -> None:
        super().__init__()
        self.window, self.hop = window, hop
        hann = torch.hann_window(window)
        # Hann windows at a hop of a quarter or less overlap to a constant, so one division normalises the sum.
        self.register_buffer("hann", hann / hann.square()[::hop].sum(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self._synthesise(x)[:, : x.shape[-1] * self.hop]

    def init_state(
        self, batch: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> SignalState:
        return SignalState(torch.zeros(batch, self.window - self.hop, device=device, dtype=dtype))

    def step(self, x: Tensor, state: SignalState, active: Tensor | None = None) -> Tensor:
        y = self._synthesise(x)
        y[:, : self.window - self.hop] += state.samples
        ready = x.shape[-1] * self.hop
        state.samples = hold(y[:, ready:], state.samples, active)
        return y[:, :ready]

    def _synthesise(self, x: Tensor) -> Tensor:
        """All that these frames add to the signal: (B, (N - 1) * hop + window)."""
        magnitude, phase = x.float().transpose(1, 2).chunk(2, -1)
        spectrum = torch.polar(magnitude.clamp_max(self.LOUDEST).exp(), phase)
        frames = torch.fft.irfft(spectrum, self.window) * self.hann
        # Each frame is window / hop pieces of one hop; piece k of frame n falls on hop n + k.
        pieces = frames.unflatten(-1, (-1, self.hop))
        overlap = pieces.shape[2]
        hops = sum(F.pad(pieces[:, :, k], (0, 0, k, overlap - 1 - k)) for k in range(overlap))
        return cast(Tensor, hops).flatten(1)


class SpectralCodec(Codec):
    """The codec of the box model; see the module's docstring and `SpectralConfig`."""

    def __init__(self, config: SpectralConfig) -> None:
        super().__init__()
        self.config = c = config
        bins = c.window // 2 + 1
        self.encoder = Chain(
            Spectrum(c.window, c.hop),
            CausalConv1d(bins, c.front_dim, 1),
            *(ConvNeXtBlock(c.front_dim, c.front_hidden, c.kernel) for _ in range(c.front_blocks)),
            ChannelNorm(c.front_dim),
            CausalConv1d(c.front_dim, c.encoder_dim, 2 * c.stride, c.stride),
            *(ConvNeXtBlock(c.encoder_dim, c.encoder_hidden, c.kernel) for _ in range(c.encoder_blocks)),
            ChannelNorm(c.encoder_dim),
            CausalConv1d(c.encoder_dim, c.latent, 1),
        )
        self.quantizer = ResidualVQ(c.latent, c.cardinality, c.books, c.codebook, levels=c.levels)
        self.decoder = Chain(
            CausalConv1d(c.latent, c.decoder_dim, 3),
            *(ConvNeXtBlock(c.decoder_dim, c.decoder_hidden, c.kernel) for _ in range(c.decoder_blocks)),
            ChannelNorm(c.decoder_dim),
            CausalConvTranspose1d(c.decoder_dim, c.back_dim, c.stride, c.stride),
            *(ConvNeXtBlock(c.back_dim, c.back_hidden, c.kernel) for _ in range(c.back_blocks)),
            ChannelNorm(c.back_dim),
            CausalConv1d(c.back_dim, 2 * bins, 1),
            InverseSpectrum(c.window, c.hop),
        )
        self.frame = c.hop * c.stride
        frame_rate = c.sample_rate / self.frame
        self.card = CodecCard(
            name=c.name,
            sample_rate=c.sample_rate,
            frame_rate=frame_rate,
            books=c.books,
            cardinality=c.cardinality,
            bitrate=frame_rate * c.books * (c.cardinality - 1).bit_length(),
            delay_samples=c.window - c.hop,
            parameters=sum(p.numel() for p in self.parameters()),
            trained_on=c.trained_on,
        )

    def forward(self, pcm: Tensor) -> tuple[Tensor, Quantized]:
        """For training: pcm (B, T), T a multiple of the frame -> (resynthesis (B, T), what the quantiser did)."""
        quantized = self.quantize(pcm)
        return self.synthesise(quantized.latent), quantized

    def latents(self, pcm: Tensor) -> Tensor:
        """(B, T) -> what the quantiser sees, (B, F, latent) float32."""
        y: Tensor = self.encoder(pcm)
        return y.float().transpose(1, 2)

    def quantize(self, pcm: Tensor) -> Quantized:
        """(B, T) -> the quantised latents, codes and commitment loss."""
        latents = self.latents(pcm)
        # A distance in bfloat16 would choose wrong codes.
        with torch.autocast(pcm.device.type, enabled=False):
            return cast(Quantized, self.quantizer(latents))

    def synthesise(self, latent: Tensor) -> Tensor:
        """Latents (B, F, latent) -> (B, F * hop)."""
        y: Tensor = self.decoder(latent.transpose(1, 2))
        return y

    @torch.no_grad()
    def encode(self, pcm: Tensor) -> Tensor:
        padded = F.pad(pcm, (0, -pcm.shape[-1] % self.frame))
        return self.quantizer.encode(self.latents(padded))

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        return self.synthesise(self.quantizer.decode(codes))

    def init_encoder(self, batch: int, device: torch.device | None = None) -> ChainState:
        return self.encoder.init_state(batch, device)

    def init_decoder(self, batch: int, device: torch.device | None = None) -> ChainState:
        return self.decoder.init_state(batch, device)

    @torch.no_grad()
    def encode_step(self, pcm: Tensor, state: State, active: Tensor | None = None) -> Tensor:
        latent = self.encoder.step(pcm, cast(ChainState, state), active)
        return self.quantizer.encode(latent.transpose(1, 2))

    @torch.no_grad()
    def decode_step(self, codes: Tensor, state: State, active: Tensor | None = None) -> Tensor:
        latent = self.quantizer.decode(codes)
        return self.decoder.step(latent.transpose(1, 2), cast(ChainState, state), active)

    def save(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors into `folder`.

        Raises:
            DuologueError: it cannot be written.
        """
        folder = Path(folder)
        write_weights(folder / "model.safetensors", self.state_dict())
        write_text(folder / "config.json", self.config.model_dump_json(indent=2) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> SpectralCodec:
        """The codec that `save` wrote, in evaluation mode; weights of any float type become float32.

        Raises:
            ModelError: a file is missing, truncated or does not fit the other.
        """
        config_path, weights_path = Path(folder) / "config.json", Path(folder) / "model.safetensors"
        for path in (config_path, weights_path):
            if not path.is_file():
                raise ModelError(f"{path} is missing; a codec's folder holds config.json and model.safetensors")
        try:
            config = SpectralConfig.model_validate_json(config_path.read_bytes())
        except ValidationError as error:
            raise ModelError(f"{config_path} is not a codec's configuration: {error.errors()[0]['msg']}") from error
        codec = cls(config)
        read_weights(weights_path, codec)
        return codec.eval()
