"""The memory suite: does a system still know what it was told, and is it after hours what it was at the beginning?

    context      a question that leans on the turn before ("and plus two"): the reply is right only for who remembers
    remember-N   a fact about the user ("my name is anna"), N other turns, then the question ("what is my name")
    remember-60s the same after a minute of silence
    long         one conversation of two minutes: what changes from its first quarter to its last; long-120 takes hours

What is right is judged on the spoken reply: it names the fact, and no other of its kind. Who guesses is right once in
as many times as there are facts of a kind; `chance` judges the reply by another fact. Beside them stands what the
same recogniser and judge make of true speech of the right reply. Of the long conversation:

    drift        median latency, share of right replies, 99th percentile of a step's compute: last quarter minus first
    growth       resident memory of the process at the end minus that after the first quarter, in MB an hour. It holds
                 what the suite itself and its recogniser keep; the figure of "never-talk" beside it shows how much.

Your own cases: audio "told" and "asked", facts {"asked": {"reply": "your name is anna", "content": "anna"}}, and
"question 0" … for what is asked between, with facts {"pool": [{"reply": "at noon"}]}; {"silence": 60} for seconds.
Their replies are heard by the recogniser of everyday English.
"""

from __future__ import annotations

import re
import zlib
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import psutil

from duologue.data import domain
from duologue.data.synthesize import speak
from duologue.errors import DataError
from duologue.eval.converse import Say, converse
from duologue.eval.recognize import Recognizer, general_recognizer
from duologue.eval.suites.alternate import KEPT_SECONDS, alternate, pool
from duologue.eval.suites.base import Case, Measure, Outcome, Value
from duologue.eval.suites.marks import turn_marks
from duologue.eval.suites.measures import percent, seconds
from duologue.eval.suites.scene_suite import SceneSuite
from duologue.eval.suites.turn import Turn, turn_of
from duologue.eval.truth import heard_truly
from duologue.systems.base import System
from duologue.systems.oracle import Cue, expect

TURNS_BETWEEN = (0, 2, 8)
SILENCE = 60  # seconds
MEGABYTE = 2**20

FACTS: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "name": (
        "my name is {x}",
        "what is my name",
        "your name is {x}",
        ("anna", "peter", "maria", "david", "helen", "george", "laura", "simon"),
    ),
    "colour": (
        "my favourite colour is {x}",
        "what is my favourite colour",
        "your favourite colour is {x}",
        ("red", "blue", "green", "yellow", "purple", "orange", "brown", "black"),
    ),
    "city": (
        "i live in {x}",
        "where do i live",
        "you live in {x}",
        ("london", "paris", "berlin", "madrid", "vienna", "dublin", "boston", "chicago"),
    ),
    "pet": (
        "i have a {x}",
        "which animal do i have",
        "you have a {x}",
        ("dog", "cat", "horse", "rabbit", "parrot", "mouse", "duck", "goat"),
    ),
    "number": (
        "please remember the number {x}",
        "which number did i tell you",
        "the number is {x}",
        ("three", "seven", "twelve", "fifteen", "twenty", "thirty", "forty", "ninety"),
    ),
}
"""Kind -> how it is told, how it is asked, the right reply, and the facts of that kind."""


class MemorySuite(SceneSuite):
    """Facts from before, and constancy; facts of other distances by their names: "remember-3", "remember-600s"."""

    name = "memory"
    long = "long"
    title = "Memory: what was said before, and constancy over hours"
    default_cases = 5
    measures: ClassVar[tuple[Measure, ...]] = (
        percent("right", "right", over="turns", recognised=True, beside="right_true"),
        percent("right_true", "true speech, same judge", over="turns", recognised=True, better=None),
        percent("chance", "right for another", better=None, recognised=True, beside="right_true"),
        seconds("latency_p50", "latency p50", "median", "latency", better="zero"),
        percent("replied", "replied", over="turns"),
        seconds("latency_drift", "latency drift", "mean", better="zero"),
        Measure(name="right_drift", title="rightness drift", kind="mean", unit="%", scale=100, recognised=True,
                beside="right_true"),
        Measure(name="compute_p99", title="step p99", kind="mean", unit="ms", digits=1, better="lower"),
        Measure(name="compute_drift", title="step p99 drift", kind="mean", unit="ms", digits=1, better="lower"),
        Measure(name="memory", title="memory", kind="mean", unit="MB", better="lower"),
        Measure(name="growth", title="memory growth", kind="mean", unit="MB/h", digits=1, better="lower"),
    )  # fmt: skip

    @cached_property
    def fact_recognizer(self) -> Recognizer:
        """What hears a reply about a fact: as likely each fact, alone or in a sentence, or none."""
        replies = [reply.format(x=x) for _, _, reply, known in FACTS.values() for x in known]
        alone = [x for *_, known in FACTS.values() for x in known]
        return Recognizer([*replies, *alone, "sorry i did not understand that", "okay"] * 4, domain.vocabulary())

    def recognizer_of(self, turn: Turn) -> Recognizer:
        """What hears the reply to a turn: who expects such replies, and for a user's own who expects none."""
        if turn.key:
            return self.recognizer
        known = FACTS[turn.category][3] if turn.category in FACTS else ()
        return self.fact_recognizer if turn.content in known else general_recognizer()

    def families(self) -> dict[str, str]:
        remembered = (*(f"remember-{turns}" for turns in TURNS_BETWEEN), f"remember-{SILENCE}s")
        return {
            "context": "a question that leans on the turn before",
            **{family: about for family in remembered if (about := _remembering(family))},
            "long": "one long conversation: last quarter beside first",
        }

    def variant(self, family: str) -> str | None:
        return _remembering(family) or super().variant(family)

    def draw(self, family: str, index: int) -> Case:
        minutes = self.minutes(family)
        if minutes is None and family not in self.families() and _remembering(family) is None:
            raise DataError(f"no family {family!r}; there are {', '.join(self.families())}")
        rng = np.random.default_rng([zlib.crc32(f"memory/{family}".encode()), zlib.crc32(self.split.encode()), index])
        name, how = f"{family}/{index}", family.partition("-")[2]
        if minutes is not None:
            audio, facts = self.scenes.pool(rng)
            return Case(family, name, audio, {**facts, "minutes": minutes})
        if family == "context":
            return self._context(rng, name)
        silence = int(how[:-1]) if how.endswith("s") else 0
        kind = list(FACTS)[index % len(FACTS)]
        told, asked, reply, known = FACTS[kind]
        fact, other = (known[int(place)] for place in rng.choice(len(known), 2, replace=False))
        between = 0 if how.endswith("s") else int(how)
        audio, facts = self.scenes.pool(rng, max(1, between))
        if not between:
            audio, facts = {}, {**facts, "pool": []}
        voice = self.scenes.voice(rng)
        audio |= {"told": speak(told.format(x=fact), voice).pcm, "asked": speak(asked, voice).pcm}
        turn = Turn(reply=reply.format(x=fact), user=asked, content=fact, category=kind)
        facts |= {
            "voice": voice.key(),
            "told": told.format(x=fact),
            "asked": turn.fact(),
            "other": other,
            "rivals": [x for x in known if x != fact],
            "silence": silence,
        }
        return Case(family, name, audio, facts)

    def _context(self, rng: np.random.Generator, name: str) -> Case:
        """A turn and one that leans on it."""
        voice = self.scenes.voice(rng)
        while True:
            first, second = domain.dialogue(rng, self.split, 2, held="none")
            if second.history and not first.history:
                break
        audio = {"told": speak(first.user, voice).pcm, "asked": speak(second.user, voice).pcm}
        facts = {"voice": voice.key(), "told": first.user, "asked": Turn.of(second).fact(), "pool": []}
        return Case("context", name, audio, facts)

    def hold(self, case: Case, system: System, seed: int = 0) -> Outcome:
        if "minutes" in case.facts:
            return self._long(case, system, seed)
        missing = [role for role in ("told", "asked") if role not in case.audio]
        if missing or "asked" not in case.facts:
            raise DataError(f"case {case.name} needs audio told and asked, and facts asked with the right reply")
        turn = turn_of(case, "asked")
        between = pool(case)
        told = case.facts.get("told", "")
        first = domain.answer(told) if turn.key else "okay"
        script = [Say(case.audio["told"]), *(Say(question.sound) for question in between)]
        script.append(Say(case.audio["asked"], delay=0.5 + float(case.facts.get("silence", 0))))
        cues = [Cue(case.audio["told"], first, words=told), *(one.turn.cue(one.sound) for one in between)]
        expect(system, [*cues, turn.cue(case.audio["asked"])])
        record = converse(system, script, seed)
        last = len(script) - 1
        recognizer = self.recognizer_of(turn)
        transcript = recognizer.transcribe(record.reply(record.turn(last)))
        true = heard_truly(turn.reply, recognizer)
        rivals = set(case.facts.get("rivals", ()))
        other = case.facts.get("other")
        values: dict[str, Value] = {
            "turns": 1,
            "right": turn.right(transcript) and not rivals.intersection(transcript.split()),
            "right_true": turn.right(true) and not rivals.intersection(true.split()),
            "chance": None if other is None else other in transcript.split(),
            "latency": record.latency(last),
            "replied": record.latency(last) is not None,
        }
        detail = {
            **case.facts,
            "said": record.text(record.turn(last)),
            "transcript": transcript,
            "true_transcript": true,
        }
        marks = turn_marks(record, ["question"] * len(script), ["reply"] * len(script))
        return Outcome(values, detail, marks, record.audio)

    def _long(self, case: Case, system: System, seed: int) -> Outcome:
        """One conversation, of which each turn is judged as it goes and only the beginning is kept as sound."""
        minutes = float(case.facts["minutes"])
        process = psutil.Process()
        kept, marks = [], []
        rows: list[dict[str, Any]] = []
        for question, record in alternate(system, pool(case), minutes, seed):
            if record.start < KEPT_SECONDS:
                kept.append(record.audio)
                marks += turn_marks(record, ["question"], ["reply"])
            recognizer = self.recognizer_of(question.turn)
            transcript = recognizer.transcribe(record.reply(record.turn(0)))
            rows.append(
                {
                    "end": record.end,
                    "latency": record.latency(0),
                    "right": question.turn.right(transcript),
                    "right_true": question.turn.right(heard_truly(question.turn.reply, recognizer)),
                    "compute_ms": list(record.compute_ms),
                    "memory": process.memory_info().rss / MEGABYTE,
                }
            )
        values = constancy(rows)
        detail = {"voice": case.facts.get("voice"), "minutes": minutes, "turns": [_rounded(row) for row in rows]}
        return Outcome(values, detail, marks, np.concatenate(kept, axis=1))


def _remembering(family: str) -> str | None:
    """What a family is that asks for a fact, "remember-8" turns or "remember-600s" of silence after it was told."""
    held = re.fullmatch(r"remember-(\d+)(s?)", family)
    if held is None:
        return None
    return f"a fact told {held[1]} {'s of silence' if held[2] else 'turns'} before it is asked for"


def constancy(rows: list[dict[str, Any]]) -> dict[str, Value]:
    """What a long conversation was like, and the last quarter of its time beside the first.

    Args:
        rows: of each turn its end in seconds, latency or None, whether it was right, whether true speech of the right
            reply was, the compute of each of its steps in ms, and the process's memory in MB after it.
    """
    whole = rows[-1]["end"]
    first = [row for row in rows if row["end"] <= whole / 4] or rows[:1]
    last = [row for row in rows if row["end"] > whole * 3 / 4] or rows[-1:]
    hours = (last[-1]["end"] - first[-1]["end"]) / 3600
    replied = [row["latency"] for row in rows if row["latency"] is not None]

    def median(some: list[dict[str, Any]], name: str) -> float | None:
        found = [row[name] for row in some if row[name] is not None]
        return float(np.median(found)) if found else None

    before, after = median(first, "latency"), median(last, "latency")
    share = {name: sum(row["right"] for row in some) / len(some) for name, some in (("first", first), ("last", last))}

    def p99(some: list[dict[str, Any]]) -> float:
        return float(np.percentile([step for row in some for step in row["compute_ms"]], 99))

    return {
        "turns": len(rows),
        "right": sum(row["right"] for row in rows),
        "right_true": sum(row["right_true"] for row in rows),
        "replied": len(replied),
        "latency": float(np.median(replied)) if replied else None,
        "latency_drift": None if before is None or after is None else after - before,
        "right_drift": share["last"] - share["first"],
        "compute_p99": p99(rows),
        "compute_drift": p99(last) - p99(first),
        "memory": max(row["memory"] for row in rows),
        "growth": (last[-1]["memory"] - first[-1]["memory"]) / hours if hours else None,
    }


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    """A turn as it is kept, of its steps only how many there were and what the longest took."""
    kept = {**row, "compute_ms": max(row["compute_ms"]), "steps": len(row["compute_ms"])}
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in kept.items()}
