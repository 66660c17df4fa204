"""Sample-rate conversion: no delay, the same in parts as in one."""

from __future__ import annotations

import numpy as np
import pytest

from duologue.audio.resample import ZERO_CROSSINGS, LiveResampler, StreamResampler, resample


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


RATES = [(24000, 16000), (16000, 24000), (48000, 16000), (8000, 16000), (16000, 8000), (44100, 16000), (16000, 16000)]


@pytest.mark.parametrize(("source", "target"), RATES)
def test_live_sound_is_the_same_in_any_parts_and_lies_where_the_whole_does(
    question: np.ndarray, source: int, target: int
) -> None:
    pcm = resample(question, 16000, source)
    outputs = []
    for seed in range(3):
        stream, draw, parts, at = LiveResampler(source, target), np.random.default_rng(seed), [], 0
        while at < len(pcm):
            part = pcm[at : at + int(draw.integers(0, 1500))]
            parts.append(stream.push(part))
            at += len(part)
        outputs.append(np.concatenate([*parts, stream.flush()]))
    np.testing.assert_allclose(outputs[1], outputs[0], atol=1e-6)
    np.testing.assert_allclose(outputs[2], outputs[0], atol=1e-6)
    whole = resample(pcm, source, target)
    assert abs(len(outputs[0]) - len(whole)) <= 1
    length = min(len(whole), len(outputs[0]))
    error = outputs[0][:length] - whole[:length]
    assert np.square(error).sum() < 2e-3 * np.square(whole).sum(), "they differ at the edge of the band alone"


@pytest.mark.parametrize(("source", "target"), [pair for pair in RATES if pair[0] != pair[1]])
def test_live_sound_waits_for_four_milliseconds_at_most(source: int, target: int) -> None:
    stream, given, got = LiveResampler(source, target), 0, 0
    for _ in range(100):
        given += source // 50
        got += len(stream.push(np.ones(source // 50, np.float32)))
        assert given / source - got / target <= ZERO_CROSSINGS / min(source, target) + 2 / min(source, target)


@pytest.mark.parametrize(("source", "target"), RATES)
def test_prompt_live_sound_holds_nothing_back_and_is_a_little_late(
    question: np.ndarray, source: int, target: int
) -> None:
    pcm = resample(question, 16000, source)
    patient, prompt = LiveResampler(source, target), LiveResampler(source, target, prompt=True)
    step, parts, given, got = source // 50, [], 0, 0
    for at in range(0, len(pcm) - step, step):
        parts.append(prompt.push(pcm[at : at + step]))
        given, got = given + step, got + len(parts[-1])
        assert got >= given * target // source, "a part that came whole goes out whole"
    heard = np.concatenate(parts)
    wanted = np.concatenate((patient.push(pcm), patient.flush()))
    late = int(np.argmax(np.correlate(heard[:8000], wanted[:8000], "full"))) - 7999
    assert 0 <= late <= (0.011 if source == 44100 else 0.005) * target
    length = min(len(heard) - late, len(wanted))
    np.testing.assert_allclose(heard[late : late + length], wanted[:length], atol=1e-5)
    again = [prompt.flush(), *(prompt.push(pcm[at : at + step]) for at in range(0, len(pcm) - step, step))][1:]
    np.testing.assert_array_equal(np.concatenate(again), heard)


@pytest.mark.parametrize(("source", "target"), [(24000, 16000), (48000, 16000), (16000, 8000)])
def test_live_sound_above_the_band_is_kept_out(source: int, target: int) -> None:
    tone = np.sin(2 * np.pi * 0.55 * target * np.arange(source) / source).astype(np.float32)
    stream = LiveResampler(source, target)
    heard = np.concatenate((stream.push(tone), stream.flush()))[200:-200]
    assert 20 * np.log10(np.abs(heard).max()) < -70


def test_live_sound_begins_anew_after_flush(question: np.ndarray) -> None:
    stream = LiveResampler(48000, 16000)
    first = np.concatenate((stream.push(question), stream.flush()))
    second = np.concatenate((stream.push(question), stream.flush()))
    np.testing.assert_array_equal(first, second)
    for prompt in (False, True):
        assert len(LiveResampler(48000, 16000, prompt).flush()) == 0
