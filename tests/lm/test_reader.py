"""The reader writes, word by word, the very score that training reads off a finished utterance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from duologue.lm.pacer import Pacer, PacerConfig
from duologue.lm.reader import LEAD, QUEUE, TAIL, Reader
from duologue.lm.score import AHEAD, SLOTS, on_grid, score_of
from duologue.lm.speller import Speller, SpellerConfig
from duologue.lm.streams import ABSENT
from duologue.lm.text import TextTokenizer
from duologue.nn.transformer import TransformerConfig

PHONES = ("<end>", "pau", "a", "b", "c", "d")
TOKENIZER = TextTokenizer.train(["one two three four five"], ["one", "two", "three", "four", "five"], size=200)
SPELLING = {"one": [2, 3], "two": [4], "three": [5, 2, 3], "four": [3, 3], "five": [4, 5, 2, 2]}


class FixedPacer(Pacer):
    """Every phone lasts a frame and as many slots more as its number, so no word is over before the next has come."""

    def slots(self, window: list[int]) -> int:
        return SLOTS + window[self.config.before]


@pytest.fixture(scope="module")
def reader() -> Reader:
    speller = Speller(SpellerConfig(phones=PHONES, transformer=TransformerConfig(dim=16, layers=1, heads=2, window=32)))
    reader = Reader(TOKENIZER, speller, FixedPacer(PacerConfig(phones=len(PHONES), dim=8)))
    reader._spelled = dict(SPELLING)
    return reader


@settings(max_examples=25, deadline=None)
@given(words=st.lists(st.sampled_from(sorted(SPELLING)), min_size=1, max_size=8))
def test_reading_words_as_they_come_gives_the_score_of_training(reader: Reader, words: list[str]) -> None:
    state = reader.init_state(2)
    row = 1
    sounds, ahead, said = [], [], []
    frame = 0
    while frame == 0 or reader.busy(state, row):
        if frame < len(words):
            assert reader.put(TOKENIZER.encode(words[frame])[0], state, row) == words[frame]
        elif frame == len(words):
            reader.finish(state, row)
        read = reader.read(state, row)
        sounds.append(read.sounds)
        ahead.append(read.ahead)
        said += [(word, frame * SLOTS * 0.01 + start, frame * SLOTS * 0.01 + end) for word, start, end in read.words]
        frame += 1
    phones = [1] + [phone for word in words for phone in SPELLING[word]]
    durations = [LEAD] + [SLOTS + phone for phone in phones[1:]]
    arrivals = [0] + [index for index, word in enumerate(words) for _ in SPELLING[word]]
    expected_sounds, expected_ahead = score_of(phones, durations, arrivals, frame, end=0, pause=1)
    assert np.array_equal(np.array(sounds), expected_sounds)
    assert np.array_equal(np.array(ahead), expected_ahead)
    assert [word for word, _, _ in said] == words
    lengths = [sum(SLOTS + phone for phone in SPELLING[word]) for word in words]
    ends = np.cumsum(lengths) + LEAD
    assert np.allclose([end for _, _, end in said], ends * 0.01)
    assert np.allclose([start for _, start, _ in said], (ends - lengths) * 0.01)
    assert frame >= -(-int(ends[-1]) // SLOTS) + TAIL - 1


def test_words_that_stall_leave_a_pause_and_then_go_on(reader: Reader) -> None:
    state = reader.init_state(1)
    reader.put(TOKENIZER.encode("two")[0], state, 0)
    first = [reader.read(state, 0) for _ in range(4)]
    assert [word for read in first for word, _, _ in read.words] == ["two"]
    assert all(read.sounds == [PHONES.index("pau") * 4] * SLOTS for read in first[2:])
    assert reader.busy(state, 0)
    reader.put(TOKENIZER.encode("one")[0], state, 0)
    reader.finish(state, 0)
    assert any(word == "one" for _ in range(4) for word, _, _ in reader.read(state, 0).words)


def test_what_does_not_fit_in_the_queue_is_not_said_and_the_rest_plays_on(reader: Reader) -> None:
    state = reader.init_state(1)
    for _ in range(QUEUE):
        reader.put(TOKENIZER.encode("five")[0], state, 0)
    assert reader.waiting(state, 0) == QUEUE
    reader.finish(state, 0)
    sounds: list[int] = []
    while reader.busy(state, 0):
        sounds += reader.read(state, 0).sounds
    phones = [1, *(SPELLING["five"] * QUEUE)][:QUEUE]
    expected, _ = score_of(
        phones, [LEAD] + [SLOTS + phone for phone in phones[1:]], [0] * QUEUE, len(sounds) // SLOTS, end=0, pause=1
    )
    assert sounds == expected.flatten().tolist()


def test_a_faster_pace_is_shorter(reader: Reader) -> None:
    def frames(pace: float) -> int:
        state = reader.init_state(1)
        for word in ("one", "five", "three"):
            reader.put(TOKENIZER.encode(word)[0], state, 0)
        reader.finish(state, 0)
        count = 0
        while reader.busy(state, 0):
            reader.read(state, 0, pace)
            count += 1
        return count

    assert frames(2.0) < frames(1.0) < frames(0.7)


def test_a_row_moves_with_its_words(reader: Reader) -> None:
    state = reader.init_state(2)
    for word in ("three", "two"):
        reader.put(TOKENIZER.encode(word)[0], state, 0)
    reader.read(state, 0)
    state.restore(1, state.save(0))
    state.reset(torch.tensor([True, False]))
    assert not reader.busy(state, 0)
    assert [word for _ in range(5) for word, _, _ in reader.read(state, 1).words] == ["three", "two"]


def test_nothing_unknown_is_seen_coming() -> None:
    _, ahead = score_of([1, 2, 3], [2, 8, 8], [0, 0, 2], 4, end=0, pause=1)
    assert ahead[0].tolist() == [ABSENT] * AHEAD
    assert ahead[3].tolist()[0] in (0, ABSENT)


@given(ends=st.lists(st.floats(0.01, 0.3), min_size=1, max_size=30))
def test_rounding_to_the_grid_does_not_add_up(ends: list[float]) -> None:
    times = np.cumsum(ends)
    assert abs(sum(on_grid(times.tolist())) * 0.01 - times[-1]) <= 0.0051
