"""G.711: known vectors, every code, and agreement with the standard library's implementation."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from duologue.audio.g711 import alaw_decode, alaw_encode, mulaw_decode, mulaw_encode

EVERY_SAMPLE = np.arange(-32768, 32768, dtype=np.int16)
EVERY_CODE = np.arange(256, dtype=np.uint8)


def test_known_vectors() -> None:
    np.testing.assert_array_equal(mulaw_encode(np.array([0, 1, -1, 0.5])), [0xFF, 0x80, 0x00, 0x8F])
    np.testing.assert_array_equal(mulaw_decode(np.array([0xFF, 0x80, 0x00], np.uint8)) * 32768, [0, 32124, -32124])
    np.testing.assert_array_equal(alaw_encode(np.array([0, 1, -1])), [0xD5, 0xAA, 0x2A])
    np.testing.assert_array_equal(alaw_decode(np.array([0xD5, 0xAA, 0x2A], np.uint8)) * 32768, [8, 32256, -32256])


@pytest.mark.parametrize(("encode", "decode"), [(mulaw_encode, mulaw_decode), (alaw_encode, alaw_decode)])
def test_a_decoded_code_encodes_to_itself_and_errors_stay_small(encode: type, decode: type) -> None:
    again = encode(decode(EVERY_CODE))
    np.testing.assert_array_equal(decode(again), decode(EVERY_CODE))  # mu-law has two codes for zero
    pcm = EVERY_SAMPLE / 32768
    error = np.abs(decode(encode(pcm)) - pcm)
    assert (error <= np.maximum(np.abs(pcm) / 30, 0.0005) + 0.0006).all()


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="audioop left the standard library in Python 3.13")
@pytest.mark.filterwarnings("ignore:'audioop' is deprecated")
def test_agrees_with_audioop_on_every_sample_and_code() -> None:
    import audioop

    raw, codes, pcm = EVERY_SAMPLE.tobytes(), EVERY_CODE.tobytes(), EVERY_SAMPLE / 32768
    assert mulaw_encode(pcm).tobytes() == audioop.lin2ulaw(raw, 2)
    assert alaw_encode(pcm).tobytes() == audioop.lin2alaw(raw, 2)
    assert (mulaw_decode(EVERY_CODE) * 32768).astype(np.int16).tobytes() == audioop.ulaw2lin(codes, 2)
    assert (alaw_decode(EVERY_CODE) * 32768).astype(np.int16).tobytes() == audioop.alaw2lin(codes, 2)


def test_louder_than_full_scale_is_clipped() -> None:
    np.testing.assert_array_equal(mulaw_encode(np.array([7.0, -7.0])), mulaw_encode(np.array([1.0, -1.0])))
