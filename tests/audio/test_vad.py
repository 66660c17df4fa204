"""Energy-based speech bounds: they follow the recording's level, keep pauses apart and drop clicks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from duologue.audio.files import load
from duologue.audio.vad import activity, frame_levels, speech_bounds


def silence(seconds: float) -> np.ndarray:
    return np.zeros(int(16000 * seconds), np.float32)


def tone(seconds: float, level: float = 0.3) -> np.ndarray:
    return (level * np.sin(2 * np.pi * 200 * np.arange(int(16000 * seconds)) / 16000)).astype(np.float32)


def test_bounds_of_a_sound_in_silence() -> None:
    for level in (0.9, 0.1, 0.01):
        pcm = np.concatenate((silence(0.5), tone(1.0, level), silence(0.25)))
        assert speech_bounds(pcm) == pytest.approx((0.5, 1.5), abs=0.011)


def test_a_pause_stays_and_a_closure_is_filled() -> None:
    paused = activity(np.concatenate((tone(0.5), silence(0.7), tone(0.5))))
    assert paused.tolist() == [True] * 50 + [False] * 70 + [True] * 50
    closed = activity(np.concatenate((tone(0.5), silence(0.08), tone(0.5))))
    assert closed.all()


def test_clicks_and_faint_sounds_are_no_speech() -> None:
    click = silence(1.0)
    click[8000:8100] = 0.9
    assert speech_bounds(click) is None
    faint = np.concatenate((tone(0.2, 0.004), silence(0.5), tone(1.0, 0.5)))
    assert speech_bounds(faint) == pytest.approx((0.7, 1.7), abs=0.011)
    weak_ending = np.concatenate((silence(0.5), tone(1.0, 0.5), tone(0.2, 0.01)))
    assert speech_bounds(weak_ending) == pytest.approx((0.5, 1.7), abs=0.011)


@pytest.mark.parametrize("samples", [0, 1, 159, 161, 16000])
def test_silence_of_any_length_has_none(samples: int) -> None:
    pcm = np.zeros(samples, np.float32)
    assert speech_bounds(pcm) is None
    assert len(activity(pcm)) == len(frame_levels(pcm)) == -(-samples // 160)


def test_a_short_word_in_a_long_noisy_recording() -> None:
    noise = np.random.default_rng(0).normal(0, 1e-3, 16000 * 20).astype(np.float32)
    noise[160000:164000] += tone(0.25, 0.2)
    assert speech_bounds(noise) == pytest.approx((10.0, 10.25), abs=0.021)


def test_bounds_move_with_the_speech_and_not_with_its_level(question: np.ndarray) -> None:
    bounds = speech_bounds(question)
    assert bounds is not None
    assert 0 <= bounds[0] < bounds[1] <= len(question) / 16000
    later = speech_bounds(np.concatenate((silence(0.5), question * 0.5, silence(0.5))))
    assert later is not None
    assert later == pytest.approx((bounds[0] + 0.5, bounds[1] + 0.5), abs=0.06)


def test_real_words_are_shorter_than_their_recordings(speech: Path) -> None:
    files = sorted((speech / "speech_commands_test_v002" / "five").glob("*.flac"))[:20]
    lengths = [bounds[1] - bounds[0] for bounds in map(speech_bounds, map(load, files)) if bounds]
    assert len(lengths) == len(files)
    assert 0.3 < float(np.median(lengths)) < 0.8
