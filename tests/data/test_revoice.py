"""Other throats: pitch and formants move as asked, words stay where they were."""

from __future__ import annotations

import numpy as np
import pytest

from duologue.audio.vad import frame_levels
from duologue.data.espeak import speak
from duologue.data.revoice import Throat, revoice
from duologue.data.spoken import RATE, Spoken
from duologue.data.voices import Voice
from duologue.eval.prosody import f0

pytest.importorskip("parselmouth", reason="no Praat: install duologue[synth]")


@pytest.fixture(scope="module")
def said() -> Spoken:
    return speak("could you say a yellow melon again", Voice(engine="espeak", name="en-us"))


def median(pcm: np.ndarray) -> float:
    """The pitch in Hz."""
    contour = f0(pcm)
    return float(np.median(contour[contour > 0]))


def centroid(pcm: np.ndarray) -> float:
    """The middle of the spectrum in Hz."""
    power = np.abs(np.fft.rfft(pcm)) ** 2
    return float((power * np.fft.rfftfreq(len(pcm), 1 / RATE)).sum() / power.sum())


def test_pitch_and_formants_move_and_words_stay(said: Spoken) -> None:
    before = median(said.pcm)
    for factor in (0.85, 1.3, 1.8):
        other = revoice(said, Throat(factor, 1.0, 1.0))
        assert median(other.pcm) == pytest.approx(before * factor, rel=0.06)
        assert len(other.pcm) == len(said.pcm) and other.words == said.words
        levels = [frame_levels(pcm) for pcm in (said.pcm, other.pcm)]
        assert np.corrcoef(levels)[0, 1] > 0.85, "the sounds are where they were"
    assert centroid(revoice(said, Throat(1.0, 1.2, 1.0)).pcm) > 1.08 * centroid(said.pcm)


def test_the_same_throat_says_the_same(said: Spoken) -> None:
    throat = Throat.draw(np.random.default_rng(3))
    assert throat == Throat.draw(np.random.default_rng(3))
    np.testing.assert_array_equal(revoice(said, throat).pcm, revoice(said, throat).pcm)


def test_what_has_no_pitch_is_left_as_it_is() -> None:
    noise = Spoken(np.random.default_rng(0).standard_normal(RATE).astype(np.float32) * 0.1, [], [])
    throat = Throat(1.5, 1.1, 1.0)
    silence, click = Spoken(np.zeros(RATE, np.float32), [], []), Spoken(noise.pcm[:500], [], [])
    for sound in (silence, click):
        assert revoice(sound, throat) is sound
    assert len(revoice(noise, throat).pcm) == RATE


def test_a_voice_that_breaks_does_not_stall_it() -> None:
    time = np.arange(RATE // 2) / RATE
    high, low = (np.sign(np.sin(2 * np.pi * pitch * time)).astype(np.float32) * 0.1 for pitch in (313.0, 71.0))
    broken = Spoken(np.concatenate([high, low[:2000], high]), [], [])
    for seed in range(20):
        assert len(revoice(broken, Throat.draw(np.random.default_rng(seed))).pcm) == len(broken.pcm)
    with pytest.raises(ValueError, match=r"0 to 1, not by 1\.3"):
        Throat(0.75, 0.87, 1.3)
