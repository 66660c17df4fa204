"""The answer suite: is the spoken reply to a spoken question right, in text and in sound, under which conditions?

Each family changes one thing: the voice, the wording, the operands, the turns before, or what lies between voice and
listener (`conditions`), the last for synthetic and for real speakers alike. Families under a condition ask the very
questions of "unseen-voices" and "real-words", in the same voices, so that what the condition costs is seen on pairs.

A reply is judged on the text stream and, through a recogniser that is not ours, on its sound. The same recogniser hears
true speech of the right reply (what it misses there is its own error), and the reply is judged as if it were to another
question (what is right then is chance).

Your own cases: audio "question" (a dialogue goes on with "question 2" …), and "noise" if it is to sound all the time;
facts {"turns": [{"reply": "in the kitchen", "user": "where is the lamp", "content": "kitchen"}]}, a turn for each
question, `content` the words that a right reply says (all of `reply` where it is not given).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from duologue.audio.vad import speech_bounds
from duologue.data import domain
from duologue.data.domain import Exchange
from duologue.data.splits import ASSISTANT, Split
from duologue.data.synthesize import speak
from duologue.data.voices import Voice
from duologue.errors import DataError
from duologue.eval.converse import Record, Say, converse
from duologue.eval.metrics import Pcm, word_errors
from duologue.eval.questions import FAMILIES, REAL, QuestionDrawer
from duologue.eval.recognize import GeneralRecognizer, Recognizer, domain_recognizer, normalize
from duologue.eval.suites.base import Case, Mark, Measure, Outcome, Suite, Value
from duologue.eval.suites.conditions import CONDITIONS, FAST_RATE, SLOW_RATE, SNR_DB, changed, noise_below, over
from duologue.systems.base import System
from duologue.systems.oracle import Cue, OracleSystem, expect

RATES = {"fast": FAST_RATE, "slow": SLOW_RATE}


def _share(name: str, title: str, over: str = "turns", **more: Any) -> Measure:
    return Measure(name=name, title=title, kind="share", over=over, unit="%", scale=100, **more)


def _errors(name: str, title: str, of: str, **more: Any) -> Measure:
    over = of.replace("errors", "words")
    return Measure(name=name, title=title, kind="ratio", of=of, over=over, unit="%", scale=100, better="lower", **more)


def _time(name: str, title: str, kind: Literal["median", "p90"], of: str, **more: Any) -> Measure:
    return Measure(name=name, title=title, kind=kind, of=of, better="lower", **more)


class Turn(BaseModel):
    """A question and the right reply to it; `ends` are seconds to the last sound of the dry voice in the question.

    The fields but the last are those of an `Exchange`; without a `key` the reply is judged by its `content` alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    reply: str
    user: str = ""
    content: str = ""
    category: str = "own"
    key: str = ""
    wording: str = ""
    leans: bool = False
    ends: float | None = None

    def right(self, said: str) -> bool:
        """Whether lower-case words answer the question; where nothing is to be said, whether nothing was."""
        if not self.reply:
            return not said
        if not self.key:
            return f" {normalize(self.content or self.reply)} " in f" {normalize(said)} "
        return domain.judge(said, Exchange(self.user, self.reply, self.category, self.key, self.wording, self.content))


_TURNS = TypeAdapter(list[Turn])


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


class AnswersSuite(Suite):
    """Spoken question to spoken answer."""

    name = "answers"
    title = "Answers: is the spoken reply right?"
    default_cases = 6
    groups = ("speakers", "category")
    measures: ClassVar[tuple[Measure, ...]] = (
        _share("right", "right in text"),
        _share("right_spoken", "right as spoken", recognised=True),
        _share("right_true", "true speech, same judge", recognised=True, better=None),
        _share("chance", "right for another question", of="by_chance", better=None),
        _share("replied", "replied"),
        _share("right_leaning", "right where it leans on the turn before", over="leaning"),
        _time("latency_p50", "latency p50", "median", "latency", unit="s", digits=2),
        _time("latency_p90", "latency p90", "p90", "latency", unit="s", digits=2),
        _time("compute_p50", "added by computing, p50", "median", "compute", unit="ms", scale=1000),
        _errors("wer_heard", "WER of what it heard", "heard_errors"),
        _errors("wer_spoken", "WER of its speech", "spoken_errors", recognised=True),
        _errors("wer_true", "WER of true speech", "true_errors", recognised=True),
    )  # fmt: skip

    @cached_property
    def drawer(self) -> QuestionDrawer:
        """What draws the questions."""
        return QuestionDrawer(self.split, self.speech)

    def families(self) -> dict[str, str]:
        known = {name: FAMILIES[name] for name in self.drawer.families()}
        known |= {name: f"unseen voices, {what}" for name, what in CONDITIONS.items()}
        if REAL in known:
            known |= {f"real-{name}": f"real people, {what}" for name, what in CONDITIONS.items()}
        return known

    def draw(self, family: str, index: int) -> Case:
        real, condition = family.startswith("real-"), family.removeprefix("real-")
        if condition not in CONDITIONS:
            condition, drawn = "", self.drawer.draw(family, index)
        elif condition in RATES and not real:
            condition, drawn = "", self.drawer.draw_paced(index, RATES[condition])
        else:
            drawn = self.drawer.draw(REAL if real else "unseen-voices", index)
        rng = np.random.default_rng([index, len(family)])
        recordings = self.drawer.recordings
        audio, turns = {}, []
        for role, exchange, dry in zip(_roles(len(drawn.speech)), drawn.exchanges, drawn.speech, strict=True):
            audio[role] = changed(dry, condition, rng, recordings.rooms if recordings else [])
            bounds = speech_bounds(dry)
            ends = None if bounds is None else round(bounds[1] * len(audio[role]) / len(dry), 3)
            turns.append(Turn(**_plain(exchange), leans=bool(exchange.history), ends=ends))
        if condition in SNR_DB:
            dry = drawn.speech[0]
            audio["noise"] = noise_below(dry, SNR_DB[condition], rng, recordings.noises if recordings else [])
        facts = {
            "voice": drawn.voice,
            "speakers": "real" if real or family == REAL else "synthetic",
            "category": drawn.exchanges[0].category if len(turns) == 1 else "dialogue",
            "turns": [turn.model_dump() for turn in turns],
            "other": Turn(**_plain(_another(rng, self.split, drawn.exchanges))).model_dump(),
        }
        return Case(family, f"{family}/{index}", audio, facts)

    def hold(self, case: Case, system: System, seed: int = 0) -> Outcome:
        turns = _turns(case)
        questions = [case.audio[role] for role in _roles(len(turns))]
        expect(system, [Cue(pcm, turn.reply) for pcm, turn in zip(questions, turns, strict=True)])
        noise = case.audio.get("noise")
        record = converse(over(system, noise), [Say(pcm) for pcm in questions], seed)
        other = Turn(**case.facts["other"]) if "other" in case.facts else None
        recognizer = domain_recognizer() if all(turn.key for turn in turns) else _general()
        heard = [_judge(record, index, turn, other, recognizer) for index, turn in enumerate(turns)]
        values = _values(turns, heard)
        if isinstance(system, OracleSystem):  # is told and hears nothing
            values |= {"heard_words": 0, "heard_errors": 0}
        values |= {name: case.facts.get(name) for name in self.groups}
        detail = {"voice": case.facts.get("voice"), "turns": [one.model_dump(exclude_none=True) for one in heard]}
        return Outcome(values, detail, _marks(record, heard), _as_heard(record.audio, noise))


def _judge(record: Record, index: int, turn: Turn, other: Turn | None, recognizer: Recognizer) -> Heard:
    span = record.turn(index)
    said, transcript = record.text(span), recognizer.transcribe(record.reply(span))
    true = recognizer.transcribe(_true_speech(turn.reply)) if turn.reply else ""
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
    )


def _values(turns: Sequence[Turn], heard: Sequence[Heard]) -> dict[str, Value]:
    """A case's numbers. Of a dialogue: sums over its turns, and medians of its times."""
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
        "latency": _median([one.latency for one in heard]),
        "compute": _median([one.compute for one in heard]),
    }
    for name, pairs in {
        "heard": [(one.user, one.heard) for one in heard if one.user],
        "spoken": [(one.said, one.transcript) for one in heard if one.said],
        "true": [(one.reply, one.true_transcript) for one in heard if one.reply],
    }.items():
        found = word_errors(*zip(*pairs, strict=True)) if pairs else None
        values[f"{name}_words"] = found.words if found else 0
        values[f"{name}_errors"] = found.substitutions + found.deletions + found.insertions if found else 0
    return values


def _median(times: Sequence[float | None]) -> float | None:
    found = [time for time in times if time is not None]
    return float(np.median(found)) if found else None


def _marks(record: Record, heard: Sequence[Heard]) -> list[Mark]:
    marks = []
    for index, one in enumerate(heard):
        start, end = record.sounds[index]
        marks.append(Mark(channel="user", start=start, end=end, label=one.user))
        sound = record.reply_sound(index)
        if sound is not None:
            marks.append(Mark(channel="system", start=sound[0], end=sound[1], label=one.said or one.transcript))
    return marks


def _as_heard(audio: Pcm, noise: Pcm | None) -> Pcm:
    """Both channels, the user's with the noise that was there all the time."""
    if noise is None:
        return audio
    return np.stack((np.clip(audio[0] + np.resize(noise, audio.shape[1]), -1, 1), audio[1]))


def _turns(case: Case) -> list[Turn]:
    try:
        turns = _TURNS.validate_python(case.facts.get("turns"))
    except ValidationError as error:
        where = ".".join(map(str, ("turns", *error.errors()[0]["loc"])))
        raise DataError(f"case {case.name}: facts.{where}: {error.errors()[0]['msg']}") from error
    missing = [role for role in _roles(len(turns)) if role not in case.audio]
    if missing or not turns:
        raise DataError(f"case {case.name} needs a turn and audio for each, but has no {', '.join(missing) or 'turn'}")
    return turns


def _roles(count: int) -> list[str]:
    return ["question", *(f"question {number}" for number in range(2, count + 1))][:count]


def _plain(exchange: Exchange) -> Mapping[str, str]:
    names = ("user", "reply", "category", "key", "wording", "content")
    return {name: getattr(exchange, name) for name in names}


def _another(rng: np.random.Generator, split: Split, exchanges: Sequence[Exchange]) -> Exchange:
    """A question to which none of these replies is right."""
    while True:
        other = domain.sample(rng, split, held="none")
        if other.reply and not any(domain.judge(exchange.reply, other) for exchange in exchanges):
            return other


@lru_cache(maxsize=1)
def _general() -> GeneralRecognizer:
    return GeneralRecognizer()


@lru_cache(maxsize=4096)
def _true_speech(reply: str) -> Pcm:
    """The right reply said by the synthesiser whose voice the assistant learned."""
    return speak(reply, Voice(engine="flite", name=ASSISTANT)).pcm
