"""The reader: turns the words of the text stream, as they are decided, into the score that the talker plays.

Words wait in a queue of phones. Each frame the reader takes the next 80 ms off it, asking the pacer how long each phone
lasts at the moment it begins. When the words stall, the score holds a pause; when the last is out, a short tail.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache

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
LASTS = 1 << 14  # windows of phones whose durations are kept
LEAD = 1  # 10 ms slots of silence before the first phone, as in training
TAIL = 2  # frames after the last phone, in which its sound and the codec's delay run out


@dataclass
class Place:
    """Where one row is in its reply; numbers that are counted up for ever, or small."""

    words: int  # put in so far
    written: int  # phones put in so far
    read: int  # phones that have begun
    remaining: int  # slots that the current phone still lasts
    duration: int  # slots that it lasts in all
    word_began: int  # slot, counted from the reply's start, in which the current word began
    played: int  # slots since the reply's start
    ended: int  # 1 once the reply's last word has come
    tail: int  # frames played after it

    @property
    def busy(self) -> bool:
        return self.written > 0 and self.tail < TAIL


@dataclass
class ReaderState(State):
    """The queues of every row; what is counted up for ever is used modulo a queue's length."""

    piece_ids: Tensor  # (B, LONGEST) pieces of the word that is not whole yet, plus 1
    word_ids: Tensor  # (B, WORDS, LONGEST) pieces of the words in the queue, plus 1
    phones: Tensor  # (B, QUEUE, 2) each with the word that it belongs to, plus 1; 0 for silence
    places: Tensor  # (B, 9) the numbers of `Place`; together, since it is the reading that costs


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
        # How a word is said and how long a phone lasts among others never change, so they are worked out once.
        self._spelled: dict[str, list[int]] = {}
        self._slots = lru_cache(LASTS)(lambda window: pacer.slots(list(window)))

    def init_state(self, batch: int) -> ReaderState:
        shapes = (LONGEST,), (WORDS, LONGEST), (QUEUE, 2), (len(fields(Place)),)
        return ReaderState(*(torch.zeros(batch, *shape, dtype=torch.int64) for shape in shapes))

    def busy(self, state: ReaderState, row: int) -> bool:
        """Whether a reply has begun and its tail has not run out."""
        return self._place(state, row).busy

    def waiting(self, state: ReaderState, row: int) -> int:
        """Phones in the queue that have not begun."""
        place = self._place(state, row)
        return place.written - place.read

    def put(self, piece: int, state: ReaderState, row: int) -> str | None:
        """Take one piece of the reply; the word that it completes, if it does."""
        pending = [*_pieces(state.piece_ids[row]), piece]
        if not self.tokenizer.closes_word(piece) and len(pending) < LONGEST:
            state.piece_ids[row, len(pending) - 1] = piece + 1
            return None
        state.piece_ids[row] = 0
        word = self.tokenizer.decode(pending)
        place = self._place(state, row)
        padded = [token + 1 for token in pending] + [0] * (LONGEST - len(pending))
        state.word_ids[row, place.words % WORDS] = torch.tensor(padded)
        phones = [(self.pause, 0)] if place.words == 0 else []
        place.words += 1
        phones += [(phone, place.words) for phone in self.spell(word)]
        # If more than a minute of speech waits already, what does not fit is not said.
        phones = phones[: QUEUE - (place.written - place.read)]
        if phones:
            state.phones[row, _modulo(place.written, len(phones))] = torch.tensor(phones)
        place.written += len(phones)
        self._keep(place, state, row)
        return word

    def finish(self, state: ReaderState, row: int) -> None:
        """The reply's last word has come."""
        place = self._place(state, row)
        place.ended = 1
        self._keep(place, state, row)

    def spell(self, word: str) -> list[int]:
        if word not in self._spelled:
            self._spelled[word] = self.speller.spell(word)
        return self._spelled[word]

    def read(self, state: ReaderState, row: int, pace: float = 1.0) -> Read:
        """The next frame of a row that is busy; `pace` above 1 speaks faster."""
        now = self._place(state, row)
        # Every phone lasts a slot or more, so no frame comes or sees further than this, however much waits.
        window_start = max(0, now.read - 1 - self.pacer.config.before)
        window_end = min(now.written, now.read + SLOTS + max(AHEAD, self.pacer.config.after))
        queued = state.phones[row, _modulo(window_start, window_end - window_start)].tolist()
        known, word_of = [phone for phone, _ in queued], [word for _, word in queued]
        if now.ended and window_end == now.written:
            known.append(self.end)
        sounds: list[int] = []
        words: list[tuple[str, float, float]] = []
        for slot in range(SLOTS):
            while now.remaining == 0 and now.read < now.written:
                at = now.read - window_start
                now.duration = LEAD if now.read == 0 else self._lasts(known, at, pace)
                now.remaining = now.duration
                now.read += 1
                if word_of[at] and (at == 0 or word_of[at - 1] != word_of[at]):
                    now.word_began = now.played + slot
            if now.remaining == 0:
                sounds.append(sound(self.pause, 0, 1))
                continue
            at = now.read - 1 - window_start
            sounds.append(sound(known[at], now.duration - now.remaining, now.duration))
            now.remaining -= 1
            last_phone = now.read == now.written or word_of[at + 1] != word_of[at]
            if now.remaining == 0 and word_of[at] and last_phone:
                word = self._word(state, row, word_of[at] - 1)
                words.append((word, (now.word_began - now.played) * SLOT, (slot + 1) * SLOT))
        ahead = known[now.read - window_start :][:AHEAD]
        if now.ended and now.read == now.written and now.remaining == 0:
            now.tail += 1
        now.played += SLOTS
        self._keep(now, state, row)
        return Read(sounds, ahead + [ABSENT] * (AHEAD - len(ahead)), words)

    def _lasts(self, known: list[int], at: int, pace: float) -> int:
        return max(1, round(self._slots(tuple(self.pacer.window(known, at))) / pace))

    @staticmethod
    def _place(state: ReaderState, row: int) -> Place:
        return Place(*state.places[row].tolist())

    @staticmethod
    def _keep(place: Place, state: ReaderState, row: int) -> None:
        state.places[row] = torch.tensor(list(vars(place).values()))

    def _word(self, state: ReaderState, row: int, number: int) -> str:
        return self.tokenizer.decode(_pieces(state.word_ids[row, number % WORDS]))


def _pieces(ids: Tensor) -> list[int]:
    """The pieces in a row of ids plus 1; 0 is none."""
    return [token - 1 for token in ids.tolist() if token > 0]


def _modulo(start: int, count: int) -> list[int]:
    """Where `count` phones from `start` on lie in the queue."""
    return [place % QUEUE for place in range(start, start + count)]
