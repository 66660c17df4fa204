"""G.711, the telephone's code (ITU-T G.711, 1988): a sample in eight bits, by mu-law or A-law.

Both laws are piecewise linear approximations of a logarithm: three bits of segment, four of step, one of sign.
Encoding and decoding are table look-ups that agree bit for bit with the ITU's 16-bit reference.
"""

from __future__ import annotations

import numpy as np

_CODES = np.arange(256)
_LINEAR = np.arange(-32768, 32768)


def _mulaw_decoded() -> np.ndarray:
    code = ~_CODES & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84 << ((code & 0x70) >> 4)) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude)


def _mulaw_encoded() -> np.ndarray:
    sample = _LINEAR >> 2  # 14 bits
    biased = np.minimum(np.abs(sample) + 33, 8191)
    segment = np.log2(biased).astype(int) - 5
    code: np.ndarray = segment << 4 | (biased >> segment + 1) & 0x0F
    code ^= np.where(sample < 0, 0x7F, 0xFF)
    return code


def _alaw_decoded() -> np.ndarray:
    code = _CODES ^ 0x55
    segment, step = (code & 0x70) >> 4, (code & 0x0F) << 4
    magnitude = np.where(segment == 0, step + 0x08, step + 0x108 << np.maximum(segment - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude)


def _alaw_encoded() -> np.ndarray:
    sample = _LINEAR >> 3  # 13 bits
    magnitude = np.where(sample < 0, ~sample, sample)
    segment = np.log2(np.maximum(magnitude, 16)).astype(int) - 4
    code: np.ndarray = segment << 4 | (magnitude >> np.maximum(segment, 1)) & 0x0F
    code ^= np.where(sample < 0, 0x55, 0xD5)
    return code


_MULAW_DECODE = (_mulaw_decoded() / 32768).astype(np.float32)
_MULAW_ENCODE = _mulaw_encoded().astype(np.uint8)
_ALAW_DECODE = (_alaw_decoded() / 32768).astype(np.float32)
_ALAW_ENCODE = _alaw_encoded().astype(np.uint8)


def mulaw_encode(pcm: np.ndarray) -> np.ndarray:
    """Samples in [-1, 1], any shape, to mu-law codes (uint8); louder samples are clipped."""
    return np.asarray(_MULAW_ENCODE[_index(pcm)])


def mulaw_decode(codes: np.ndarray) -> np.ndarray:
    """Mu-law codes (uint8), any shape, to float32 samples in [-1, 1]."""
    return np.asarray(_MULAW_DECODE[codes])


def alaw_encode(pcm: np.ndarray) -> np.ndarray:
    """Samples in [-1, 1], any shape, to A-law codes (uint8); louder samples are clipped."""
    return np.asarray(_ALAW_ENCODE[_index(pcm)])


def alaw_decode(codes: np.ndarray) -> np.ndarray:
    """A-law codes (uint8), any shape, to float32 samples in [-1, 1]."""
    return np.asarray(_ALAW_DECODE[codes])


def _index(pcm: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(pcm * 32768.0), -32768, 32767).astype(np.int32) + 32768
