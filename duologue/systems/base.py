"""The seam: a system opens conversations, and a conversation hears a frame and says a frame.

Every system, native or not, local or remote, is a `System`. Its conversations have one heartbeat, `step(pcm)`: one
frame of what the user says goes in, one frame of what the system says comes out (zeros while it is silent), with the
events of that frame. Full duplex is the normal case; a turn-based system is one that is silent while it listens.

Times are seconds of conversation audio, never of the wall clock. Step number n (from 0) hears the user's frame that
covers [n, n + 1) frames; what it answers can only be played once that frame has been heard, so the reply of step n
covers [n + 1, n + 2) frames of the same time line.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from duologue.errors import AudioError

Pcm = NDArray[np.float32]
Tool = Mapping[str, Any]
"""A function that a system may call: its `name`, its `description` and the JSON schema of its `parameters`."""


class _Event(BaseModel):
    """What all events share: `time`, in seconds of conversation audio."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    time: float


class HeardWord(_Event):
    """A word of the user that was recognised; `time` is the end of the frame that completed it."""

    kind: Literal["heard"] = "heard"
    word: str


class TextWord(_Event):
    """A word of the answer that was decided at `time`, before it sounds."""

    kind: Literal["text"] = "text"
    word: str


class SpokenWord(_Event):
    """A word of the answer that sounds from `time` to `end`; told once it has been said, so never of a word cut off."""

    kind: Literal["spoken"] = "spoken"
    word: str
    end: float


class Turn(_Event):
    """The floor changes hands.

    `user_started`: words of a new turn of the user are heard. `user_stopped`: the system judges that turn over.
    `reply_started` and `reply_ended`: the system's sound begins and ends. `interrupted`: the reply ended because the
    user spoke over it (it comes instead of `reply_ended`).
    """

    kind: Literal["user_started", "user_stopped", "reply_started", "reply_ended", "interrupted"]


class FunctionCall(_Event):
    """The system wants a function of its client called, with a JSON object of arguments; it goes on with the result."""

    kind: Literal["call"] = "call"
    id: str
    name: str
    arguments: str


class Timing(_Event):
    """How long the machine took over the step whose frame ends at `time`."""

    kind: Literal["timing"] = "timing"
    compute_ms: float


class Stage(_Event):
    """How long a stage of a cascade kept the reply waiting whose making began at `time`.

    `endpoint`: the silence that it took to know that the turn was over, of conversation audio. The others are of the
    wall clock, and within the `Timing` of their step: `recognition` after that, `answer` to the first sentence of the
    reply's text, `synthesis` to the first sound of it.
    """

    kind: Literal["stage"] = "stage"
    name: Literal["endpoint", "recognition", "answer", "synthesis"]
    milliseconds: float


Event = HeardWord | TextWord | SpokenWord | Turn | FunctionCall | Timing | Stage
EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])
"""Reads an event back: `EVENT.validate_json(line)`."""


@dataclass(frozen=True)
class Reply:
    """What a system says in one frame.

    Attributes:
        pcm: (frame,) float32 in [-1, 1] at the card's rate; zeros while the system is silent.
        events: what happened in this frame, in the order in which it was noticed.
    """

    pcm: Pcm
    events: list[Event] = field(default_factory=list)


class Figure(BaseModel):
    """One measured quantity of a card: what, on which data, how much, and the command that gives it again."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    value: float
    unit: str = ""
    interval: tuple[float, float] | None = None
    split: str = ""
    command: str = ""


class SystemCard(BaseModel):
    """What a system is: what goes in and out, how it takes turns, what it was made from and measured at.

    `latency_ms` is algorithmic: from the end of a sound to the end of the frame that can first answer it. `calls`: its
    conversations can call functions that they are offered.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    summary: str = ""
    hears: tuple[Literal["features", "codes", "text"], ...]
    says: tuple[Literal["speech", "text"], ...] = ("speech", "text")
    duplex: Literal["full", "half"] = "full"
    calls: bool = False
    languages: tuple[str, ...] = ("en",)
    voices: tuple[str, ...] = ()
    sample_rate: int = Field(default=16000, gt=0)
    frame_rate: float = Field(default=12.5, gt=0)
    latency_ms: float | None = None
    parameters: int | None = None
    licence: str = ""
    recipe: str = ""
    seed: int | None = None
    trained_on: tuple[str, ...] = ()
    measured: tuple[Figure, ...] = ()

    @property
    def frame(self) -> int:
        """Samples in a frame."""
        return round(self.sample_rate / self.frame_rate)


class Conversation(ABC):
    """One conversation on a frame grid: a context manager whose `step` is called once a frame, from one thread."""

    def __init__(self, card: SystemCard) -> None:
        self.card = card
        self._heard = 0
        self._closed = False

    @property
    def time(self) -> float:
        """Seconds heard so far: where the user's next frame begins, and where the last reply is played."""
        return self._heard * self.card.frame / self.card.sample_rate

    def step(self, pcm: Pcm) -> Reply:
        """Hear one frame of the user, (frame,) float32 in [-1, 1], and answer with one frame.

        Raises:
            AudioError: the frame has another shape, or holds NaN or infinity.
            RuntimeError: the conversation is closed.
        """
        if self._closed:
            raise RuntimeError("the conversation is closed; open another one")
        pcm = np.asarray(pcm, dtype=np.float32)
        if pcm.shape != (self.card.frame,):
            raise AudioError(f"a frame has shape {pcm.shape}; {self.card.name} hears ({self.card.frame},), mono")
        if not np.isfinite(pcm).all():
            raise AudioError(f"the frame at {self.time:.2f} s holds NaN or infinity; samples must be finite numbers")
        self._heard += 1
        begin = time.perf_counter()
        reply = self._answer(pcm)
        reply.events.append(Timing(time=self.time, compute_ms=(time.perf_counter() - begin) * 1000))
        return reply

    @abstractmethod
    def _answer(self, pcm: Pcm) -> Reply:
        """The reply to a checked frame; `time` already counts it, so the reply's sound begins at `time`."""

    def close(self) -> None:
        """Give back what the conversation holds; closing twice is harmless."""
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class System(ABC):
    """Something one can talk with. It holds what conversations share (weights, say), and no conversation's state."""

    card: SystemCard

    @abstractmethod
    def open(self, seed: int = 0) -> Conversation:
        """Begin a conversation; the same seed and the same audio give the same replies."""
