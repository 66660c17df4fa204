"""Signals whose pitch, level and pace are known measure just that."""

from __future__ import annotations

import numpy as np
import pytest

from duologue.audio.augment import gain
from duologue.audio.resample import resample
from duologue.errors import AudioError
from duologue.eval.metrics import RATE, Pcm
from duologue.eval.prosody import compare_f0, correlation, f0, prosody, syllables


def buzz(hertz: float | np.ndarray, seconds: float = 1.0, beat: float = 0.0) -> Pcm:
    """Twelve harmonics of a pitch (constant, or one value a sample), silent `beat` times a second."""
    time = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(hertz, time.shape)) / RATE
    tone = sum(np.sin(k * phase) / k for k in range(1, 13))
    return np.asarray(0.1 * tone * (np.sin(np.pi * beat * time) ** 2 if beat else 1.0), np.float32)


@pytest.mark.parametrize("hertz", [80.0, 200.0, 410.0])
def test_a_tone_has_its_pitch_in_every_frame(hertz: float) -> None:
    contour = f0(buzz(hertz))
    assert len(contour) == 100
    assert np.abs(contour[3:-3] / hertz - 1).max() < 0.002


def test_silence_and_noise_have_no_pitch() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    assert not f0(np.zeros(RATE, np.float32)).any()
    assert (f0(noise) > 0).mean() < 0.1
    assert f0(np.zeros(0, np.float32)).shape == (0,)


def test_pitch_is_found_when_it_is_there() -> None:
    late = np.concatenate([np.zeros(RATE // 2, np.float32), buzz(150, 0.5)])
    voiced = np.flatnonzero(f0(late))
    assert 48 <= voiced[0] <= 52 and voiced[-1] >= 97


def test_a_semitone_is_a_hundred_cents() -> None:
    match = compare_f0(buzz(150), buzz(150 * 2 ** (1 / 12)))
    assert match is not None
    assert match.rmse == pytest.approx(100, abs=2) and match.voicing_errors == 0


def test_a_melody_that_follows_correlates_and_its_mirror_does_not() -> None:
    melody = 0.2 * np.sin(2 * np.pi * 1.5 * np.arange(2 * RATE) / RATE)
    tune, higher, mirror = (buzz(150 * 2**move, 2.0) for move in (melody, melody + 0.5, -melody))
    follows, opposes = compare_f0(tune, higher), compare_f0(tune, mirror)
    assert follows is not None and opposes is not None
    assert follows.correlation > 0.99 and follows.rmse == pytest.approx(600, abs=5)
    assert opposes.correlation < -0.99


def test_what_cannot_be_compared_is_told() -> None:
    assert compare_f0(buzz(150), np.zeros(RATE, np.float32)) is None
    with pytest.raises(AudioError, match="one length"):
        compare_f0(buzz(150), buzz(150)[:-1])


def test_a_constant_follows_nothing() -> None:
    assert correlation(np.arange(5.0), np.full(5, 3.0)) == 0


def test_prosody_of_a_known_signal() -> None:
    melody = np.linspace(-0.5, 0.5, 3 * RATE)  # an octave in all
    found = prosody(buzz(200 * 2**melody, 3.0, beat=4))
    assert found is not None and found.f0 is not None and found.range is not None
    assert found.f0 == pytest.approx(200, rel=0.02)
    assert found.range == pytest.approx(0.9 * 12, abs=0.3)
    assert found.pace == pytest.approx(4, abs=0.15)
    assert found.voicing > 0.9


def test_level_follows_gain_and_pace_follows_speed() -> None:
    speech = buzz(200, 3.0, beat=4)
    plain, soft, fast = (prosody(x) for x in (speech, gain(speech, -12), resample(speech, 20000, RATE)))
    assert plain is not None and soft is not None and fast is not None
    assert plain.level - soft.level == pytest.approx(12, abs=0.1)
    assert fast.pace / plain.pace == pytest.approx(1.25, abs=0.05)
    assert prosody(np.zeros(RATE, np.float32)) is None


def test_a_whisper_has_syllables_and_no_pitch() -> None:
    time = np.arange(2 * RATE) / RATE
    hiss = np.random.default_rng(1).normal(0, 0.05, 2 * RATE) * np.sin(np.pi * 3 * time) ** 2
    found = prosody(hiss.astype(np.float32))
    assert found is not None and found.f0 is None and found.voicing < 0.1
    assert syllables(hiss.astype(np.float32)) == 6
