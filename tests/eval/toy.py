"""A tiny suite for tests of the frame: does a system make a sound after a tone, and how late?"""

from __future__ import annotations

import multiprocessing
import os
from typing import ClassVar

import numpy as np

from duologue.errors import DataError
from duologue.eval.suites.base import Case, Mark, Measure, Outcome, Stack, Suite
from duologue.systems.base import System

TONE = 0.3 * np.sin(2 * np.pi * 440 * np.arange(3200) / 16000).astype(np.float32)  # 0.2 s


class ToySuite(Suite):
    """Cases of "tone" and "silence" are held; number 1 of "broken" raises, and of "fatal" ends its process.

    "tone-long" is held only where it is asked for.
    """

    name = "toy"
    title = "A toy"
    default_cases = 2
    groups = ("colour",)
    stacks = (Stack(title="A reply", parts=("before", "after")),)
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure(name="replied", title="replied", kind="share", unit="%", scale=100),
        Measure(name="late", title="latency", kind="median", unit="s", digits=2, better="lower", beside="even"),
        Measure(name="even", title="even cases", kind="share", unit="%", scale=100, better=None),
        Measure(name="before", title="waits", kind="mean", unit="ms", scale=1000),
        Measure(name="after", title="works", kind="mean", unit="ms", scale=1000),
    )

    def families(self) -> dict[str, str]:
        return {"tone": "a tone", "silence": "nothing", "broken": "cannot be held", "fatal": "kills"}

    def variant(self, family: str) -> str | None:
        return "a long tone" if family == "tone-long" else None

    def draw(self, family: str, index: int) -> Case:
        pcm = np.zeros(3200, np.float32) if family == "silence" else TONE
        return Case(family, f"{family}/{index}", {"sound": pcm}, {"number": index})

    def hold(self, case: Case, system: System, seed: int = 0) -> Outcome:
        if case.name == "broken/1":
            raise DataError("no luck\nwith this one")
        if case.name == "fatal/1" and multiprocessing.parent_process() is not None:
            os._exit(1)
        user = np.concatenate([case.audio["sound"], np.zeros(12160, np.float32)]).reshape(-1, 1280)
        with system.open(seed) as conversation:
            reply = np.concatenate([np.zeros(1280), *(conversation.step(frame).pcm for frame in user)])[:-1280]
        loud = np.flatnonzero(np.abs(reply) > 0.01)
        late = float(loud[0]) / 16000 - 0.2 if len(loud) else None
        marks = [Mark(channel="user", start=0, end=0.2, label="<tone> & 1")]
        colour = "red" if int(case.facts["number"]) % 2 else "blue"
        values = {"replied": late is not None, "late": late, "colour": colour}
        return Outcome(values, {"number": case.facts["number"]}, marks, np.stack([user.ravel(), reply]))

    def cases_at_most(self, family: str) -> int | None:
        return 1 if family == "silence" else None
