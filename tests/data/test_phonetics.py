"""Phone labels: each word's phones share its time, late by what must have been heard, and nothing is made up."""

from __future__ import annotations

import numpy as np

from duologue.data.dialogues import Scene, SceneTurn
from duologue.data.phonetics import LATE, PER_FRAME, SILENCE, inventory_of, phone_track
from duologue.lm.streams import ABSENT

SPELLING = {"two": ["t", "uw"], "tests": ["t", "eh", "s", "t", "s"]}
INVENTORY = inventory_of(SPELLING, SPELLING.__getitem__)


def scene(**changes: object) -> Scene:
    turn = {
        "kind": "plain",
        "known": True,
        "words": [("two", 0.4, 0.8), ("tests", 1.0, 1.6)],
        "user_start": 0.4,
        "user_end": 1.6,
        "decision": 22,
        "reply": "",
        "reply_start": 0.0,
        "reply_end": 0.0,
    } | changes
    silence = np.zeros(40 * 1280, np.float32)
    return Scene(silence, silence, [SceneTurn(**turn)])  # type: ignore[arg-type]


def names(track: np.ndarray) -> list[str]:
    """The labels in order, repetitions left out."""
    flat = [int(label) for label in track.ravel()]
    told = ["absent" if label == ABSENT else "." if label == SILENCE else INVENTORY[label - 1] for label in flat]
    return [label for place, label in enumerate(told) if place == 0 or told[place - 1] != label]


def test_the_phones_of_words_come_in_order_between_silences() -> None:
    assert INVENTORY == ("eh", "s", "t", "uw")
    track = phone_track(scene(), SPELLING.__getitem__, INVENTORY)
    assert track.shape == (40, PER_FRAME)
    assert names(track) == [".", "t", "uw", ".", "t", "eh", "s", "t", "s", "."]


def test_a_label_lags_behind_its_sound() -> None:
    track = phone_track(scene(words=[("two", 0.4, 0.8)]), SPELLING.__getitem__, INVENTORY).ravel()
    sounding = np.flatnonzero(track != SILENCE)
    heard_until = (sounding + 1) * 0.04
    assert heard_until[0] - LATE >= 0.4 - 1e-9
    assert heard_until[-1] - LATE < 0.8


def test_vowels_are_longer_than_consonants() -> None:
    track = phone_track(scene(words=[("two", 0.4, 1.4)]), SPELLING.__getitem__, INVENTORY).ravel()
    assert (track == INVENTORY.index("uw") + 1).sum() > 1.4 * (track == INVENTORY.index("t") + 1).sum()


def test_a_pause_inside_a_word_is_silent_and_unknown_speech_is_absent() -> None:
    paused = phone_track(scene(words=[("two", 0.4, 1.2)], pauses=[(0.6, 1.0)]), SPELLING.__getitem__, INVENTORY)
    assert names(paused) == [".", "t", ".", "uw", "."]
    assert names(phone_track(scene(known=False), SPELLING.__getitem__, INVENTORY)) == [".", "absent", "."]


def test_backchannels_are_not_labelled() -> None:
    track = phone_track(scene(backchannels=[("mm hm", 2.0, 2.4)]), SPELLING.__getitem__, INVENTORY)
    assert names(track)[-3:] == [".", "absent", "."]
