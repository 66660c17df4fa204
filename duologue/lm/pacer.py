"""The pacer: how long each phone lasts, from the phones around it."""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

SLOT = 0.01
"""Seconds of one slot: durations and the talker's input are on this grid."""


class PacerConfig(BaseModel):
    """Context of `before` and `after` phones, an MLP of width `dim`, durations up to `longest` slots."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    phones: int
    before: int = 3
    after: int = 4
    dim: int = 192
    longest: int = 40


class Pacer(nn.Module):
    """Durations in slots, as a classification, from windows of phones."""

    def __init__(self, config: PacerConfig) -> None:
        super().__init__()
        self.config = config
        span = config.before + 1 + config.after
        self.phones = nn.Embedding(config.phones + 1, 32)  # row 0: unknown, or outside of the reply
        self.layers = nn.Sequential(
            nn.Linear(span * 32, config.dim),
            nn.GELU(),
            nn.Linear(config.dim, config.dim),
            nn.GELU(),
            nn.Linear(config.dim, config.longest),
        )

    def forward(self, windows: Tensor) -> Tensor:
        """Windows (N, before + 1 + after) of phones, -1: unknown -> logits (N, longest); class k is k + 1 slots."""
        logits: Tensor = self.layers(self.phones(windows + 1).flatten(-2))
        return logits

    def window(self, phones: list[int], index: int) -> list[int]:
        """The window around phone `index`; -1 beyond the ends of what is known."""
        places = range(index - self.config.before, index + self.config.after + 1)
        return [phones[place] if 0 <= place < len(phones) else -1 for place in places]

    @torch.no_grad()
    def slots(self, window: list[int]) -> int:
        """The expected duration of the middle phone, at least one slot."""
        probabilities = self(torch.tensor([window], device=self.phones.weight.device)).softmax(-1)[0]
        lengths = torch.arange(1, self.config.longest + 1, device=probabilities.device, dtype=probabilities.dtype)
        return max(1, round(float(probabilities @ lengths)))
