"""The duplex suite: does a system take its turn, in time and only then, and does it leave the floor when it should?

Every figure is measured on the two channels of a conversation that was really held; what a system tells of its turns
is not asked. Times are signed and nothing is clipped:

    response rate       turns after whose last sound the system is heard (0.1 s in all, until the user speaks again)
    latency             the reply's first sound minus the user's last, of one turn; negative where it began too early;
                        after a question with a pause it is told apart, as a reply in the pause is seconds early
    compute             what the machine adds to it in a live conversation (`Record.lag`); the rest is algorithmic
    false takeover      the system is heard between the beginning of a pause in a turn and the end of that turn
    tried               interruptions and murmurs for which the system's reply lasted long enough; of the others (it
                        never spoke, say) nothing is known, and they are counted nowhere else
    yield rate          the reply falls silent for 0.4 s after it was spoken over, 0.2 s or more before its own end: a
                        late interruption begins 1.6 s before that end, so what yields to it after more than 1.4 s
                        counts as not yielding
    yield latency       from the interruption's first sound to the reply's last, where it yielded
    recovery            the reply after an interruption answers it, by a recogniser's transcript
    false yield         the reply falls silent in this way after a backchannel
    false start         the system is heard during or after what is not meant for it: side talk, noise, silence
    overlap, gap        seconds a minute in which both speak, or the floor changes hands in silence (`turns.floor`)

The kinds of scene follow Full-Duplex-Bench (Lin et al. 2025, v1 and v1.5); its own definitions are in `fdb`.

Your own cases: audio "question", with facts {"pause": [1.2, 2.2]} where the user pauses in it (seconds of that file);
beside it audio "over" for what is said over the reply, with facts {"over": {"reply": "at noon"}} where that is to be
answered and not a murmur, and {"at": 0.5} for when (0 soon after the reply's beginning, 1 soon before its end); or
audio "aside" for what is said to somebody else. Audio "sound" alone is not meant for the system either. A soak: audio
"question 0", "question 1" … with facts {"minutes": 60, "pool": [{"reply": "at noon"}, …]}, a turn for each.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from duologue.errors import DataError
from duologue.eval.converse import Record, Say, converse
from duologue.eval.metrics import RATE, Pcm
from duologue.eval.recognize import general_recognizer
from duologue.eval.suites.alternate import KEPT_SECONDS, alternate, pool
from duologue.eval.suites.base import Case, Mark, Measure, Outcome, Value
from duologue.eval.suites.marks import speech_marks
from duologue.eval.suites.measures import percent, seconds
from duologue.eval.suites.scene_suite import SceneSuite
from duologue.eval.suites.scenes import FAMILIES, pausing
from duologue.eval.suites.turn import turn_of
from duologue.eval.truth import heard_truly
from duologue.eval.turns import floor, heard_in
from duologue.systems.base import System
from duologue.systems.oracle import Cue, expect

EARLY = 0.3  # seconds into the reply
ENDING = 1.6  # seconds before a reply's own end, so that stopping can be told from ending
LONGEST = 8.0  # seconds after which a reply is long enough to be spoken over late
HEARD = 10 * RATE  # samples of a reply that are transcribed; no right one is longer
MARGIN = 0.2  # seconds by which the same reply may end sooner by itself


def _rate(name: str, title: str, **more: Any) -> Measure:
    return Measure(name=name, title=title, kind="ratio", over="minutes", unit="s/min", digits=1, **more)


class DuplexSuite(SceneSuite):
    """Scripted scenes in two channels; pauses of other lengths by their names: "pause-0.7"."""

    name = "duplex"
    long = "soak"
    title = "Full duplex: taking, holding and leaving the floor"
    default_cases = 12
    principal = (
        "response_rate",
        "latency_p50",
        "false_takeover",
        "yield_rate",
        "yield_latency_p50",
        "recovery",
        "false_yield",
        "false_start",
    )
    measures: ClassVar[tuple[Measure, ...]] = (
        percent("response_rate", "responds", of="responded", over="turns"),
        seconds("latency_p50", "latency p50", "median", "latency", better="zero"),
        seconds("latency_p90", "latency p90", "p90", "latency", better="zero"),
        seconds("paused_latency_p50", "latency p50, with a pause", "median", "paused_latency", better="zero"),
        seconds("compute_p50", "added by computing, p50", "median", "compute", unit="ms", scale=1000, digits=0),
        seconds("compute_p90", "added by computing, p90", "p90", "compute", unit="ms", scale=1000, digits=0),
        percent("early", "too early", over="turns", better="lower"),
        percent("false_takeover", "takes over in the pause", better="lower"),
        percent("tried", "could be spoken over", better=None),
        percent("yield_rate", "yields, where tried", of="yielded"),
        seconds("yield_latency_p50", "yield latency p50", "median", "yield_latency"),
        seconds("yield_latency_p90", "yield latency p90", "p90", "yield_latency"),
        percent("recovery", "answers what interrupted it", of="recovered", recognised=True, beside="recovery_true"),
        percent("recovery_true", "true speech, same judge", of="recovered_true", recognised=True, better=None),
        seconds("recovery_latency_p50", "latency of that, p50", "median", "recovery_latency", better="zero"),
        percent("false_yield", "yields to a murmur", better="lower"),
        percent("false_start", "speaks when not spoken to", of="started", better="lower"),
        _rate("overlap", "overlap", of="overlap_s", better="lower"),
        _rate("gap", "gap", of="gap_s", better=None),
        seconds("soak_latency_p50", "soak latency p50", "mean", "soak_p50", better="zero"),
        seconds("soak_latency_p90", "soak latency p90", "mean", "soak_p90", better="zero"),
    )

    def families(self) -> dict[str, str]:
        return FAMILIES

    def variant(self, family: str) -> str | None:
        return pausing(family) or super().variant(family)

    def draw(self, family: str, index: int) -> Case:
        minutes = self.minutes(family)
        if minutes is None:
            return self.scenes.draw(family, index)
        drawn = self.scenes.draw(self.long, index)
        return Case(family, f"{family}/{index}", drawn.audio, {**drawn.facts, "minutes": minutes})

    def hold(self, case: Case, system: System, seed: int = 0) -> Outcome:
        if "pool" in case.facts:
            return _soak(case, system, seed)
        if "aside" in case.audio or "sound" in case.audio:
            return _left_alone(case, system, seed)
        if "question" not in case.audio:
            raise DataError(f"case {case.name} has no audio called question, over, aside or sound")
        return self._spoken_over(case, system, seed) if "over" in case.audio else _asked(case, system, seed)

    def _spoken_over(self, case: Case, system: System, seed: int) -> Outcome:
        """The question alone first, to learn how long the reply lasts; then again, with the user speaking over it."""
        first, second = turn_of(case), turn_of(case, "over") if "over" in case.facts else None
        question, over = case.audio["question"], case.audio["over"]
        expect(system, [first.cue(question)])
        alone = converse(system, [Say(question)], seed)
        length = _length(alone)
        if length is None:
            detail = {**case.facts, "untried": "no reply that could be spoken over"}
            return Outcome({"tried": False}, detail, _marks(alone, ["question"]), alone.audio)
        delay = EARLY + (length - EARLY - ENDING) * float(case.facts.get("at", 0.0))
        expect(system, [first.cue(question), Cue(over, "") if second is None else second.cue(over, yields=True)])
        record = converse(system, [Say(question), Say(over, "reply_starts", delay)], seed)
        begin, finish = record.sounds[1]
        marks = _marks(record, ["question", "interruption" if second else "murmur"])
        detail = {**case.facts, "reply_s": round(length, 2), "delay_s": round(delay, 2)}
        if not heard_in(record, (begin - 0.3, begin + 0.1)):
            untried = {**detail, "untried": "the reply was over too soon"}
            return Outcome({"tried": False}, untried, marks, record.audio)
        # The reply began `delay` before the user's file, which need not begin with a sound.
        stop = record.stopped(begin, record.says[1][0] - delay + length - MARGIN)
        values: dict[str, Value] = {"tried": True, **_floor(record.audio)}
        if stop is not None:
            marks.append(Mark(channel="system", start=stop, end=stop + 0.05, label="yields"))
        if second is None:
            return Outcome({**values, "false_yield": stop is not None}, detail, marks, record.audio)
        values |= {"yielded": stop is not None, "yield_latency": None if stop is None else stop - begin}
        if not second.key.startswith("stop"):
            answered = (finish if stop is None else stop + 0.01, record.turn(1)[1])
            sound = None if stop is None else record.sound(answered)
            recognizer = self.recognizer if second.key else general_recognizer()
            transcript = recognizer.transcribe(record.reply(answered)[:HEARD])
            values |= {
                "recovered": second.right(transcript),
                "recovered_true": second.right(heard_truly(second.reply, recognizer)),
                "recovery_latency": None if sound is None else sound[0] - finish,
            }
            detail |= {"said": record.text(answered), "transcript": transcript}
        return Outcome(values, detail, marks, record.audio)


def _asked(case: Case, system: System, seed: int) -> Outcome:
    """A question, perhaps with a pause in it."""
    question = case.audio["question"]
    expect(system, [turn_of(case).cue(question)])
    record = converse(system, [Say(question)], seed)
    marks = _marks(record, ["question"])
    values = {**_response(record), **_floor(record.audio)}
    if "pause" in case.facts:
        start, end = (record.says[0][0] + at for at in case.facts["pause"])
        values["false_takeover"] = heard_in(record, (start, record.sounds[0][1]))
        values["paused_latency"] = values.pop("latency")
        values.pop("early")  # which is the same
        marks.append(Mark(channel="user", start=start, end=end, label="pause"))
    return Outcome(values, {**case.facts, "said": record.text(record.turn(0))}, marks, record.audio)


def _left_alone(case: Case, system: System, seed: int) -> Outcome:
    """What is not meant for the system, after a question that is, where there is one."""
    script, cues, labels = [], [], []
    if "question" in case.audio:
        script.append(Say(case.audio["question"]))
        cues.append(turn_of(case).cue(case.audio["question"]))
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
        "soak_p50": float(np.percentile(found, 50)) if found else None,
        "soak_p90": float(np.percentile(found, 90)) if found else None,
        "compute": float(np.median(lags)) if lags else None,
        "overlap_s": overlap,
        "gap_s": gap,
        "minutes": length,
    }
    rounded = [None if latency is None else round(latency, 3) for latency in latencies]
    detail = {"voice": case.facts.get("voice"), "minutes": minutes, "latencies": rounded}
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


def _marks(record: Record, labels: list[str]) -> list[Mark]:
    """What the user said and when the system spoke, for the time line."""
    said = [
        Mark(channel="user", start=start, end=end, label=label)
        for (start, end), label in zip(record.says, labels, strict=True)
    ]
    return [*said, *speech_marks(record)]
