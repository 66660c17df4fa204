"""What is marked on a conversation's time line: the user's turns, and where the system is heard."""

from __future__ import annotations

from collections.abc import Sequence

from duologue.eval.converse import Record
from duologue.eval.suites.base import Mark
from duologue.eval.turns import ipus


def turn_marks(record: Record, users: Sequence[str], replies: Sequence[str]) -> list[Mark]:
    """From the first to the last sound of each turn and of the reply to it, labelled with what is said in them."""
    marks = []
    for turn, (user, reply) in enumerate(zip(users, replies, strict=True)):
        start, end = record.sounds[turn]
        marks.append(Mark(channel="user", start=start, end=end, label=user))
        sound = record.reply_sound(turn)
        if sound is not None:
            marks.append(Mark(channel="system", start=sound[0], end=sound[1], label=reply))
    return marks


def speech_marks(record: Record) -> list[Mark]:
    """Every stretch of the system's speech."""
    spoken = ((record.start + start, record.start + end) for start, end in ipus(record.audio[1]))
    return [Mark(channel="system", start=start, end=end, label="speaks") for start, end in spoken]
