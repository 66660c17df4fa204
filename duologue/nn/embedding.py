"""Embeddings whose table is the output head as well, so that a token once seen can be said (Press and Wolf, 2017)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class TiedEmbedding(nn.Embedding):
    """Row 0 is the absent token, which is never predicted."""

    def logits(self, x: Tensor) -> Tensor:
        """x (..., dim) -> what it says of every token but the absent one, (..., rows - 1)."""
        return F.linear(x, self.weight[1:])
