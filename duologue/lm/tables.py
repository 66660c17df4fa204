"""What a step looks up instead of working it out: embeddings of tokens, and what they are in the depth transformer.

A model that is trained no further has a few thousand tokens, and a step embeds some thirty: one look-up and a sum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


class StepTables:
    """Made by `Backbone.settle`.

    Args:
        rows: the embeddings of all tokens (R, width), table after table, each beginning with its absent token.
        first: of each stream, the row at which the table of each of its books begins, (books,) int64.
        places: of each stream, what all its books add for being those books, (width,).
        deep: `rows` as the depth transformer is given them, (R, depth width).
        deep_first: the row at which the table of each written book begins.
        deep_places: what is added to the context in each place of the depth transformer, (written books, depth width).
    """

    def __init__(
        self,
        rows: Tensor,
        first: Mapping[str, Tensor],
        places: Mapping[str, Tensor],
        deep: Tensor,
        deep_first: Sequence[int],
        deep_places: Tensor,
    ) -> None:
        self._rows, self._first, self._places = rows, first, places
        self.deep, self.deep_first, self.deep_places = deep, deep_first, deep_places
        self._together: dict[tuple[str, ...], tuple[Tensor, Tensor]] = {}

    def total(self, tokens: Mapping[str, Tensor]) -> Tensor:
        """The sum of the embeddings of some streams' tokens, (B, books) each -> (B, width)."""
        names = tuple(tokens)
        if names not in self._together:
            first = torch.cat([self._first[name] + 1 for name in names])
            self._together[names] = first, torch.stack([self._places[name] for name in names]).sum(0)
        first, place = self._together[names]
        return F.embedding(torch.cat(list(tokens.values()), 1) + first, self._rows).sum(1).add_(place)

    def deepened(self, index: int, token: Tensor) -> Tensor:
        """The tokens (B,) of the written book `index` as the depth transformer is given them, (B, depth width)."""
        return F.embedding(token + (self.deep_first[index] + 1), self.deep)
