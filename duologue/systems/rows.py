"""The conversations of one system as rows that are stepped together.

`NativeRows` takes one batched step of the model for all of them. `SingleRows` serves any other system through the same
interface, one conversation after the other.
"""

from __future__ import annotations

import traceback
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from duologue.errors import DuologueError, ModelError
from duologue.lm.generate import ConversationState
from duologue.lm.model import FRAME_RATE
from duologue.lm.speak import spoken
from duologue.lm.text import CUT
from duologue.systems.base import Conversation, Pcm, Reply, System, SystemCard, Tool
from duologue.systems.native import Floor, NativeSystem

Saved = object
"""A conversation outside of the batch; only the rows that saved it can read it."""


@runtime_checkable
class Reads(Protocol):
    """A conversation that also takes text of the user, between two frames."""

    def read(self, text: str) -> None: ...


@runtime_checkable
class Paces(Protocol):
    """A conversation whose system speaks as fast as it is asked to."""

    def pace(self, pace: float) -> None: ...


@runtime_checkable
class Calls(Protocol):
    """A conversation that can call functions of its client, told by `FunctionCall`; between two frames as well."""

    def offer(self, tools: Sequence[Tool]) -> None:
        """These functions may be called from now on, and no others."""
        ...

    def give(self, results: Mapping[str, str]) -> None:
        """What calls came to, by their ids."""
        ...

    def go_on(self) -> None:
        """Reply to what was given."""
        ...


class Rows(ABC):
    """A fixed number of rows; each is free or holds one conversation. Used from one thread at a time."""

    card: SystemCard
    size: int

    @property
    def alive(self) -> bool:
        """Whether what holds the conversations is still there."""
        return True

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
    def reads(self, row: int) -> bool:
        """Whether the conversation takes text."""

    @abstractmethod
    def read(self, row: int, text: str) -> bool:
        """Give the user's text to the conversation; False where it takes none.

        Raises:
            TextError: it is too long; none of it is read.
        """

    @abstractmethod
    def pace(self, row: int, pace: float) -> bool:
        """Let replies be spoken `pace` times as fast; False where the system speaks as it does."""

    def offer(self, row: int, tools: Sequence[Tool]) -> bool:
        """Offer functions to the conversation; False where it calls none."""
        return False

    def give(self, row: int, results: Mapping[str, str]) -> bool:
        """Tell the conversation what calls came to, by their ids; False where it calls none."""
        return False

    def go_on(self, row: int) -> bool:
        """Let the conversation reply to what it was given; False where it calls nothing."""
        return False

    def say(self, text: str, pace: float) -> Iterator[Pcm] | None:
        """Text read aloud beside all rows, in pieces (T,) as they are made; None where the system reads nothing."""
        return None

    @abstractmethod
    def save(self, row: int) -> Saved:
        """Take a conversation out of its row and free the row."""

    def copy(self, row: int) -> Saved | None:
        """The conversation as it is now, for another row; it goes on in its own. None where there can't be two."""
        return None

    @abstractmethod
    def restore(self, row: int, saved: Saved) -> None:
        """Go on with a saved conversation in a row."""


def rows_of(system: System, size: int) -> Rows:
    """`size` rows of a system, batched where it can."""
    return NativeRows(system, size) if isinstance(system, NativeSystem) else SingleRows(system, size)


def _noted(error: Exception) -> Exception:
    """An error with its trace as a note, which goes with it where it leaves the process; another's by its words."""
    noted = error if isinstance(error, DuologueError) else ModelError(f"{type(error).__name__}: {error}")
    noted.add_note("".join(traceback.format_exception(error)).rstrip())
    return noted.with_traceback(None)


class _Ticket:
    """Stands for a conversation that is saved, for as long as somebody holds it."""

    def __init__(self, conversation: Conversation, dropped: deque[Conversation]) -> None:
        self.conversation = conversation
        self.end = weakref.finalize(self, dropped.append, conversation)


class SingleRows(Rows):
    """Conversations of any system, stepped one by one."""

    def __init__(self, system: System, size: int) -> None:
        self.card, self.size = system.card, size
        self._system = system
        self._conversations: dict[int, Conversation] = {}
        self._dropped: deque[Conversation] = deque()  # saved, and nobody holds them any more

    def open(self, row: int, seed: int) -> None:
        while self._dropped:  # what they hold others may need
            with suppress(Exception):  # whoever left is gone, and who comes is not to fail for it
                self._dropped.popleft().close()
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
                replies[row] = _noted(error)
        return replies

    def hush(self, row: int) -> bool:
        return False

    def reads(self, row: int) -> bool:
        return isinstance(self._conversations[row], Reads)

    def read(self, row: int, text: str) -> bool:
        conversation = self._conversations[row]
        if not isinstance(conversation, Reads):
            return False
        conversation.read(text)
        return True

    def pace(self, row: int, pace: float) -> bool:
        conversation = self._conversations[row]
        if not isinstance(conversation, Paces):
            return False
        conversation.pace(pace)
        return True

    def offer(self, row: int, tools: Sequence[Tool]) -> bool:
        conversation = self._conversations[row]
        if self.card.calls and isinstance(conversation, Calls):
            conversation.offer(tools)
            return True
        return False

    def give(self, row: int, results: Mapping[str, str]) -> bool:
        conversation = self._conversations[row]
        if self.card.calls and isinstance(conversation, Calls):
            conversation.give(results)
            return True
        return False

    def go_on(self, row: int) -> bool:
        conversation = self._conversations[row]
        if self.card.calls and isinstance(conversation, Calls):
            conversation.go_on()
            return True
        return False

    def save(self, row: int) -> Saved:
        return _Ticket(self._conversations.pop(row), self._dropped)

    def restore(self, row: int, saved: Saved) -> None:
        assert isinstance(saved, _Ticket)
        self.close(row)
        saved.end.detach()
        self._conversations[row] = saved.conversation


@dataclass(frozen=True)
class _SavedRow:
    tensors: dict[str, Tensor]
    floor: Floor
    heard: int


class NativeRows(Rows):
    """One step of the model for all rows that take part, at the cost of those.

    A step leaves tensors in the state that only PyTorch's inference mode may change, so all of this runs in it. Memory
    for a row is taken when it is first used.
    """

    def __init__(self, system: NativeSystem, size: int) -> None:
        self.card, self.size = system.card, size
        self._generator = system.generator
        self._state: ConversationState = self._generator.init_state(size)
        self._floors = [Floor() for _ in range(size)]
        self._heard = [0] * size  # frames
        written = [stream.name for stream, _ in system.generator.model.config.thinker_layout.written]
        self._text = written.index("text")

    def _only(self, row: int) -> Tensor:
        return torch.arange(self.size) == row

    @torch.inference_mode()
    def open(self, row: int, seed: int) -> None:
        self._state.reset(self._only(row))
        for part in (self._state.thinker, self._state.inner, self._state.talker):
            part.seed[row] = seed
        self._floors[row], self._heard[row] = Floor(), 0

    def close(self, row: int) -> None:
        """Nothing of it is left for whoever comes next: `open` and `restore` overwrite the whole row."""

    @torch.inference_mode()
    def step(self, heard: Mapping[int, Pcm]) -> dict[int, Reply | Exception]:
        pcm = torch.zeros(self.size, self.card.frame)
        active = torch.zeros(self.size, dtype=torch.bool)
        for row, frame in heard.items():
            pcm[row], active[row] = torch.from_numpy(frame), True
        try:
            out = self._generator.step(pcm, self._state, active)
        except Exception as error:  # a step that broke off leaves every row that took part between two frames
            return dict.fromkeys(heard, _noted(error))
        replies: dict[int, Reply | Exception] = {}
        for row in heard:
            self._heard[row] += 1
            events = self._floors[row].follow(out, row, self._heard[row] / FRAME_RATE)
            replies[row] = Reply(out.pcm[row].numpy().copy(), events)
        return replies

    @torch.inference_mode()
    def hush(self, row: int) -> bool:
        """The thinker is told that it wrote the token with which it stops by itself when it is spoken over."""
        state = self._state
        state.reader.reset(self._only(row))
        state.speaking[row] = state.replying[row] = 0
        for part in (state.thinker, state.inner):
            part.written[row, self._text, 0] = CUT + 1
        self._floors[row].replying = False
        return True

    def reads(self, row: int) -> bool:
        return True

    def read(self, row: int, text: str) -> bool:
        self._generator.tell(text, self._state, row)
        return True

    def pace(self, row: int, pace: float) -> bool:
        self._generator.pace(pace, self._state, row)
        return True

    def say(self, text: str, pace: float) -> Iterator[Pcm]:
        return (frame.numpy() for frame in spoken(self._generator.model, text, pace))

    @torch.inference_mode()
    def save(self, row: int) -> Saved:
        return _SavedRow(self._state.save(row), replace(self._floors[row]), self._heard[row])

    def copy(self, row: int) -> Saved:
        return self.save(row)

    @torch.inference_mode()
    def restore(self, row: int, saved: Saved) -> None:
        assert isinstance(saved, _SavedRow)
        self._state.restore(row, saved.tensors)
        self._floors[row], self._heard[row] = replace(saved.floor), saved.heard
