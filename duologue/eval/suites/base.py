"""A suite: families of cases, drawn by a seed or read from a folder, each held with a system and judged into a row.

    draw ─ Case ─ hold (with any system, over the seam) ─ Outcome ─ Row of results.jsonl ─ measures ─ tables and plots

A row keeps what every figure is computed from, so that all tables can be made again without holding a conversation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from duologue.data.splits import Split
from duologue.eval.metrics import Pcm
from duologue.systems.base import System

Value = bool | int | float | str | list[float] | None


class Measure(BaseModel):
    """How one figure is made of many rows.

    `share`: of the rows whose value is true; with `over`, of all trials, where a row counts the hits of several.
    `mean`, `median`, `p90`: of numbers, of which a row may hold several. `ratio`: the sum of the values over the sum of
    the values named `over`. Rows whose value is None do not count: there was nothing to measure. A case that failed
    with an error counts as the worse outcome of a share, and is listed.

    Attributes:
        name: of the value in a row, and of the figure in `suite.family.name`.
        better: which way is better: up, down, or nearer to zero, as of a signed latency; None where neither is.
        recognised: it rests on a recogniser, whose own error is shown beside it.
        beside: the name of another measure, which is about the cases and the same for every subject, to be shown with
            this one: what a recogniser makes of true speech, say.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    title: str
    kind: Literal["share", "mean", "median", "p90", "ratio"]
    of: str = ""
    """The row's value that it is computed from; empty: the one of its own name."""
    over: str = ""
    unit: str = ""
    scale: float = 1.0
    digits: int = 0
    better: Literal["higher", "lower", "zero"] | None = "higher"
    recognised: bool = False
    beside: str = ""

    @property
    def value(self) -> str:
        """The name of the row's value."""
        return self.of or self.name


class Stack(BaseModel):
    """Means in one unit that add up to a whole, drawn as one bar a subject: the names of their measures, in order."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    title: str
    parts: tuple[str, ...]


class Mark(BaseModel):
    """Something that lasts from `start` to `end` seconds on a conversation's time line, to be drawn there."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    channel: Literal["user", "system"]
    start: float
    end: float
    label: str


class Row(BaseModel):
    """One case, held with one subject: a line of `results.jsonl`.

    Attributes:
        subject: the system's name in the report (of the codec suite: the codec's).
        values: what the measures are computed from.
        detail: what a reader wants to see of the case: questions, replies, transcripts, voices.
        error: why the case could not be held to its end; its values are then empty.
        audio: two channels on one time line, user and system, relative to the report's folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    suite: str
    subject: str
    family: str
    case: str
    values: dict[str, Value] = Field(default_factory=dict)
    detail: dict[str, Any] = Field(default_factory=dict)
    marks: list[Mark] = Field(default_factory=list)
    error: str | None = None
    audio: str | None = None


@dataclass(frozen=True)
class Case:
    """What is done to a system: the audio that it hears, and all that is known about it.

    Attributes:
        name: `family/index`, or `family/name` of a user's own file; its identity within suite and split.
        audio: sounds by role (a question, an interjection, noise …), (T,) float32 at 16 kHz each.
        facts: texts, voices, times, right replies: JSON values, and all that `hold` needs beside the audio.
    """

    family: str
    name: str
    audio: dict[str, Pcm] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What came of a case; the runner makes a `Row` of it and keeps the audio of the first cases of each family."""

    values: dict[str, Value]
    detail: dict[str, Any] = field(default_factory=dict)
    marks: list[Mark] = field(default_factory=list)
    audio: Pcm | None = None  # (2, T) float32 at 16 kHz, user and system on one time line


class Cases(Protocol):
    """A user's own cases, read from a folder."""

    def families(self) -> dict[str, str]:
        """The families that occur, and what each is."""

    def names(self, family: str) -> list[str]:
        """The cases of a family, in order."""

    def draw(self, family: str, index: int) -> Case:
        """Case number `index` of a family, its audio read."""

    def fingerprint(self) -> str:
        """A hash of what the cases are made of."""


class Suite(ABC):
    """One kind of question, asked of any system.

    Args:
        split: of speakers, wordings and contents; "dev" to choose by, "test" for what is published.
        speech: a folder of real recordings; families that need them are left out without it.

    A suite is made again in every worker process, so it is cheap to make and loads what it needs when it is needed.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    measures: ClassVar[tuple[Measure, ...]]
    stacks: ClassVar[tuple[Stack, ...]] = ()
    default_cases: ClassVar[int] = 10
    """Cases of each family where nobody says how many; chosen so that a whole report is done in half an hour."""
    reference_cases: ClassVar[int] = 2
    """The same for floors and ceilings, whose answer is known: what they are held for is to show what figures mean."""
    groups: ClassVar[tuple[str, ...]] = ()
    """Values of rows that are text (a category, say) by which figures of all families together are told apart too."""
    principal: ClassVar[tuple[str, ...]] = ()
    """The measures that the summary shows family by family; the page has all. Empty: the first three."""
    alone: ClassVar[bool] = False
    """Whether its cases measure the machine, so that nothing else may run beside them."""

    def __init__(self, split: Split = "dev", speech: Path | None = None) -> None:
        self.split: Split = split
        self.speech = speech

    @abstractmethod
    def families(self) -> dict[str, str]:
        """The families that can be drawn here, and what each is."""

    def variant(self, family: str) -> str | None:
        """What a family is that is held only where it is asked for by name; None where there is none of that name."""
        return None

    @abstractmethod
    def draw(self, family: str, index: int) -> Case:
        """A case: a pure function of split, family and index on a machine with its voices and recordings."""

    @abstractmethod
    def hold(self, case: Case, system: System, seed: int = 0) -> Outcome:
        """Hold the case with a system and judge what it did; raises whatever the system raises."""

    @classmethod
    def cases_in(cls, folder: Path) -> Cases:
        """The cases of a user's own folder; in the layout of `eval.folder`, where a suite has none of its own.

        Raises:
            DataError: the folder is not in that layout.
        """
        from duologue.eval.folder import CaseFolder  # which knows what a case is

        return CaseFolder(folder)

    @classmethod
    def write_cases(cls, cases: Iterable[Case], folder: Path) -> int:
        """Write cases as `cases_in` reads them, and give their number.

        Raises:
            DuologueError: the folder cannot be written.
        """
        from duologue.eval.folder import export  # which knows what a case is

        return export(cases, folder)

    def subjects(self, systems: Sequence[str]) -> Sequence[str]:
        """What is judged when these systems are asked for: the systems themselves, unless a suite says otherwise."""
        return systems

    @classmethod
    def kin(cls, row: Row) -> str:
        """What a row shares with the rows that it is not independent of: here, nothing but itself."""
        return row.case

    def cases_at_most(self, family: str) -> int | None:
        """Where a case is long (an hour, say): how many of a family are held at most."""
        return None
