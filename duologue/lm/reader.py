"""The reader: turns the words of the text stream, as they are decided, into the score that the talker plays.

Words wait in a queue of phones. Each frame the reader takes the next 80 ms off it, asking the pacer how long each phone
lasts at the moment it begins. When the words stall, the score holds a pause; when the last is out, a short tail.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from duologue.lm.pacer import SLOT, Pacer
from duologue.lm.score import AHEAD, SLOTS, sound
from duologue.lm.speller import END, LONGEST, PAUSE, Speller
from duologue.lm.streams import ABSENT
from duologue.lm.text import TextTokenizer
from duologue.nn.streaming import State

QUEUE = 512  # phones that may wait; a reply that is longer waits for room word by word
WORDS = 128  # words that may wait
LEAD = 1  # 10 ms slots of silence before the first phone, as in training
TAIL = 2  # frames after the last phone, in which its sound and the codec's delay run out


@dataclass
class ReaderState(State):
    """The queues of every row; indices are counted up for ever and used modulo the queue's length."""

    piece_ids: Tensor  # (B, LONGEST) pieces of the word that is not whole yet, plus 1
    word_ids: Tensor  # (B, WORDS, LONGEST) pieces of the words in the queue, plus 1
    words: Tensor  # (B,) words put in so far
    phones: Tensor  # (B, QUEUE)
    word_of: Tensor  # (B, QUEUE) which word the phone belongs to, plus 1; 0 for silence
    written: Tensor  # (B,) phones put in so far
    read: Tensor  # (B,) phones that have begun
    remaining: Tensor  # (B,) slots that the current phone still lasts
    duration: Tensor  # (B,) slots that it lasts in all
    word_began: Tensor  # (B,) slot, counted from the reply's start, in which the current word began
    played: Tensor  # (B,) slots since the reply's start
    ended: Tensor  # (B,) 1 once the reply's last word has come
    tail: Tensor  # (B,) frames played after it


@dataclass(frozen=True)
class Read:
    """One frame of the score: sounds (8,), phones ahead (4,), and the words whose sound ended in it.

    `words` holds (word, start, end), in seconds from this frame's beginning; the start may lie before it.
    """

    sounds: list[int]
    ahead: list[int]
    words: list[tuple[str, float, float]]


class Reader:
    """Writes the score for the rows of a batch, one row at a time."""

    def __init__(self, tokenizer: TextTokenizer, speller: Speller, pacer: Pacer) -> None:
        self.tokenizer = tokenizer
        self.pacer = pacer
        self.speller = speller
        self.end = speller.config.phones.index(END)
        self.pause = speller.config.phones.index(PAUSE)
        self._spelled: dict[str, list[int]] = {}  # how a word is said never changes, so it is worked out once

    def init_state(self, batch: int) -> ReaderState:
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(batch, *shape, dtype=torch.int64)

        return ReaderState(
            zeros(LONGEST), zeros(WORDS, LONGEST), zeros(), zeros(QUEUE), zeros(QUEUE), *(zeros() for _ in range(8))
        )

    def busy(self, state: ReaderState, row: int) -> bool:
        """Whether a reply has begun and its tail has not run out."""
        begun = bool(state.written[row] > 0)
        return begun and int(state.tail[row]) < TAIL

    def put(self, piece: int, state: ReaderState, row: int) -> str | None:
        """Take one piece of the reply; the word that it completes, if it does."""
        pending = [int(token) - 1 for token in state.piece_ids[row] if token > 0] + [piece]
        if not self.tokenizer.closes_word(piece) and len(pending) < LONGEST:
            state.piece_ids[row, len(pending) - 1] = piece + 1
            return None
        state.piece_ids[row] = 0
        word = self.tokenizer.decode(pending)
        number = int(state.words[row])
        state.word_ids[row, number % WORDS] = 0
        state.word_ids[row, number % WORDS, : len(pending)] = torch.tensor(pending) + 1
        state.words[row] += 1
        if number == 0:
            self._queue(self.pause, 0, state, row)
        for phone in self.spell(word):
            self._queue(phone, number + 1, state, row)
        return word

    def finish(self, state: ReaderState, row: int) -> None:
        """The reply's last word has come."""
        state.ended[row] = 1

    def spell(self, word: str) -> list[int]:
        if word not in self._spelled:
            self._spelled[word] = self.speller.spell(word)
        return self._spelled[word]

    def _queue(self, phone: int, word: int, state: ReaderState, row: int) -> None:
        written = int(state.written[row])
        if written - int(state.read[row]) >= QUEUE:
            return  # more than a minute of speech waits already; what does not fit is not said
        state.phones[row, written % QUEUE] = phone
        state.word_of[row, written % QUEUE] = word
        state.written[row] = written + 1

    def read(self, state: ReaderState, row: int, pace: float = 1.0) -> Read:
        """The next frame of a row that is busy; `pace` above 1 speaks faster."""
        written, read = int(state.written[row]), int(state.read[row])
        remaining, duration = int(state.remaining[row]), int(state.duration[row])
        played, began = int(state.played[row]), int(state.word_began[row])
        window_start = max(0, read - 1 - self.pacer.config.before)
        known = [int(state.phones[row, place % QUEUE]) for place in range(window_start, written)]
        word_of = [int(state.word_of[row, place % QUEUE]) for place in range(window_start, written)]
        if state.ended[row]:
            known.append(self.end)
            word_of.append(0)
        sounds: list[int] = []
        words: list[tuple[str, float, float]] = []
        for slot in range(SLOTS):
            while remaining == 0 and read < written:
                place = read - window_start
                window = self.pacer.window(known, place)
                duration = LEAD if read == 0 else max(1, round(self.pacer.slots(window) / pace))
                remaining = duration
                read += 1
                if word_of[place] and (place == 0 or word_of[place - 1] != word_of[place]):
                    began = played + slot
            if remaining == 0:
                sounds.append(sound(self.pause, 0, 1))
                continue
            place = read - 1 - window_start
            sounds.append(sound(known[place], duration - remaining, duration))
            remaining -= 1
            last_phone = read == written or word_of[place + 1] != word_of[place]
            if remaining == 0 and word_of[place] and last_phone:
                word = self._word(state, row, word_of[place] - 1)
                words.append((word, (began - played) * SLOT, (slot + 1) * SLOT))
        ahead = known[read - window_start :][:AHEAD]
        if state.ended[row] and read == written and remaining == 0:
            state.tail[row] += 1
        for name, value in (
            ("read", read),
            ("remaining", remaining),
            ("duration", duration),
            ("played", played + SLOTS),
            ("word_began", began),
        ):
            getattr(state, name)[row] = value
        return Read(sounds, ahead + [ABSENT] * (AHEAD - len(ahead)), words)

    def _word(self, state: ReaderState, row: int, number: int) -> str:
        return self.tokenizer.decode(int(token) - 1 for token in state.word_ids[row, number % WORDS] if token > 0)
