"""One speaker is more like himself than like another, and calibration puts the threshold between."""

from __future__ import annotations

import numpy as np
import pytest

from duologue.data.synthesize import speak
from duologue.data.voices import Voice, voices
from duologue.errors import AudioError
from duologue.eval.speakers import embed, equal_error, similarity

TEXTS = ("what is the day after monday", "please say seven and three")


def test_speakers_are_told_apart() -> None:
    names = {voice.name for voice in voices("flite")}
    if not {"slt", "rms"} <= names:
        pytest.skip("needs flite's voices slt and rms")
    woman, man = ([speak(text, Voice(engine="flite", name=name)).pcm for text in TEXTS] for name in ("slt", "rms"))
    same, different = similarity(*woman), similarity(woman[0], man[0])
    assert same > different + 0.15
    assert np.linalg.norm(embed(man[1])) == pytest.approx(1, abs=1e-5)


def test_a_voice_needs_sound() -> None:
    with pytest.raises(AudioError, match="sound"):
        embed(np.zeros(16000, np.float32))


def test_the_threshold_lies_between() -> None:
    rate, threshold = equal_error(np.array([0.8, 0.9, 0.95]), np.array([0.3, 0.5, 0.6]))
    assert rate == 0 and 0.6 < threshold <= 0.8
    rate, _ = equal_error(np.array([0.2, 0.8]), np.array([0.5, 0.1]))
    assert rate == pytest.approx(0.5)
