"""What `nn.fused` steps with: loops over int8 weights and float32 vectors, compiled by Numba.

The machine code is kept beside this file, or in the user's cache, so each machine compiles once; all of it is in one
file, since that is where Numba looks whether its copy is still good.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Weights = tuple[Any, ...]
"""Of every layer, stacked: norm, qkv, scales, out, scales, norm, gate_up, scales, down, scales; then the last norm.
Matrices are int8, all else is float32."""

F = TypeVar("F", bound=Callable[..., Any])
FLAGS = {"contract", "reassoc", "nsz", "arcp"}
"""Sums may be taken in any order, so that they are vectorised; what is not a number stays that."""


def compiled(function: F) -> F:
    """`function` as machine code, made at its first call."""
    try:
        return cast(F, numba.njit(function, cache=True, nogil=True, fastmath=FLAGS, error_model="numpy"))
    except RuntimeError:  # there is nowhere to keep it
        return cast(F, numba.njit(function, nogil=True, fastmath=FLAGS, error_model="numpy"))


@compiled
def multiply(x: Floats, weight: NDArray[np.int8], scale: Floats, y: Floats) -> None:
    """x (N, in) times an int8 matrix (out, in) whose rows have a `scale` (out,) -> y (N, out)."""
    row, rows = 0, len(x)
    while row + 4 <= rows:
        _four_rows(x[row : row + 4], weight, scale, y[row : row + 4])
        row += 4
    if row + 2 <= rows:
        _two_rows(x[row : row + 2], weight, scale, y[row : row + 2])
        row += 2
    if row < rows:
        _one_row(x[row], weight, scale, y[row])


@compiled
def _four_rows(x: Floats, weight: NDArray[np.int8], scale: Floats, y: Floats) -> None:
    """Eight sums at once: each weight is converted once for four of them, each input read once for two."""
    for out in range(0, len(weight), 2):
        after = min(out + 1, len(weight) - 1)  # of an odd number, the last stands alone
        a = b = c = d = e = f = g = h = np.float32(0)
        for i in range(x.shape[1]):
            one, two = np.float32(weight[out, i]), np.float32(weight[after, i])
            a += x[0, i] * one
            b += x[1, i] * one
            c += x[2, i] * one
            d += x[3, i] * one
            e += x[0, i] * two
            f += x[1, i] * two
            g += x[2, i] * two
            h += x[3, i] * two
        y[0, out], y[1, out], y[2, out], y[3, out] = a * scale[out], b * scale[out], c * scale[out], d * scale[out]
        y[0, after], y[1, after] = e * scale[after], f * scale[after]
        y[2, after], y[3, after] = g * scale[after], h * scale[after]


@compiled
def _two_rows(x: Floats, weight: NDArray[np.int8], scale: Floats, y: Floats) -> None:
    for out in range(0, len(weight), 2):
        after = min(out + 1, len(weight) - 1)
        a = b = c = d = np.float32(0)
        for i in range(x.shape[1]):
            one, two = np.float32(weight[out, i]), np.float32(weight[after, i])
            a += x[0, i] * one
            b += x[1, i] * one
            c += x[0, i] * two
            d += x[1, i] * two
        y[0, out], y[1, out] = a * scale[out], b * scale[out]
        y[0, after], y[1, after] = c * scale[after], d * scale[after]


@compiled
def _one_row(x: Floats, weight: NDArray[np.int8], scale: Floats, y: Floats) -> None:
    for out in range(len(weight)):
        total = np.float32(0)
        for i in range(len(x)):
            total += x[i] * np.float32(weight[out, i])
        y[out] = total * scale[out]


@compiled
def normalise(x: Floats, weight: Floats, epsilon: np.float32, y: Floats) -> None:
    """`RMSNorm` of x (N, dim) -> y."""
    for row in range(len(x)):
        total = np.float32(0)
        for i in range(x.shape[1]):
            total += x[row, i] * x[row, i]
        factor = np.float32(1) / np.sqrt(total / np.float32(x.shape[1]) + epsilon)
        for i in range(x.shape[1]):
            y[row, i] = x[row, i] * factor * weight[i]


@compiled
def turn(x: Floats, cos: Floats, sin: Floats) -> None:
    """`rotate` heads x (H, D) in place by cos and sin (H, D)."""
    half = x.shape[1] // 2
    for head in range(len(x)):
        for i in range(half):
            low, high = x[head, i], x[head, half + i]
            x[head, i] = low * cos[head, i] + high * sin[head, i]
            x[head, half + i] = high * cos[head, half + i] + low * sin[head, half + i]


@compiled
def keep(vectors: Floats, ring: NDArray[Any], scales: Floats, which: int, slot: int) -> None:
    """Put vectors (kv_heads, D) into a row's ring (kv_heads, window, D), as int8 with `scales[which]` or unchanged."""
    for head in range(len(vectors)):
        if scales.size == 0:
            for i in range(vectors.shape[1]):
                ring[head, slot, i] = vectors[head, i]
            continue
        largest = np.float32(1e-12)
        for i in range(vectors.shape[1]):
            largest = max(largest, abs(vectors[head, i]))
        scale = largest / np.float32(127)
        scales[which, head, slot] = scale
        for i in range(vectors.shape[1]):
            ring[head, slot, i] = np.rint(vectors[head, i] / scale)


@compiled
def exp_below_zero(x: np.float32) -> np.float32:
    """e^x of x <= 0 to 1e-5 of it, and e^-32 below -32: Taylor's polynomial of x / 64, squared six times.

    A library's exp is called number by number; this is vectorised.
    """
    z = max(x, np.float32(-32)) * np.float32(1 / 64)
    y = np.float32(1 / 5040)
    y = y * z + np.float32(1 / 720)
    y = y * z + np.float32(1 / 120)
    y = y * z + np.float32(1 / 24)
    y = y * z + np.float32(1 / 6)
    y = y * z + np.float32(0.5)
    y = y * z + np.float32(1)
    y = y * z + np.float32(1)
    y *= y
    y *= y
    y *= y
    y *= y
    y *= y
    return y * y


@compiled
def attend(query: Floats, keys: NDArray[Any], values: NDArray[Any], scales: Floats, filled: int, y: Floats) -> None:
    """One query of every head (H, D) over the first `filled` of keys and values (kv_heads, window, D) -> y (H, D).

    `scales` (2, kv_heads, window) are those of int8 keys and values.
    """
    heads, size = query.shape
    group = heads // len(keys)
    scores = np.empty(filled, np.float32)
    root = np.float32(size) ** np.float32(-0.5)
    for head in range(heads):
        kept = head // group
        most = np.float32(-np.inf)
        for at in range(filled):
            score = np.float32(0)
            for i in range(size):
                score += query[head, i] * np.float32(keys[kept, at, i])
            score *= root
            if scales.size:
                score *= scales[0, kept, at]
            scores[at] = score
            most = max(most, score)
        total = np.float32(0)
        y[head] = 0
        for at in range(filled):
            weight = np.exp(scores[at] - most)
            total += weight
            if scales.size:
                weight *= scales[1, kept, at]
            for i in range(size):
                y[head, i] += weight * np.float32(values[kept, at, i])
        for i in range(size):
            y[head, i] /= total


@compiled
def look(
    projected: Floats,
    heads: int,
    cos: Floats,
    sin: Floats,
    keys: NDArray[Any],
    values: NDArray[Any],
    scales: Floats,
    places: NDArray[np.int64],
    slots: NDArray[np.int64],
    filled: NDArray[np.int64],
    mixed: Floats,
) -> None:
    """A layer's attention from queries, keys and values, projected (N, heads + 2 kv_heads, D) -> mixed (N, heads, D).

    The rest is as in `layers`; `projected` is used up.
    """
    kv_heads = keys.shape[1]
    for row in range(len(projected)):
        heard = projected[row]
        turn(heard[: heads + kv_heads], cos[row], sin[row])
        key, value, scale = keys[places[row]], values[places[row]], scales[places[row]]
        keep(heard[heads : heads + kv_heads], key, scale, 0, slots[row])
        keep(heard[heads + kv_heads :], value, scale, 1, slots[row])
        attend(heard[:heads], key, value, scale, filled[row], mixed[row])


@compiled
def gate(opened: Floats, gated: Floats) -> None:
    """SiLU of the first half of opened (N, 2 hidden) times the second -> gated (N, hidden)."""
    hidden = gated.shape[1]
    for row in range(len(opened)):
        for i in range(hidden):
            x = opened[row, i]
            small = exp_below_zero(-abs(x))  # the sigmoid of |x| is 1 / (1 + it), that of -|x| is it / (1 + it)
            part = (np.float32(1) if x >= 0 else small) / (np.float32(1) + small)
            gated[row, i] = x * part * opened[row, hidden + i]


@compiled
def layers(
    x: Floats,
    weights: Weights,
    epsilon: np.float32,
    heads: int,
    cos: Floats,
    sin: Floats,
    keys: Sequence[NDArray[Any]] | Floats,
    values: Sequence[NDArray[Any]] | Floats,
    scales: Sequence[Floats] | Floats,
    places: NDArray[np.int64],
    slots: NDArray[np.int64],
    filled: NDArray[np.int64],
) -> Floats:
    """One position through all blocks and the last norm, x (N, dim) -> (N, dim); x is used up.

    Each layer has `keys` and `values` (rows, kv_heads, window, D), and `scales` as `AttentionState` has them. Row n of
    x is the row `places[n]` there, is kept at `slots[n]` of the window, and looks at the first `filled[n]`.
    """
    norm, qkv, qkv_scale, out, out_scale, ffn_norm, gate_up, gate_up_scale, down, down_scale, last = weights
    rows, kv_heads, size = len(x), keys[0].shape[1], keys[0].shape[3]
    normed = np.empty_like(x)
    branch = np.empty_like(x)
    projected = np.empty((rows, heads + 2 * kv_heads, size), np.float32)
    mixed = np.empty((rows, heads, size), np.float32)
    opened = np.empty((rows, gate_up.shape[1]), np.float32)
    gated = np.empty((rows, gate_up.shape[1] // 2), np.float32)
    for layer in range(len(norm)):
        normalise(x, norm[layer], epsilon, normed)
        multiply(normed, qkv[layer], qkv_scale[layer], projected.reshape(rows, -1))
        look(projected, heads, cos, sin, keys[layer], values[layer], scales[layer], places, slots, filled, mixed)
        multiply(mixed.reshape(rows, -1), out[layer], out_scale[layer], branch)
        x += branch
        normalise(x, ffn_norm[layer], epsilon, normed)
        multiply(normed, gate_up[layer], gate_up_scale[layer], opened)
        gate(opened, gated)
        multiply(gated, down[layer], down_scale[layer], branch)
        x += branch
    normalise(x, last, epsilon, normed)
    return normed


@compiled
def write(
    hidden: Floats,
    given: NDArray[np.int64],
    free: int,
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
    """hidden (N, width) -> tokens (N, books): those `given` (N, books), and what is chosen where they are `free`.

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
        if not np.any(given[:, book] == free):
            continue
        matrix, scale = outputs[output_of[book]]
        logits = np.empty((rows, len(matrix)), np.float32)
        multiply(y, matrix, scale, logits)
        for row in range(rows):
            if given[row, book] == free:
                tokens[row, book] = np.argmax(logits[row, skipped[book] :])
    return tokens


@compiled
def gelu(x: np.float32) -> np.float32:
    """x / 2 (1 + erf(x / sqrt 2)), with erf as the quotient of two polynomials that Eigen and XLA take, to 5e-7.

    A library's erf is called number by number; this is vectorised.
    """
    z = min(max(x * np.float32(0.70710678), np.float32(-4)), np.float32(4))
    s = z * z
    above = np.float32(-2.72614225801306e-10)
    above = above * s + np.float32(2.77068142495902e-08)
    above = above * s + np.float32(-2.10102402082508e-06)
    above = above * s + np.float32(-5.69250639462346e-05)
    above = above * s + np.float32(-7.34990630326855e-04)
    above = above * s + np.float32(-2.95459980854025e-03)
    above = above * s + np.float32(-1.60960333262415e-02)
    below = np.float32(-1.45660718464996e-05)
    below = below * s + np.float32(-2.13374055278905e-04)
    below = below * s + np.float32(-1.68282697438203e-03)
    below = below * s + np.float32(-7.37332916720468e-03)
    below = below * s + np.float32(-1.42647390514189e-02)
    return np.float32(0.5) * x * (np.float32(1) + z * above / below)


@compiled
def mix_frames(seen: Floats, taps: Floats, bias: Floats, norm: Floats, shift: Floats, epsilon: np.float32) -> Floats:
    """A depthwise convolution and a layer norm over seen (N, kernel - 1 + T, C) -> (N * T, C); taps (kernel, C)."""
    rows, channels, before = len(seen), seen.shape[2], len(taps) - 1
    length = seen.shape[1] - before
    mixed = np.empty((rows * length, channels), np.float32)
    for row in range(rows):
        for frame in range(length):
            sums = mixed[row * length + frame]
            for i in range(channels):
                sums[i] = bias[i]
            for tap in range(len(taps)):
                for i in range(channels):
                    sums[i] += seen[row, frame + tap, i] * taps[tap, i]
            mean = np.float32(0)
            for i in range(channels):
                mean += sums[i]
            mean /= np.float32(channels)
            variance = np.float32(0)
            for i in range(channels):
                variance += (sums[i] - mean) * (sums[i] - mean)
            factor = np.float32(1) / np.sqrt(variance / np.float32(channels) + epsilon)
            for i in range(channels):
                sums[i] = (sums[i] - mean) * factor * norm[i] + shift[i]
    return mixed


@compiled
def bend(x: Floats, bias: Floats) -> None:
    """`gelu` of x (N, C) plus a bias (C,), in place."""
    for row in range(len(x)):
        for i in range(x.shape[1]):
            x[row, i] = gelu(x[row, i] + bias[i])


@compiled
def add_branch(y: Floats, bias: Floats, gain: Floats, seen: Floats) -> Floats:
    """What a ConvNeXt block gives, (N, T, C): the last T frames of what was seen, plus its branch y (N * T, C)."""
    rows, channels = len(seen), seen.shape[2]
    length = len(y) // rows
    before = seen.shape[1] - length
    for row in range(rows):
        for frame in range(length):
            place = row * length + frame
            for i in range(channels):
                y[place, i] = seen[row, before + frame, i] + (y[place, i] + bias[i]) * gain[i]
    return y.reshape(rows, length, channels)


@compiled
def convnext(seen: Floats, depthwise: Weights, expand: Weights, contract: Weights, gain: Floats) -> Floats:
    """A ConvNeXt block over frames that are seen with those before them, (N, kernel - 1 + T, C) -> (N, T, C).

    `depthwise` is what `mix_frames` takes; `expand` and `contract` are matrix, scales and bias.
    """
    taps, bias, norm, shift, epsilon = depthwise
    mixed = mix_frames(seen, taps, bias, norm, shift, epsilon)
    opened = np.empty((len(mixed), len(expand[0])), np.float32)
    y = np.empty_like(mixed)
    multiply(mixed, expand[0], expand[1], opened)
    bend(opened, expand[2])
    multiply(opened, contract[0], contract[1], y)
    return add_branch(y, contract[2], gain, seen)
