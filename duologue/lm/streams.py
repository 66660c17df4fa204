"""Speech as streams on a frame grid: what a model hears, what it predicts, and by how many frames each is delayed.

A `Layout` is the whole difference between a duplex conversation model, a recogniser and a speech synthesiser: all are
the same transformer (`lm/backbone.py`) and the same next-token loss over another list of streams.

At frame t a model sees the heard streams up to and including t, and its own predicted streams up to t - 1; within a
frame the predicted books are written one after the other, in the order of the layout. A book delayed by d frames
carries at frame t what belongs to frame t - d.
"""

from __future__ import annotations

from functools import cached_property
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

ABSENT = -1
"""Token of a book that has nothing yet: before a stream begins, under a delay, or masked out."""
FREE = -2
"""Among tokens that are forced on a model: in this row it chooses for itself."""


class Stream(BaseModel):
    """One named stream: `books` tokens below `cardinality` a frame, or `hops` feature vectors of `size` a frame."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    role: Literal["heard", "predicted", "taught"]
    """Heard: given. Predicted: written frame by frame, and fed back. Taught: predicted in training alone, to teach the
    transformer what lies in the sound; neither written nor fed back, so that nothing can lean on it being true."""
    kind: Literal["tokens", "features"] = "tokens"
    cardinality: int = 0
    books: int = 1
    delays: tuple[int, ...] = ()  # frames, one a book; empty: no delay
    size: int = 0
    hops: int = 1
    shares: str | None = None  # takes the embeddings (and the output head) of this earlier stream
    tables: int | None = None  # embedding tables for the books, used in turn; None: one a book
    tied: bool = False  # one table is both embedding and output head, so that a word once heard can be said
    weight: float = 1.0  # of this stream's cross-entropy
    pad: int | None = None  # a token that mostly fills the stream and
    pad_weight: float = Field(default=1.0, ge=0)  # counts this much in the loss

    @model_validator(mode="after")
    def _check(self) -> Stream:
        if self.kind == "tokens" and (self.cardinality < 1 or self.books < 1):
            raise ValueError(f"stream {self.name}: tokens need cardinality and books of at least 1")
        if self.kind == "features" and (self.size < 1 or self.role != "heard"):
            raise ValueError(f"stream {self.name}: features need a size, and are heard, not predicted")
        if self.delays and (len(self.delays) != self.books or min(self.delays) < 0):
            raise ValueError(f"stream {self.name}: {self.books} books need as many delays, none negative")
        if self.tied and self.role != "predicted":
            raise ValueError(f"stream {self.name}: only what is predicted has both embeddings and a head to tie")
        if self.tables is not None and self.books % self.tables:
            raise ValueError(f"stream {self.name}: {self.books} books do not divide among {self.tables} tables")
        return self

    def delay(self, book: int) -> int:
        return self.delays[book] if self.delays else 0

    @property
    def max_delay(self) -> int:
        return max(self.delays, default=0)


class Layout(BaseModel):
    """The streams of one transformer, in the order in which the predicted ones are written within a frame."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    streams: tuple[Stream, ...]

    @model_validator(mode="after")
    def _check(self) -> Layout:
        names = [stream.name for stream in self.streams]
        if len(set(names)) < len(names):
            raise ValueError(f"layout {self.name}: two streams have one name: {names}")
        for index, stream in enumerate(self.streams):
            if stream.shares is None:
                continue
            earlier = {other.name: other for other in self.streams[:index]}
            if stream.shares not in earlier or earlier[stream.shares].cardinality != stream.cardinality:
                raise ValueError(f"stream {stream.name} shares {stream.shares}, which is no earlier stream of its size")
        return self

    def __getitem__(self, name: str) -> Stream:
        for stream in self.streams:
            if stream.name == name:
                return stream
        raise KeyError(f"layout {self.name} has no stream {name}")

    @cached_property
    def heard(self) -> tuple[Stream, ...]:
        return tuple(stream for stream in self.streams if stream.role == "heard")

    @cached_property
    def predicted(self) -> tuple[Stream, ...]:
        return tuple(stream for stream in self.streams if stream.role == "predicted")

    @cached_property
    def taught(self) -> tuple[Stream, ...]:
        return tuple(stream for stream in self.streams if stream.role == "taught")

    @cached_property
    def learned(self) -> tuple[Stream, ...]:
        """All that has a target: what is predicted, then what is taught."""
        return self.predicted + self.taught

    @cached_property
    def written(self) -> tuple[tuple[Stream, int], ...]:
        """The predicted (stream, book) pairs of a frame, in the order in which they are written."""
        return tuple((stream, book) for stream in self.predicted for book in range(stream.books))


def delay(tokens: Tensor, stream: Stream) -> Tensor:
    """Shift each book of tokens (B, F, books) right by its delay; the frames that open up are `ABSENT`.

    F grows by the longest delay, so that nothing is lost; `undelay` is the inverse.
    """
    batch, frames, books = tokens.shape
    out = tokens.new_full((batch, frames + stream.max_delay, books), ABSENT)
    for book in range(books):
        start = stream.delay(book)
        out[:, start : start + frames, book] = tokens[:, :, book]
    return out


def undelay(tokens: Tensor, stream: Stream) -> Tensor:
    """Undo `delay`: (B, F + longest delay, books) -> (B, F, books)."""
    frames = tokens.shape[1] - stream.max_delay
    books = [tokens[:, stream.delay(book) : stream.delay(book) + frames, book] for book in range(stream.books)]
    return torch.stack(books, dim=2)
