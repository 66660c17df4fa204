"""Forced alignment finds words where a synthesiser, which knows, says that they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from duologue.data import flite
from duologue.data.align import align
from duologue.data.recordings import Recordings
from duologue.data.synthesize import Voice, speak


@pytest.mark.skipif("rms" not in flite.names(), reason="needs the program flite")
def test_words_are_found_where_they_are_said() -> None:
    text = "what is the capital of france and how much is forty two"
    spoken = speak(text, Voice(engine="flite", name="rms"))
    late = np.concatenate([np.zeros(8000, np.float32), spoken.pcm, np.zeros(8000, np.float32)])
    found = align(late, text)
    assert found is not None and [word for word, _, _ in found] == text.split()
    errors = [
        abs(got - 0.5 - true)
        for (_, *times), (_, *truth) in zip(found, spoken.words, strict=True)
        for got, true in zip(times, truth, strict=True)
    ]
    assert np.median(errors) < 0.05 and max(errors) < 0.2


def test_what_cannot_be_aligned_is_none() -> None:
    silence = np.zeros(16_000, np.float32)
    assert align(silence, "") is None
    assert align(silence, "xqzzy is no word") is None


def test_stretches_of_reading_come_with_the_times_of_their_words(speech: Path) -> None:
    drawn = Recordings(speech, "train").draw_sentences(np.random.default_rng(0), 6)
    assert len(drawn) >= 2
    for spoken, (begin, end) in drawn:
        seconds = len(spoken.pcm) / 16_000
        assert 3 <= len(spoken.words) <= 12 or seconds < 1.5
        assert 0 <= begin < end <= seconds + 0.02
        edges = [time for _, start, stop in spoken.words for time in (start, stop)]
        assert edges == sorted(edges)
        inside = np.square(spoken.pcm[round(begin * 16_000) : round(end * 16_000)]).mean()
        assert inside >= np.square(spoken.pcm).mean() * 0.9
