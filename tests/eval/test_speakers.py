"""One speaker is more like himself than like another."""

from __future__ import annotations

import numpy as np
import pytest

from duologue.data.synthesize import speak
from duologue.data.voices import Voice, voices
from duologue.errors import AudioError
from duologue.eval.speakers import embed, similarity

TEXTS = ("what is the day after monday", "please say seven and three")


def test_speakers_are_told_apart() -> None:
    names = {voice.name for voice in voices("flite")}
    if not {"slt", "rms"} <= names:
        pytest.skip("needs flite's voices slt and rms")
    woman, man = ([speak(text, Voice(engine="flite", name=name)).pcm for text in TEXTS] for name in ("slt", "rms"))
    same, different = similarity(*woman), similarity(woman[0], man[0])
    assert same is not None and different is not None and same > different + 0.15
    assert np.linalg.norm(embed(man[1])) == pytest.approx(1, abs=1e-5)


def test_a_voice_needs_sound() -> None:
    with pytest.raises(AudioError, match="sound"):
        embed(np.zeros(16000, np.float32))
    assert similarity(np.zeros(16000, np.float32), np.ones(16000, np.float32)) is None
