"""The load suite: how many conversations at once can this machine hold with a system, each in time?

N conversations are opened in one process, and every frame each of them hears its own questions and answers them. A
round is one frame of all N. It is in time if it takes no longer than a frame lasts, and N can be held if the 99th
percentile of the rounds does (so that a buffer of one frame hides the rest). N is found by doubling, then by bisection;
the curve of all N that were tried is kept. `stepped` steps the conversations one after the other over the seam, which
any system can; `batched` steps the rows of one state together, where a system has such an engine.

The figures are of this machine and of as many threads as the detail tells; nothing else may run beside them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, ClassVar

import numpy as np
import torch

from duologue.errors import DataError
from duologue.eval.metrics import RATE, Pcm
from duologue.eval.suites.base import Case, Measure, Outcome, Value
from duologue.eval.suites.measures import mean
from duologue.eval.suites.scene_suite import SceneSuite
from duologue.systems.base import System
from duologue.systems.native import NativeSystem

MOST = 1024  # conversations; beyond, who listens to them costs more than the cheapest system
SECONDS = 10.0  # of conversation that each number is tried for
WARM_UP = 5  # rounds that are not counted
QUIET = 3.0  # seconds between a user's questions, for the replies
Round = Callable[[Sequence[Pcm]], None]


class LoadSuite(SceneSuite):
    """Conversations at once on this machine at p99 below the frame."""

    name = "load"
    title = "Load: conversations at once on one core of this machine"
    default_cases = 1
    alone = True
    measures: ClassVar[tuple[Measure, ...]] = (
        mean("conversations", "at once", 0),
        mean("batched", "at once, batched", 0),
        mean("step_p50", "one alone: step p50", 1, "lower", unit="ms"),
        mean("step_p99", "one alone: step p99", 1, "lower", unit="ms"),
        mean("rtf", "one alone: real-time factor", 3, "lower"),
    )

    def families(self) -> dict[str, str]:
        return {"conversations": "questions and replies in turn, begun at different moments"}

    def cases_at_most(self, family: str) -> int | None:
        return 1

    def draw(self, family: str, index: int) -> Case:
        if family not in self.families():
            raise DataError(f"no family {family!r}; there is only {', '.join(self.families())}")
        audio, facts = self.scenes.pool(np.random.default_rng([3, index]))
        return Case(family, f"{family}/{index}", audio, {**facts, "most": MOST, "seconds": SECONDS})

    def hold(self, case: Case, system: System, seed: int = 0) -> Outcome:
        if not case.audio:
            raise DataError(f"case {case.name} has no audio; give the questions that the conversations hear")
        most, seconds = int(case.facts.get("most", MOST)), float(case.facts.get("seconds", SECONDS))
        loop = _loop(list(case.audio.values()), system.card.sample_rate)
        frame = system.card.frame / system.card.sample_rate
        rounds = round(seconds / frame)
        stepped = _search(lambda n: _stepped(system, n, seed), loop, system, rounds, frame, most)
        values: dict[str, Value] = {
            "conversations": stepped["most"],
            "step_p50": stepped["curve"][0]["p50_ms"],
            "step_p99": stepped["curve"][0]["p99_ms"],
            "rtf": stepped["curve"][0]["mean_ms"] / 1000 / frame,
        }
        detail: dict[str, Any] = {
            "threads": torch.get_num_threads(),
            "frame_ms": 1000 * frame,
            "stepped": stepped["curve"],
        }
        if isinstance(system, NativeSystem):
            batched = _search(lambda n: _batched(system, n, seed), loop, system, rounds, frame, most)
            values["batched"] = batched["most"]
            detail["batched"] = batched["curve"]
        return Outcome(values, detail)


def largest(fits: Callable[[int], bool], most: int) -> int:
    """The largest n up to `most` that fits, 0 if one is too many already, where what is smaller fits as well.

    Doubles until it no longer fits, then halves what lies between: about 2 log2(n) trials.
    """
    low, high = 0, 1
    while high <= most and fits(high):
        low, high = high, 2 * high
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        if fits(middle):
            low = middle
        else:
            high = middle
    return low


def _search(
    opened: Callable[[int], tuple[ExitStack, Round]], loop: Pcm, system: System, rounds: int, frame: float, most: int
) -> dict[str, Any]:
    """The largest number of conversations, and the curve of all that were tried, fewest first."""
    curve: dict[int, dict[str, Any]] = {}

    def fits(n: int) -> bool:
        stack, step = opened(n)
        with stack:
            taken = timed(step, frames(loop, n, system.card.frame, rounds + WARM_UP), frame, rounds)
        late = sum(one > frame for one in taken)
        curve[n] = {
            "conversations": n,
            "p50_ms": round(1000 * float(np.percentile(taken, 50)), 2),
            "p99_ms": round(1000 * float(np.percentile(taken, 99)), 2),
            "mean_ms": round(1000 * float(np.mean(taken)), 2),
            "rounds": len(taken),
            "late": late,
        }
        return len(taken) == rounds and late <= rounds // 100

    found = largest(fits, most)
    return {"most": found, "curve": [curve[n] for n in sorted(curve)]}


def timed(step: Round, heard: Iterator[list[Pcm]], frame: float, rounds: int) -> list[float]:
    """Seconds that each round takes after the warm-up; ends early once more than 1% of all rounds were late."""
    taken: list[float] = []
    late = 0
    for number, chunks in enumerate(heard):
        begin = time.perf_counter()
        step(chunks)
        lasted = time.perf_counter() - begin
        if number < WARM_UP:
            continue
        taken.append(lasted)
        late += lasted > frame
        if late > rounds // 100:
            break
    return taken


def frames(loop: Pcm, n: int, size: int, rounds: int) -> Iterator[list[Pcm]]:
    """What n users say in each round, all from one loop (T,), each beginning at another place in it."""
    length = len(loop) // size * size
    starts = [int(place * length / n) // size * size for place in range(n)]
    for number in range(rounds):
        places = [(start + number * size) % length for start in starts]
        yield [loop[place : place + size] for place in places]


def _loop(questions: Sequence[Pcm], rate: int) -> Pcm:
    """Questions with quiet between them for the replies, (T,) float32."""
    if rate != RATE:
        raise DataError(f"the questions have {RATE} Hz; the system runs at {rate} Hz")
    quiet = np.zeros(round(QUIET * RATE), np.float32)
    return np.concatenate([part for question in questions for part in (question, quiet)])


def _stepped(system: System, n: int, seed: int) -> tuple[ExitStack, Round]:
    """n conversations over the seam, stepped one after the other."""
    stack = ExitStack()
    conversations = [stack.enter_context(system.open(seed + number)) for number in range(n)]

    def step(chunks: Sequence[Pcm]) -> None:
        for conversation, chunk in zip(conversations, chunks, strict=True):
            conversation.step(chunk)

    return stack, step


def _batched(system: NativeSystem, n: int, seed: int) -> tuple[ExitStack, Round]:
    """n rows of one state, stepped together."""
    state = system.generator.init_state(n, seed)

    def step(chunks: Sequence[Pcm]) -> None:
        system.generator.step(torch.from_numpy(np.stack(chunks)), state)

    return ExitStack(), step
