"""Clips are held out, the same every time, and of many speakers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from duologue.data.splits import speaker_split, voice_split
from duologue.data.voices import voices
from duologue.errors import DataError
from duologue.eval.clips import ClipDrawer

needs_voices = pytest.mark.skipif(not voices("flite") or not voices("espeak"), reason="needs flite and espeakng-loader")


@needs_voices
def test_synthetic_clips_are_held_out_and_repeatable() -> None:
    drawer = ClipDrawer("dev")
    clips = [drawer.draw("synthetic", index) for index in range(3)]
    assert {voice_split(*clip.voice.split("/", 1)) for clip in clips} == {"dev"}
    assert len({(clip.voice, clip.text) for clip in clips}) == 3
    assert np.array_equal(ClipDrawer("dev").draw("synthetic", 1).pcm, clips[1].pcm)
    assert drawer.draw("assistant", 0).voice == "flite/slt"


def test_people_are_of_the_split(speech: Path) -> None:
    drawer = ClipDrawer("dev", speech)
    assert list(drawer.groups()) == ["assistant", "synthetic", "reading", "words"]
    readers = [drawer.draw("reading", index) for index in range(3)]
    assert {speaker_split(clip.voice) for clip in readers} == {"dev"} and len({clip.voice for clip in readers}) == 3
    word = drawer.draw("words", 0)
    assert speaker_split(word.voice) == "dev" and len(word.text.split()) == 1 and len(word.pcm)


def test_without_recordings_there_are_no_people() -> None:
    assert list(ClipDrawer("dev").groups()) == ["assistant", "synthetic"]
    with pytest.raises(DataError, match="folder of real recordings"):
        ClipDrawer("dev").draw("reading", 0)
