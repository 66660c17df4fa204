"""What every codec can do: pcm to codes and back, whole or as a stream, and a card that says what it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from duologue.nn.streaming import State


class CodecCard(BaseModel):
    """What a codec is; `delay_samples` n means that sample t of the decoded signal is sample t - n of the original."""

    model_config = ConfigDict(frozen=True)

    name: str
    sample_rate: int
    frame_rate: float
    books: int
    cardinality: int
    bitrate: float
    delay_samples: int
    parameters: int
    licence: str = "Apache-2.0"
    trained_on: str = ""

    @property
    def hop(self) -> int:
        """Samples in one frame of codes."""
        return round(self.sample_rate / self.frame_rate)


class Codec(nn.Module, ABC):
    """Speech as codes (B, books, frames) int64 and back, (B, samples) float32 at the card's rate in [-1, 1].

    Encoder and decoder stream apart, each with its own state; the streams equal the offline passes.
    """

    card: CodecCard

    @abstractmethod
    def encode(self, pcm: Tensor) -> Tensor:
        """(B, T) -> codes (B, books, ceil(T / hop)); the last frame is filled up with silence."""

    @abstractmethod
    def decode(self, codes: Tensor) -> Tensor:
        """Codes (B, books, F) -> pcm (B, F * hop), `card.delay_samples` late."""

    @abstractmethod
    def init_encoder(self, batch: int, device: torch.device | None = None) -> Any:
        """The state of `batch` encoders that have heard nothing."""

    @abstractmethod
    def init_decoder(self, batch: int, device: torch.device | None = None) -> Any:
        """The state of `batch` decoders that have said nothing."""

    @abstractmethod
    def encode_step(self, pcm: Tensor, state: State, active: Tensor | None = None) -> Tensor:
        """The next F * hop samples (B, F * hop) -> their codes (B, books, F)."""

    @abstractmethod
    def decode_step(self, codes: Tensor, state: State, active: Tensor | None = None) -> Tensor:
        """The next codes (B, books, F) -> their pcm (B, F * hop)."""
