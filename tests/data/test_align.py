"""Forced alignment finds words and phones where a synthesiser, which knows, says that they are."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from duologue.data import flite
from duologue.data.align import align, align_phones, pronounce, spread_phones
from duologue.data.recordings import Recordings
from duologue.data.spoken import PAUSE, Phone
from duologue.data.synthesize import Voice, speak
from duologue.errors import DataError


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


@pytest.mark.skipif("rms" not in flite.names(), reason="needs the program flite")
@pytest.mark.parametrize(("find", "within"), [(align_phones, 0.1), (spread_phones, 0.35)])
def test_phones_lie_in_their_words(
    find: Callable[[NDArray[np.float32], str], list[Phone] | None], within: float
) -> None:
    text = "what is twelve plus, forty two"
    spoken = speak(text, Voice(engine="flite", name="rms"))
    words = [word for word, _, _ in spoken.words]
    found = find(spoken.pcm, " ".join(words))
    assert found is not None
    assert all(before.end <= after.start + 1e-6 for before, after in pairwise(found))
    for place, (word, start, _) in enumerate(spoken.words):
        own = [phone for phone in found if phone.word == place]
        assert [phone.name for phone in own] == pronounce(word)
        assert own[0].start == pytest.approx(start, abs=within)
    assert (PAUSE in [phone.name for phone in found]) == (find is align_phones)


def test_what_cannot_be_aligned_is_none() -> None:
    silence = np.zeros(16_000, np.float32)
    assert align_phones(silence, "") is None
    with pytest.raises(DataError, match="xqzzy"):
        spread_phones(silence, "is xqzzy a word")
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
