"""The writing of a frame as one compiled function: the depth transformer, its heads and the choice of each token.

For layouts whose streams are all taken at their likeliest and not delayed, with int8 weights; see `nn.fused`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from duologue.lm.streams import FREE
from duologue.nn.fused import array, epsilon_of, weights_of
from duologue.nn.int8 import Int8Linear, Int8TiedEmbedding
from duologue.nn.kernels import write

if TYPE_CHECKING:
    from duologue.lm.backbone import Backbone
    from duologue.lm.tables import StepTables


class FusedWriter:
    """Writes frames for a `Backbone` whose weights stay as they are."""

    def __init__(self, books: int, arguments: tuple[Any, ...]) -> None:
        self._books, self._arguments = books, arguments

    @classmethod
    def of(cls, backbone: Backbone, tables: StepTables) -> FusedWriter | None:
        """None for a backbone that is not of the kind which this file is for."""
        depth, written = backbone.depth, backbone.layout.written
        heads: list[Any] = [backbone.head(stream, book) for stream, book in written]
        weights = weights_of(depth)
        fits = all(isinstance(head, Int8Linear | Int8TiedEmbedding) for head in heads)
        if weights is None or not fits or not isinstance(backbone.to_depth, Int8Linear):
            return None
        if any(stream.max_delay for stream, _ in written):
            return None
        config = depth.config
        kv_heads = config.kv_heads or config.heads
        turned = (len(written), config.heads + kv_heads, config.head_dim)
        outputs = list(dict.fromkeys(heads))
        return cls(
            len(written),
            (
                array(backbone.depth_norm.weight),
                (array(backbone.to_depth.weight), array(backbone.to_depth.scale)),
                array(tables.deep_places),
                array(tables.deep),
                np.array(tables.deep_first, np.int64),
                weights,
                epsilon_of(depth.norm),
                config.heads,
                (kv_heads, config.head_dim),
                array(depth.cos[: len(written), None].expand(turned)),
                array(depth.sin[: len(written), None].expand(turned)),
                tuple((array(head.weight), array(head.scale)) for head in outputs),
                np.array([outputs.index(head) for head in heads], np.int64),
                np.array([int(isinstance(head, Int8TiedEmbedding)) for head in heads], np.int64),
            ),
        )

    def write(self, hidden: Tensor, forced: Sequence[tuple[slice, Tensor]]) -> Tensor:
        """hidden (B, width) -> the likeliest tokens (B, books), but in the columns that are `forced`, (B, columns)."""
        given = np.full((len(hidden), self._books), FREE, np.int64)
        for columns, tokens in forced:
            given[:, columns] = tokens.numpy()
        return torch.from_numpy(write(array(hidden), given, FREE, *self._arguments))
