"""Choosing a token from logits, with randomness that belongs to the conversation and not to the process."""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor


class Sampling(BaseModel):
    """How one stream is sampled; temperature 0 takes the likeliest token."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(default=0.0, ge=0)
    top_k: int | None = Field(default=None, ge=1)


def draw(logits: Tensor, sampling: Sampling, seeds: Tensor) -> Tensor:
    """Tokens (B,) from logits (B, V). `seeds` (B,) int64 fix each row's draw, whatever else is in the batch."""
    if sampling.temperature == 0:
        return logits.argmax(-1)
    logits = logits.float() / sampling.temperature
    if sampling.top_k is not None and sampling.top_k < logits.shape[-1]:
        threshold = logits.topk(sampling.top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < threshold, -torch.inf)
    noise = torch.empty(logits.shape)
    for row, seed in enumerate(seeds.tolist()):
        noise[row].exponential_(generator=torch.Generator().manual_seed(seed))
    # The Gumbel trick, written as a race of exponentials: the argmax is a draw from the softmax.
    return (logits.softmax(-1) / noise.to(logits.device)).argmax(-1)
