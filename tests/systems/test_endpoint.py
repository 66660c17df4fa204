"""Where turns begin and end, on probabilities made by hand, and where text is cut into sentences."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import ValidationError

from duologue.systems.cascade.endpoint import Endpointer, Endpointing
from duologue.systems.cascade.system import sentences

HOP, RATE = 512, 16000  # 32 ms


def changes(probabilities: list[float], **settings: float) -> list[tuple[int, str]]:
    """The hops after which a turn began or was over, and which."""
    return [(hop, change) for hop, change in told(probabilities, **settings) if change != "silent"]


def told(probabilities: list[float], **settings: float) -> list[tuple[int, str]]:
    """The hops after which something changed, and what."""
    endpointer = Endpointer(Endpointing(**settings), HOP, RATE)
    found = [(hop, endpointer.hear(probability)) for hop, probability in enumerate(probabilities, 1)]
    return [(hop, change) for hop, change in found if change is not None]


def test_a_turn_begins_with_enough_speech_and_ends_with_enough_silence() -> None:
    # 100 ms of speech are reached with its fourth hop, 500 ms of silence with its sixteenth.
    assert changes([0.1] * 5 + [0.9] * 20 + [0.1] * 30) == [(9, "started"), (41, "stopped")]


def test_a_click_begins_no_turn() -> None:
    assert changes([0.1] * 5 + [0.9] * 3 + [0.1] * 40) == []


def test_clicks_far_apart_do_not_add_up() -> None:
    assert changes(([0.9] * 3 + [0.1] * 10) * 4) == []


def test_a_pause_inside_a_turn_is_waited_out() -> None:
    assert changes([0.9] * 10 + [0.1] * 15 + [0.9] * 5 + [0.1] * 16) == [(4, "started"), (46, "stopped")]


def test_speech_goes_on_at_a_probability_at_which_it_would_not_begin() -> None:
    assert changes([0.4] * 50) == []
    assert changes([0.9] * 4 + [0.4] * 50) == [(4, "started")]
    assert changes([0.9] * 4 + [0.3] * 16) == [(4, "started"), (20, "stopped")]


def test_each_silence_that_may_be_the_end_is_told_once() -> None:
    # 200 ms are reached with the seventh hop of silence.
    assert told([0.9] * 10 + [0.1] * 9 + [0.9] * 5 + [0.1] * 30) == [
        (4, "started"), (17, "silent"), (31, "silent"), (40, "stopped")
    ]  # fmt: skip
    assert told([0.9] * 10 + [0.1] * 40, draft=0.6) == [(4, "started"), (26, "stopped")]


def test_the_silence_can_be_set() -> None:
    assert changes([0.9] * 10 + [0.1] * 40, silence=1.0)[-1] == (42, "stopped")


def test_it_knows_how_long_the_speech_was() -> None:
    endpointer = Endpointer(Endpointing(), HOP, RATE)
    for probability in [0.1] * 7 + [0.9] * 10 + [0.1] * 3 + [0.9] * 2 + [0.1] * 5:
        endpointer.hear(probability)
    assert endpointer.last == 22 * HOP
    assert endpointer.speech == pytest.approx(15 * HOP / RATE)


def test_release_above_threshold_is_refused() -> None:
    with pytest.raises(ValidationError, match="release"):
        Endpointing(threshold=0.4, release=0.5)


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["it is four"], ["it is four"]),
        (["It is", " four. And", " five is ", "3.5 now! ", "Yes"], ["It is four.", "And five is 3.5 now!", "Yes"]),
        (["One.", " "], ["One."]),
        (["a line\n", "another"], ["a line", "another"]),
        (["", "  "], []),
    ],
)
def test_text_is_cut_into_sentences(pieces: list[str], expected: list[str]) -> None:
    assert list(sentences(pieces)) == expected


def test_a_sentence_is_given_before_the_next_is_written() -> None:
    written = []

    def write() -> Iterator[str]:
        for piece in ("One. ", "Two. ", "Three."):
            written.append(piece)
            yield piece

    assert next(sentences(write())) == "One."
    assert written == ["One. "]
