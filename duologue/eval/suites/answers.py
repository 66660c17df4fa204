"""The answer suite: is the spoken reply to a spoken question right, in text and in sound, under which conditions?

Each family changes one thing: the voice, the wording, the operands, the turns before, or what lies between voice and
listener (`conditions`), the last for three kinds of speakers. Families under a condition ask the very questions of
"unseen-voices", "unseen-synthesiser" and "real-words", in the same voices, so that what it costs is seen on pairs.
Figures without a condition are told apart by who speaks: a recogniser that hears one synthesiser's voices badly loses
there what says little about cascades, so what pocketsphinx makes of the questions (whole, without noise) stands beside.

A reply is judged on the text stream and, through a recogniser that is not ours, on its sound. The same recogniser hears
true speech of the right reply (what it misses there is its own error), and the reply is judged as if it were to another
question (what is right then is chance).

Your own cases: audio "question" (a dialogue goes on with "question 2" …), and "noise" if it is to sound all the time;
facts {"turns": [{"reply": "in the kitchen", "user": "where is the lamp", "content": "kitchen"}]}, a turn for each
question, `content` the words that a right reply says (all of `reply` where it is not given).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from duologue.audio.vad import speech_bounds
from duologue.data import domain
from duologue.data.domain import Exchange
from duologue.data.splits import Split
from duologue.errors import DataError
from duologue.eval.converse import Record, Say, converse
from duologue.eval.metrics import Pcm, word_errors
from duologue.eval.questions import FAMILIES, REAL, QuestionDrawer
from duologue.eval.recognize import (
    Recognizer,
    domain_recognizer,
    general_recognizer,
    normalize,
    question_recognizer,
)
from duologue.eval.suites.base import Case, Measure, Outcome, Row, Stack, Suite, Value
from duologue.eval.suites.conditions import CONDITIONS, FAST_RATE, SLOW_RATE, SNR_DB, changed, noise_below, over
from duologue.eval.suites.marks import turn_marks
from duologue.eval.suites.measures import mean, percent, seconds
from duologue.eval.suites.turn import Turn, roles, turns_of
from duologue.eval.truth import heard_truly
from duologue.eval.waits import PARTS, waits
from duologue.systems.base import System
from duologue.systems.oracle import expect

RATES = {"fast": FAST_RATE, "slow": SLOW_RATE}
UNDER = {
    "": ("unseen-voices", "unseen voices"),
    "synthesiser-": ("unseen-synthesiser", "the unseen synthesiser"),
    "real-": (REAL, "real people"),
}
"""Of families under a condition: how their names begin, whose questions they ask, and who that is."""


def _share(name: str, title: str, over: str = "turns", **more: Any) -> Measure:
    return percent(name, title, over=over, **more)


def _errors(name: str, title: str, of: str, better: Any = "lower", **more: Any) -> Measure:
    over = of.replace("errors", "words")
    return Measure(name=name, title=title, kind="ratio", of=of, over=over, unit="%", scale=100, better=better, **more)


class Heard(BaseModel):
    """What became of a turn: all that was heard and said, and the verdicts (see `AnswersSuite.measures`)."""

    model_config = ConfigDict(frozen=True)
    user: str
    reply: str
    heard: str
    said: str
    transcript: str
    true_transcript: str
    right: bool
    right_spoken: bool
    right_true: bool
    by_chance: bool | None
    latency: float | None = Field(description="s")
    compute: float | None = Field(description="s")
    waits: dict[str, float] = Field(description="s, by part")


class AnswersSuite(Suite):
    """Spoken question to spoken answer."""

    name = "answers"
    title = "Answers: is the spoken reply right?"
    default_cases = 12
    groups = ("speakers", "category")
    principal = ("right", "right_spoken", "latency_p50")
    measures: ClassVar[tuple[Measure, ...]] = (
        _share("right", "right in text", beside="wer_question"),
        _share("right_spoken", "right as spoken", recognised=True, beside="right_true"),
        _share("right_true", "true speech, same judge", recognised=True, better=None),
        _share("chance", "right for another question", of="by_chance", better=None),
        _share("replied", "replied"),
        _share("right_leaning", "right where it leans on the turn before", over="leaning"),
        seconds("latency_p50", "latency p50", "median", "latency", better="zero"),
        seconds("latency_p90", "latency p90", "p90", "latency", better="zero"),
        seconds("compute_p50", "added by computing, p50", "median", "compute", unit="ms", scale=1000, digits=0),
        seconds("compute_p90", "added by computing, p90", "p90", "compute", unit="ms", scale=1000, digits=0),
        *(mean(f"wait_{name}", what, 0, "lower", unit="ms", scale=1000) for name, what in PARTS.items()),
        _errors("wer_heard", "WER of what it heard", "heard_errors", beside="wer_question"),
        _errors("wer_question", "WER of the questions, pocketsphinx", "question_errors", None, recognised=True),
        _errors("wer_spoken", "WER of its speech", "spoken_errors", recognised=True, beside="wer_true"),
        _errors("wer_true", "WER of true speech", "true_errors", recognised=True),
    )
    stacks = (
        Stack(title="What a reply waits for, from the user's last sound on", parts=tuple(f"wait_{p}" for p in PARTS)),
    )

    def __init__(self, split: Split = "dev", speech: Path | None = None) -> None:
        super().__init__(split, speech)
        self._transcripts: dict[str, str] = {}

    @cached_property
    def drawer(self) -> QuestionDrawer:
        """What draws the questions."""
        return QuestionDrawer(self.split, self.speech)

    @classmethod
    def kin(cls, row: Row) -> str:
        """The question that is asked, which several families ask under their conditions."""
        return f"{_under(row.family)[0]}/{row.case.rpartition('/')[2]}"

    def families(self) -> dict[str, str]:
        known = {name: FAMILIES[name] for name in self.drawer.families()}
        under = [(prefix, who) for prefix, (asked, who) in UNDER.items() if asked in known]
        return known | {
            f"{prefix}{name}": f"{who}, {what}" for prefix, who in under for name, what in CONDITIONS.items()
        }

    def draw(self, family: str, index: int) -> Case:
        asked, condition = _under(family)
        if condition in RATES and asked != REAL:
            drawn, heard = self.drawer.draw_paced(asked, index, RATES[condition]), ""  # the voice itself does it
        else:
            drawn, heard = self.drawer.draw(asked, index), condition
        rng = np.random.default_rng([index, zlib.crc32(asked.encode())])  # one noise or room under all conditions
        recordings = self.drawer.recordings
        audio, turns = {}, []
        for role, exchange, dry in zip(roles(len(drawn.speech)), drawn.exchanges, drawn.speech, strict=True):
            audio[role] = changed(dry, heard, rng, recordings.rooms if recordings else [])
            bounds = speech_bounds(dry)
            ends = None if bounds is None else round(bounds[1] * len(audio[role]) / len(dry), 3)
            turns.append(Turn.of(exchange, ends))
        if condition in SNR_DB:
            dry = drawn.speech[0]
            audio["noise"] = noise_below(dry, SNR_DB[condition], rng, recordings.noises if recordings else [])
        facts = {
            "voice": drawn.voice,
            "condition": condition,
            "speakers": "people" if asked == REAL else drawn.voice.partition("/")[0],
            "category": drawn.exchanges[0].category if len(turns) == 1 else "dialogue",
            "turns": [turn.fact() for turn in turns],
            "other": Turn.of(_another(rng, self.split, drawn.exchanges)).fact(),
        }
        return Case(family, f"{family}/{index}", audio, facts)

    def hold(self, case: Case, system: System, seed: int = 0) -> Outcome:
        turns = turns_of(case)
        missing = [role for role in roles(len(turns)) if role not in case.audio]
        if missing or not turns:
            what = ", ".join(missing) or "turn"
            raise DataError(f"case {case.name} needs a turn and audio for each, but has no {what}")
        questions = [case.audio[role] for role in roles(len(turns))]
        expect(system, [turn.cue(pcm) for pcm, turn in zip(questions, turns, strict=True)])
        noise = case.audio.get("noise")
        record = converse(over(system, noise), [Say(pcm) for pcm in questions], seed)
        other = Turn(**case.facts["other"]) if "other" in case.facts else None
        known = all(turn.key for turn in turns)
        recognizer = domain_recognizer() if known else general_recognizer()
        heard = [_judge(record, index, turn, other, recognizer) for index, turn in enumerate(turns)]
        values = _values(turns, heard)
        asked = zip(turns, roles(len(turns)), strict=True)
        values |= _wer("question", [(turn.user, self._asked(case, role, known)) for turn, role in asked if turn.user])
        values |= {name: case.facts.get(name) for name in self.groups}
        if case.facts.get("condition"):  # its families tell speakers apart, and would only blur who is heard how well
            values["speakers"] = None
        detail = {"voice": case.facts.get("voice"), "turns": [one.model_dump(exclude_none=True) for one in heard]}
        return Outcome(values, detail, turn_marks(record, *_labels(heard)), _as_heard(record.audio, noise))

    def _asked(self, case: Case, role: str, known: bool) -> str:
        """What pocketsphinx hears in a question that it is given whole and without noise; once for all systems."""
        key = f"{case.name} {role}"
        if key not in self._transcripts:
            recognizer = question_recognizer() if known else general_recognizer()
            self._transcripts[key] = recognizer.transcribe(case.audio[role])
        return self._transcripts[key]


def _under(family: str) -> tuple[str, str]:
    """The family whose questions one asks, and the condition under which it does; "" for none."""
    for prefix, (asked, _) in UNDER.items():
        if family.startswith(prefix) and family.removeprefix(prefix) in CONDITIONS:
            return asked, family.removeprefix(prefix)
    return family, ""


def _judge(record: Record, index: int, turn: Turn, other: Turn | None, recognizer: Recognizer) -> Heard:
    span = record.turn(index)
    said, transcript = record.text(span), recognizer.transcribe(record.reply(span))
    true = heard_truly(turn.reply, recognizer)
    sound = record.reply_sound(index)
    asked = record.sounds[index][1] if turn.ends is None else record.says[index][0] + turn.ends
    return Heard(
        user=turn.user,
        reply=turn.reply,
        heard=record.heard(span),
        said=said,
        transcript=transcript,
        true_transcript=true,
        right=turn.right(said),
        right_spoken=turn.right(transcript),
        right_true=turn.right(true),
        by_chance=None if other is None else other.right(said),
        latency=None if sound is None else sound[0] - asked,
        compute=None if sound is None else record.lag(sound[0]),
        waits=waits(record, index),
    )


def _values(turns: Sequence[Turn], heard: Sequence[Heard]) -> dict[str, Value]:
    """A case's numbers. Of a dialogue: sums over its turns, and all of its times."""
    chance = [one.by_chance for one in heard if one.by_chance is not None]
    leaning = [one.right for turn, one in zip(turns, heard, strict=True) if turn.leans]
    values: dict[str, Value] = {
        "turns": len(turns),
        "right": sum(one.right for one in heard),
        "right_spoken": sum(one.right_spoken for one in heard),
        "right_true": sum(one.right_true for one in heard),
        "by_chance": sum(chance) if chance else None,
        "replied": sum(one.latency is not None for one in heard),
        "leaning": len(leaning),
        "right_leaning": sum(leaning),
        "latency": [one.latency for one in heard if one.latency is not None] or None,
        "compute": [one.compute for one in heard if one.compute is not None] or None,
    }
    for part in PARTS:
        times = [one.waits[part] for one in heard if part in one.waits]
        values[f"wait_{part}"] = float(np.mean(times)) if times else None
    values |= _wer("heard", [(one.user, one.heard) for one in heard])
    values |= _wer("spoken", [(one.said, one.transcript) for one in heard])
    return values | _wer("true", [(one.reply, one.true_transcript) for one in heard])


def _wer(name: str, pairs: Sequence[tuple[str, str]]) -> dict[str, Value]:
    """Words, and errors in them, of (right, heard) texts, however they are written; where nothing is right, none."""
    words = [(normalize(right), normalize(heard)) for right, heard in pairs]
    told = [pair for pair in words if pair[0]]
    found = word_errors(*zip(*told, strict=True)) if told else None
    errors = found.substitutions + found.deletions + found.insertions if found else 0
    return {f"{name}_words": found.words if found else 0, f"{name}_errors": errors}


def _labels(heard: Sequence[Heard]) -> tuple[list[str], list[str]]:
    return [one.user for one in heard], [one.said or one.transcript for one in heard]


def _as_heard(audio: Pcm, noise: Pcm | None) -> Pcm:
    """Both channels, the user's with the noise that was there all the time."""
    if noise is None:
        return audio
    return np.stack((np.clip(audio[0] + np.resize(noise, audio.shape[1]), -1, 1), audio[1]))


def _another(rng: np.random.Generator, split: Split, exchanges: Sequence[Exchange]) -> Exchange:
    """A question to which none of these replies is right."""
    while True:
        other = domain.sample(rng, split, held="none")
        if other.reply and not any(domain.judge(exchange.reply, other) for exchange in exchanges):
            return other
