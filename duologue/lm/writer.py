"""The writing of a frame as one compiled function: the depth transformer, its heads and the choice of each token.

For layouts whose streams are all taken at their likeliest and not delayed, with int8 weights; see `nn.fused`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from duologue.lm.streams import FREE
from duologue.nn.fused import Floats, Weights, array, compiled, epsilon_of, layers, multiply, normalise, weights_of
from duologue.nn.int8 import Int8Linear, Int8TiedEmbedding

if TYPE_CHECKING:
    from duologue.lm.backbone import Backbone
    from duologue.lm.tables import StepTables


@compiled
def write(
    hidden: Floats,
    given: NDArray[np.int64],
    norm: Floats,
    to_depth: tuple[NDArray[np.int8], Floats],
    places: Floats,
    deep: Floats,
    deep_first: NDArray[np.int64],
    weights: Weights,
    epsilon: np.float32,
    heads: int,
    kept: tuple[int, int],
    cos: Floats,
    sin: Floats,
    outputs: tuple[tuple[NDArray[np.int8], Floats], ...],
    output_of: NDArray[np.int64],
    skipped: NDArray[np.int64],
) -> NDArray[np.int64]:
    """hidden (N, width) -> tokens (N, books): those `given` (N, books), and what is chosen where they are `FREE`.

    Book i begins as the context plus `places[i]`, plus what `deep` has of the token before; it is turned by cos[i] and
    sin[i] (H, D), and chosen among the rows of `outputs[output_of[i]]` but the first `skipped[i]`. `kept` is the number
    of key and value heads and their size.
    """
    rows, books = len(hidden), len(places)
    normed = np.empty_like(hidden)
    normalise(hidden, norm, epsilon, normed)
    context = np.empty((rows, places.shape[1]), np.float32)
    multiply(normed, to_depth[0], to_depth[1], context)
    keys = np.empty((len(weights[0]), rows, kept[0], books, kept[1]), np.float32)
    values = np.empty_like(keys)
    scales = np.empty((len(keys), rows, 2, kept[0], 0), np.float32)  # of none, for they are no int8
    every = np.arange(rows)
    tokens = np.empty((rows, books), np.int64)
    x = np.empty_like(context)
    turns_cos, turns_sin = np.empty((rows, *cos.shape[1:]), np.float32), np.empty((rows, *sin.shape[1:]), np.float32)
    for book in range(books):
        for row in range(rows):
            x[row] = context[row] + places[book]
            if book:
                x[row] += deep[deep_first[book - 1] + 1 + tokens[row, book - 1]]
            turns_cos[row], turns_sin[row] = cos[book], sin[book]
        slot, filled = np.full(rows, book), np.full(rows, book + 1)
        y = layers(x, weights, epsilon, heads, turns_cos, turns_sin, keys, values, scales, every, slot, filled)
        tokens[:, book] = given[:, book]
        if not np.any(given[:, book] == FREE):
            continue
        matrix, scale = outputs[output_of[book]]
        logits = np.empty((rows, len(matrix)), np.float32)
        multiply(y, matrix, scale, logits)
        for row in range(rows):
            if given[row, book] == FREE:
                tokens[row, book] = np.argmax(logits[row, skipped[book] :])
    return tokens


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
        return torch.from_numpy(write(array(hidden), given, *self._arguments))
