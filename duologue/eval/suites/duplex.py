"""The duplex suite: does a system take its turn, in time and only then, and does it leave the floor when it should?

Every figure is measured on the two channels of a conversation that was really held; what a system tells of its turns
is not asked. Times are signed and nothing is clipped or censored:

    response rate       turns after whose last sound the system is heard (0.1 s in all, until the user speaks again)
    latency             the reply's first sound minus the user's last, of one turn; negative where it began too early
    compute             what the machine adds to it in a live conversation (`Record.lag`); the rest is algorithmic
    false takeover      the system is heard between the beginning of a pause in a turn and the end of that turn
    yield rate          the reply falls silent for 0.4 s after it was spoken over, before its own end would have come
    yield latency       from the interruption's first sound to the reply's last, where it yielded
    recovery            the reply after an interruption answers it, by a recogniser's transcript
    false yield         the reply falls silent in this way after a backchannel
    false start         the system is heard during or after what is not meant for it: side talk, noise, silence
    overlap, gap        seconds a minute in which both speak, or the floor changes hands in silence (`turns.floor`)

The kinds of scene follow Full-Duplex-Bench (Lin et al. 2025, v1 and v1.5); its own definitions are in
`fullduplexbench`, which also runs on a folder of your own recordings.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from duologue.data import domain
from duologue.data.splits import Split
from duologue.eval.converse import Record, Say, Span, converse
from duologue.eval.metrics import RATE, Pcm
from duologue.eval.recognize import Recognizer
from duologue.eval.suites.alternate import alternate, pool
from duologue.eval.suites.base import Case, Mark, Measure, Outcome, Suite, Value
from duologue.eval.suites.scenes import FAMILIES, Scenes, exchange_of
from duologue.eval.turns import floor, heard_in, ipus
from duologue.systems.base import System
from duologue.systems.oracle import Cue, expect

SOAK_MINUTES = 2.0
KEPT_SECONDS = 60.0  # of a soak, to be listened to
EARLY = 0.3  # seconds into the reply
ENDING = 1.0  # seconds before a reply's own end, so that stopping can be told from ending
LONGEST = 8.0  # seconds after which a reply is long enough to be spoken over late
HEARD = 10 * RATE  # samples of a reply that are transcribed; no right one is longer
MARGIN = 0.2  # seconds by which the same reply may end sooner by itself


class DuplexSuite(Suite):
    """Scripted scenes in two channels; `soak_minutes` is how long the one conversation of the soak lasts."""

    name = "duplex"
    title = "Full duplex: taking, holding and leaving the floor"
    default_cases = 6
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure(
            name="response_rate", title="responds", kind="share", of="responded", over="turns", unit="%", scale=100
        ),
        Measure(
            name="latency_p50", title="latency p50", kind="median", of="latency", unit="s", digits=2, better="lower"
        ),
        Measure(name="latency_p90", title="latency p90", kind="p90", of="latency", unit="s", digits=2, better="lower"),
        Measure(
            name="compute_p50",
            title="of it compute p50",
            kind="median",
            of="compute",
            unit="ms",
            scale=1000,
            better="lower",
        ),
        Measure(
            name="early", title="too early", kind="share", of="early", over="turns", unit="%", scale=100, better="lower"
        ),
        Measure(
            name="false_takeover", title="takes over in the pause", kind="share", unit="%", scale=100, better="lower"
        ),
        Measure(name="yield_rate", title="yields", kind="share", of="yielded", unit="%", scale=100),
        Measure(
            name="yield_latency_p50",
            title="yield latency p50",
            kind="median",
            of="yield_latency",
            unit="s",
            digits=2,
            better="lower",
        ),
        Measure(
            name="yield_latency_p90",
            title="yield latency p90",
            kind="p90",
            of="yield_latency",
            unit="s",
            digits=2,
            better="lower",
        ),
        Measure(
            name="recovery",
            title="answers what interrupted it",
            kind="share",
            of="recovered",
            unit="%",
            scale=100,
            recognised=True,
        ),
        Measure(name="false_yield", title="yields to a murmur", kind="share", unit="%", scale=100, better="lower"),
        Measure(
            name="false_start",
            title="speaks when not spoken to",
            kind="share",
            of="started",
            unit="%",
            scale=100,
            better="lower",
        ),
        Measure(
            name="overlap",
            title="overlap",
            kind="ratio",
            of="overlap_s",
            over="minutes",
            unit="s/min",
            digits=1,
            better="lower",
        ),
        Measure(name="gap", title="gap", kind="ratio", of="gap_s", over="minutes", unit="s/min", digits=1, better=None),
        Measure(
            name="soak_latency_p50",
            title="soak latency p50",
            kind="mean",
            of="latency_p50",
            unit="s",
            digits=2,
            better="lower",
        ),
        Measure(
            name="soak_latency_p90",
            title="soak latency p90",
            kind="mean",
            of="latency_p90",
            unit="s",
            digits=2,
            better="lower",
        ),
    )

    def __init__(self, split: Split = "dev", speech: Path | None = None, soak_minutes: float = SOAK_MINUTES) -> None:
        super().__init__(split, speech)
        self.soak_minutes = soak_minutes

    @cached_property
    def scenes(self) -> Scenes:
        """What draws the cases."""
        return Scenes(self.split, self.speech)

    @cached_property
    def recognizer(self) -> Recognizer:
        """What hears the words of a reply."""
        from duologue.eval.answers import domain_recognizer

        return domain_recognizer()

    def families(self) -> dict[str, str]:
        return FAMILIES

    def draw(self, family: str, index: int) -> Case:
        case = self.scenes.draw(family, index)
        if family == "soak":
            case.facts["minutes"] = self.soak_minutes
        return case

    def cases_at_most(self, family: str) -> int | None:
        return 1 if family == "soak" else None

    def hold(self, case: Case, system: System, seed: int = 0) -> Outcome:
        match case.family.partition("-")[0]:
            case "turn" | "pause":
                return self._asked(case, system, seed)
            case "barge" | "backchannel":
                return self._spoken_over(case, system, seed)
            case "soak":
                return _soak(case, system, seed)
            case _:
                return _left_alone(case, system, seed)

    def _asked(self, case: Case, system: System, seed: int) -> Outcome:
        exchange, question = exchange_of(case.facts["exchange"]), case.audio["question"]
        expect(system, [Cue(question, exchange.reply)])
        record = converse(system, [Say(question)], seed)
        marks = _marks(record, ["question"])
        values = {**_response(record), **_floor(record.audio)}
        if "pause" in case.facts:
            start, end = (record.says[0][0] + at for at in case.facts["pause"])
            values["false_takeover"] = heard_in(record, (start, record.sounds[0][1]))
            marks.append(Mark(channel="user", start=start, end=end, label="pause"))
        detail = {**case.facts, "said": record.text(record.turn(0))}
        return Outcome(values, detail, marks, record.audio)

    def _spoken_over(self, case: Case, system: System, seed: int) -> Outcome:
        """The question alone first, to learn how long the reply lasts; then again, with the user speaking over it."""
        exchange, question, over = exchange_of(case.facts["exchange"]), case.audio["question"], case.audio["over"]
        expect(system, [Cue(question, exchange.reply)])
        alone = converse(system, [Say(question)], seed)
        length = _length(alone)
        if length is None:
            return Outcome(
                {}, {**case.facts, "untried": "no reply to speak over"}, _marks(alone, ["question"]), alone.audio
            )
        barge = case.family != "backchannel"
        reply = case.facts["over"]["reply"] if barge else ""
        expect(system, [Cue(question, exchange.reply), Cue(over, reply, yields=barge)])
        delay = _delay(length, case.facts)
        record = converse(system, [Say(question), Say(over, "reply_starts", delay)], seed)
        begin, finish = record.sounds[1]
        marks = _marks(record, ["question", "interruption" if barge else "murmur"])
        detail = {**case.facts, "reply_s": round(length, 2), "delay_s": round(delay, 2)}
        if not heard_in(record, (begin - 0.3, begin + 0.1)):
            return Outcome({}, {**detail, "untried": "the reply was over too soon"}, marks, record.audio)
        stop = record.stopped(begin, begin - delay + length - MARGIN)
        values: dict[str, Value] = _floor(record.audio)
        if stop is not None:
            marks.append(Mark(channel="system", start=stop, end=stop + 0.05, label="yields"))
        if not barge:
            return Outcome({**values, "false_yield": stop is not None}, detail, marks, record.audio)
        answered = (finish if stop is None else stop + 0.01, record.turn(1)[1])
        sound = None if stop is None else record.sound(answered)
        question_over = exchange_of(case.facts["over"])
        asked = not question_over.key.startswith("stop")
        transcript = self.recognizer.transcribe(record.reply(answered)[:HEARD]) if asked else ""
        values |= {
            "yielded": stop is not None,
            "yield_latency": None if stop is None else stop - begin,
            "recovered": domain.judge(transcript, question_over) if asked else None,
            "recovery_latency": None if sound is None or not asked else sound[0] - finish,
        }
        detail |= {"said": record.text(answered), "transcript": transcript}
        return Outcome(values, detail, marks, record.audio)


def _left_alone(case: Case, system: System, seed: int) -> Outcome:
    """What is not meant for the system, after a question that is, where there is one."""
    script, cues, labels = [], [], []
    if "exchange" in case.facts:
        exchange = exchange_of(case.facts["exchange"])
        script.append(Say(case.audio["question"]))
        cues.append(Cue(case.audio["question"], exchange.reply))
        labels.append("question")
    sound = case.audio["aside"] if "aside" in case.audio else case.audio["sound"]
    expect(system, [*cues, Cue(sound, "")])
    record = converse(system, [*script, Say(sound, delay=1.0)], seed)
    values: dict[str, Value] = {"started": heard_in(record, record.turn(len(script)))}
    return Outcome(values, dict(case.facts), _marks(record, [*labels, case.family]), record.audio)


def _soak(case: Case, system: System, seed: int) -> Outcome:
    """One conversation of many turns, of which only the beginning is kept as sound."""
    minutes = float(case.facts["minutes"])
    latencies: list[float | None] = []
    lags: list[float] = []
    overlap = gap = length = 0.0
    responded = early = 0
    kept: list[Pcm] = []
    marks: list[Mark] = []
    for _, record in alternate(system, pool(case), minutes, seed):
        if record.start < KEPT_SECONDS:
            kept.append(record.audio)
            marks += _marks(record, ["question"])
        values, shared = _response(record), floor(record.audio)
        latency, lag = values["latency"], values["compute"]
        responded += bool(values["responded"])
        early += bool(values["early"])
        latencies.append(latency if isinstance(latency, float) else None)
        lags += [lag] if isinstance(lag, float) else []
        overlap, gap, length = overlap + shared.overlap, gap + shared.gap, length + shared.minutes
    found = [latency for latency in latencies if latency is not None]
    whole: dict[str, Value] = {
        "turns": len(latencies),
        "responded": responded,
        "early": early,
        "latency_p50": float(np.percentile(found, 50)) if found else None,
        "latency_p90": float(np.percentile(found, 90)) if found else None,
        "compute": float(np.median(lags)) if lags else None,
        "overlap_s": overlap,
        "gap_s": gap,
        "minutes": length,
    }
    rounded = [None if latency is None else round(latency, 3) for latency in latencies]
    detail = {"voice": case.facts["voice"], "minutes": minutes, "latencies": rounded}
    return Outcome(whole, detail, marks, np.concatenate(kept, axis=1))


def _response(record: Record) -> dict[str, Value]:
    """Whether and when the one turn of a record was answered."""
    end, latency = record.sounds[0][1], record.latency(0)
    return {
        "turns": 1,
        "responded": heard_in(record, (end, record.turn(0)[1])),
        "latency": latency,
        "compute": None if latency is None else record.lag(end + latency),
        "early": latency is not None and latency < 0,
    }


def _floor(audio: Pcm) -> dict[str, Value]:
    shared = floor(audio)
    return {"overlap_s": shared.overlap, "gap_s": shared.gap, "minutes": shared.minutes}


def _length(alone: Record) -> float | None:
    """Seconds that the reply to a question lasts, once that is over; None where it cannot be spoken over fairly.

    That is where there is none, it is too short, or it has pauses of its own that look like stopping.
    """
    sound, end = alone.reply_sound(0), alone.sounds[0][1]
    if sound is None:
        return None
    onset = max(sound[0], end)
    length = min(sound[1] - onset, LONGEST)
    if length < EARLY + ENDING or alone.stopped(onset, onset + length - MARGIN) is not None:
        return None
    return length


def _delay(length: float, facts: dict[str, object]) -> float:
    """When in a reply of so many seconds the user speaks over it."""
    match facts.get("how"):
        case "early":
            return EARLY
        case "middle":
            return length / 2 if length / 2 < length - ENDING else EARLY
        case "late":
            return length - ENDING
    return EARLY + (length - EARLY - ENDING) * float(str(facts["part"]))


def _marks(record: Record, labels: list[str]) -> list[Mark]:
    """What the user said and when the system spoke, for the time line."""
    said = [
        Mark(channel="user", start=start, end=end, label=label)
        for (start, end), label in zip(record.says, labels, strict=True)
    ]
    spoken: list[Span] = [(record.start + start, record.start + end) for start, end in ipus(record.audio[1])]
    return [*said, *(Mark(channel="system", start=start, end=end, label="speaks") for start, end in spoken)]
