"""The conversations of one system as rows that are stepped together.

`NativeRows` takes one batched step of the model for all of them. `SingleRows` serves any other system through the same
interface, one conversation after the other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from duologue.lm.generate import ConversationState, StepOutput
from duologue.lm.model import FRAME, FRAME_RATE
from duologue.lm.text import CUT
from duologue.nn.streaming import State
from duologue.systems.base import Conversation, Pcm, Reply, System, SystemCard
from duologue.systems.native import Floor, NativeSystem

Saved = object
"""A conversation outside of the batch; only the rows that saved it can read it."""


@runtime_checkable
class Reads(Protocol):
    """A conversation that also takes text of the user, between two frames."""

    def read(self, text: str) -> None: ...


class Rows(ABC):
    """A fixed number of rows; each is free or holds one conversation. Used from one thread at a time."""

    card: SystemCard
    size: int

    @abstractmethod
    def open(self, row: int, seed: int) -> None:
        """Begin a conversation in a row, whatever was in it before."""

    @abstractmethod
    def close(self, row: int) -> None:
        """Free a row."""

    @abstractmethod
    def step(self, heard: Mapping[int, Pcm]) -> dict[int, Reply | Exception]:
        """One frame of the rows named; the others sleep. A row that failed gets its error and must be closed."""

    @abstractmethod
    def hush(self, row: int) -> bool:
        """Stop the reply that sounds, as if the user had spoken over it; False where the system can't be stopped."""

    @abstractmethod
    def read(self, row: int, text: str) -> bool:
        """Give the user's text to the conversation; False where it takes none."""

    @abstractmethod
    def save(self, row: int) -> Saved:
        """Take a conversation out of its row and free the row."""

    @abstractmethod
    def restore(self, row: int, saved: Saved) -> None:
        """Go on with a saved conversation in a row."""


def rows_of(system: System, size: int) -> Rows:
    """`size` rows of a system, batched where it can."""
    return NativeRows(system, size) if isinstance(system, NativeSystem) else SingleRows(system, size)


class SingleRows(Rows):
    """Conversations of any system, stepped one by one."""

    def __init__(self, system: System, size: int) -> None:
        self.card, self.size = system.card, size
        self._system = system
        self._conversations: dict[int, Conversation] = {}

    def open(self, row: int, seed: int) -> None:
        self.close(row)
        self._conversations[row] = self._system.open(seed)

    def close(self, row: int) -> None:
        if row in self._conversations:
            self._conversations.pop(row).close()

    def step(self, heard: Mapping[int, Pcm]) -> dict[int, Reply | Exception]:
        replies: dict[int, Reply | Exception] = {}
        for row, pcm in heard.items():
            try:
                replies[row] = self._conversations[row].step(pcm)
            except Exception as error:  # whatever a system does wrong, the other conversations go on
                replies[row] = error
        return replies

    def hush(self, row: int) -> bool:
        return False

    def read(self, row: int, text: str) -> bool:
        conversation = self._conversations[row]
        if not isinstance(conversation, Reads):
            return False
        conversation.read(text)
        return True

    def save(self, row: int) -> Saved:
        return self._conversations.pop(row)

    def restore(self, row: int, saved: Saved) -> None:
        assert isinstance(saved, Conversation)
        self.close(row)
        self._conversations[row] = saved


@dataclass(frozen=True)
class _SavedRow:
    tensors: dict[str, Tensor]
    floor: Floor
    heard: int


SIZES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128)
"""Rows that a state is made for: a step costs by the rows of its state, and making another state costs a copy."""
SPARSE = 0.5  # share of a state's rows up to which those that take part are copied out and back


class NativeRows(Rows):
    """One step of the model for all rows that take part.

    Conversations lie side by side at the front of a state that is little larger than they are many. A step leaves
    tensors in the state that only PyTorch's inference mode may change, so all of this runs in it.
    """

    def __init__(self, system: NativeSystem, size: int) -> None:
        self.card, self.size = system.card, size
        self._generator = system.generator
        self._state: ConversationState = self._new(1)
        self._places: list[int | None] = [None]  # the row whose conversation lies at each place of the state
        self._floors = [Floor() for _ in range(size)]
        self._heard = [0] * size  # frames
        written = [stream.name for stream, _ in system.generator.model.config.thinker_layout.written]
        self._text = written.index("text")

    def _new(self, places: int) -> ConversationState:
        return self._generator.init_state(places)

    def _only(self, place: int) -> Tensor:
        return torch.arange(len(self._places)) == place

    @torch.inference_mode()
    def _take(self, row: int) -> int:
        """A place for a row, with whatever was there before."""
        if row in self._places:
            return self._places.index(row)
        if None not in self._places:
            self._fit(len(self._places) + 1)
        place = self._places.index(None)
        self._places[place] = row
        return place

    def _fit(self, count: int) -> None:
        """Move the conversations to a state for `count`."""
        places = next((size for size in SIZES if size >= count), count)
        held = [place for place, row in enumerate(self._places) if row is not None]
        state = self._new(places)
        _copy(self._state, torch.tensor(held, dtype=torch.long), state, torch.arange(len(held)))
        self._state = state
        self._places = [self._places[place] for place in held] + [None] * (places - len(held))

    @torch.inference_mode()
    def open(self, row: int, seed: int) -> None:
        place = self._take(row)
        self._state.reset(self._only(place))
        self._state.thinker.seed[place] = self._state.talker.seed[place] = seed
        self._floors[row], self._heard[row] = Floor(), 0

    @torch.inference_mode()
    def close(self, row: int) -> None:
        """Nothing of it is left for whoever comes next: `open` and `restore` overwrite the whole place."""
        if row not in self._places:
            return
        self._places[self._places.index(row)] = None
        held = sum(row is not None for row in self._places)
        if held <= len(self._places) // 4:  # far fewer than there were, so that one who comes and goes moves nobody
            self._fit(max(1, held))

    @torch.inference_mode()
    def step(self, heard: Mapping[int, Pcm]) -> dict[int, Reply | Exception]:
        places = [self._places.index(row) for row in heard]
        frames = torch.stack([torch.from_numpy(frame) for frame in heard.values()])
        try:
            if len(places) > SPARSE * len(self._places):
                out, at = self._step_all(frames, places), places
            else:
                out, at = self._step_some(frames, torch.tensor(places)), list(range(len(places)))
        except Exception as error:  # a step that broke off leaves every row that took part between two frames
            return dict.fromkeys(heard, error)
        replies: dict[int, Reply | Exception] = {}
        for row, place in zip(heard, at, strict=True):
            self._heard[row] += 1
            events = self._floors[row].follow(out, place, self._heard[row] / FRAME_RATE)
            replies[row] = Reply(out.pcm[place].numpy().copy(), events)
        return replies

    def _step_all(self, frames: Tensor, places: list[int]) -> StepOutput:
        """A step of the whole state; places that take no part sleep."""
        pcm = torch.zeros(len(self._places), FRAME)
        active = torch.zeros(len(self._places), dtype=torch.bool)
        pcm[places], active[places] = frames, True
        return self._generator.step(pcm, self._state, active)

    def _step_some(self, frames: Tensor, places: Tensor) -> StepOutput:
        """A step of a few places, in a state of their own."""
        some, all_of_them = self._new(len(places)), torch.arange(len(places))
        _copy(self._state, places, some, all_of_them)
        out = self._generator.step(frames, some)
        _copy(some, all_of_them, self._state, places)
        return out

    @torch.inference_mode()
    def hush(self, row: int) -> bool:
        """The thinker is told that it wrote the token with which it stops by itself when it is spoken over."""
        state, place = self._state, self._places.index(row)
        state.reader.reset(self._only(place))
        state.speaking[place] = state.replying[place] = 0
        state.thinker.written[place, self._text, 0] = CUT + 1
        self._floors[row].replying = False
        return True

    def read(self, row: int, text: str) -> bool:
        return False

    @torch.inference_mode()
    def save(self, row: int) -> Saved:
        place = self._places.index(row)
        saved = _SavedRow(self._state.save(place), replace(self._floors[row]), self._heard[row])
        self.close(row)
        return saved

    @torch.inference_mode()
    def restore(self, row: int, saved: Saved) -> None:
        assert isinstance(saved, _SavedRow)
        place = self._take(row)
        self._state.restore(place, saved.tensors)
        self._floors[row], self._heard[row] = replace(saved.floor), saved.heard


def _copy(source: State, rows: Tensor, target: State, places: Tensor) -> None:
    """Rows (N,) of one state to places (N,) of another of the same module."""
    for (_, old), (_, new) in zip(source.tensors(), target.tensors(), strict=True):
        new[places] = old[rows]
