"""Sample-rate conversion: no delay, the same in parts as in one."""

from __future__ import annotations

import numpy as np
import pytest

from duologue.audio.resample import StreamResampler, resample


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_a_tone_keeps_its_phase_and_level(rate: int) -> None:
    def tone(at: int) -> np.ndarray:
        return np.sin(2 * np.pi * 1000 * np.arange(at) / at).astype(np.float32)

    converted = resample(tone(rate), rate, 16000)
    assert converted.dtype == np.float32
    np.testing.assert_allclose(converted[500:-500], tone(16000)[500:-500], atol=1e-3)


@pytest.mark.parametrize(("source", "target"), [(48000, 16000), (44100, 16000), (16000, 24000), (16000, 16000)])
@pytest.mark.parametrize("channels", [1, 2])
def test_parts_joined_equal_the_whole(question: np.ndarray, source: int, target: int, channels: int) -> None:
    pcm = question if channels == 1 else np.stack((question, question[::-1]))
    stream, draw, parts, at = StreamResampler(source, target, channels), np.random.default_rng(0), [], 0
    while at < pcm.shape[-1]:
        part = pcm[..., at : at + int(draw.integers(1, 4000))]
        parts.append(stream.push(part))
        at += part.shape[-1]
    joined = np.concatenate([*parts, stream.flush()], axis=-1)
    whole = resample(pcm, source, target)
    assert joined.shape == whole.shape
    np.testing.assert_allclose(joined, whole, atol=1e-6)


def test_begins_another_signal_after_flush(question: np.ndarray) -> None:
    stream = StreamResampler(48000, 16000)
    first = np.concatenate((stream.push(question), stream.flush()))
    second = np.concatenate((stream.push(question), stream.flush()))
    np.testing.assert_array_equal(first, second)


def test_nothing_in_nothing_out() -> None:
    assert resample(np.zeros(0, np.float32), 48000, 16000).shape == (0,)
    assert StreamResampler(48000, 16000, 2).flush().shape == (2, 0)
