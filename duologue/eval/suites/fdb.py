"""The suite of Full-Duplex-Bench: its tasks by its definitions, less their defects (both in `fullduplexbench`).

The user's side of a sample is fixed and is played to a system whatever it answers. `--suite fdb=FOLDER` takes the
samples of a folder in the benchmark's layout, your own or the published ones; without one, scenes of `scenes` are
drawn: a question held in its middle, a complete question, a tale to listen to, a question that breaks into a reply.

    pause_tor           the turn is taken before the user's last sound; pause_tor_file: in the whole file, as published
    turn_tor            the turn is taken; turn_latency: from the annotated end of the user's turn to the first word
    backchannel_tor     the turn is taken while the user tells; backchannels a second, and their distance from people's
    interruption_tor    something is said after the interruption; its latency from that end, once it had fallen silent
    true_tor            the turn is taken by a synthesiser's speech of the right reply, where it is known: what the
                        recogniser, and a reply of so few words, cost any system
    stopped             the system, speaking as the interruption began, fell silent for 0.4 s; stop_latency: after what
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from duologue.errors import DataError
from duologue.eval.converse import Record, play
from duologue.eval.fullduplexbench import (
    BenchmarkFolder,
    Task,
    divergence,
    latency,
    murmurs,
    takes_turn,
    task_of,
    user_end,
    write_sample,
)
from duologue.eval.metrics import RATE, Pcm
from duologue.eval.recognize import TimedWord, general_recognizer
from duologue.eval.suites.base import Case, Mark, Measure, Outcome, Value
from duologue.eval.suites.marks import speech_marks
from duologue.eval.suites.measures import mean, percent, seconds
from duologue.eval.suites.scene_suite import SceneSuite
from duologue.eval.suites.scenes import ASIDES, PAUSES
from duologue.eval.truth import timed_truly
from duologue.eval.turns import heard_in, ipus
from duologue.systems.base import System
from duologue.systems.oracle import Cue, expect

LEAD = 0.5  # seconds before the user's first word
TAIL: dict[Task, float] = {"pause_handling": 0.5, "turn_taking": 6.0, "backchannel": 0.5, "user_interruption": 8.0}
BREAKS_IN = 1.5  # seconds after a question at which the next one breaks in
TALE, BREATH = 4, 0.4  # sentences of a tale, and the seconds between them


def _tor(name: str, title: str, better: Any = "higher") -> Measure:
    return percent(name, title, better=better, recognised=True, beside="true_tor")


def _time(name: str, title: str) -> Measure:
    return seconds(name, title, "mean", better="zero", recognised=True, beside="true_tor")


class FullDuplexBenchSuite(SceneSuite):
    """Samples with a fixed user, by the benchmark's definitions."""

    name = "fdb"
    title = "Full-Duplex-Bench: its tasks by its definitions"
    default_cases = 6
    measures: ClassVar[tuple[Measure, ...]] = (
        _tor("pause_tor", "pause TOR", "lower"),
        _tor("pause_tor_file", "pause TOR, whole file", "lower"),
        _tor("turn_tor", "turn TOR"),
        _time("turn_latency", "turn latency"),
        _tor("backchannel_tor", "backchannel TOR", "lower"),
        mean("backchannels", "backchannels", 3, None, unit="/s", recognised=True, beside="true_tor"),
        mean("jsd", "JSD", 3, "lower", recognised=True, beside="true_tor"),
        _tor("interruption_tor", "interruption TOR"),
        percent("true_tor", "TOR of true speech of the right reply", better=None, recognised=True),
        _time("interruption_latency", "interruption latency"),
        percent("speaking", "speaks when broken into", better=None),
        percent("stopped", "stops, where it speaks"),
        seconds("stop_latency", "stop latency", "mean"),
    )

    @classmethod
    def cases_in(cls, folder: Path) -> BenchmarkFolder:
        return BenchmarkFolder(folder)

    @classmethod
    def write_cases(cls, cases: Iterable[Case], folder: Path) -> int:
        count = 0
        for case in cases:
            write_sample(folder, case)
            count += 1
        return count

    def families(self) -> dict[str, str]:
        return {
            "synthetic_pause_handling": "a question held in its middle: the turn is not taken",
            "synthetic_turn_taking": "a complete question: the turn is taken",
            "synthetic_backchannel": "the user tells at length: the turn is not taken, murmurs are welcome",
            "synthetic_user_interruption": "a question breaks into the reply: it is answered",
        }

    def draw(self, family: str, index: int) -> Case:
        if family not in self.families():
            raise DataError(f"no family {family!r}; there are {', '.join(self.families())}")
        task = task_of(family)
        if task == "backchannel":
            return self._tale(family, index)
        scene = {
            "pause_handling": f"pause-{PAUSES[index % len(PAUSES)]:g}",
            "turn_taking": "turn",
            "user_interruption": "barge-in-middle",
        }[task]
        drawn = self.scenes.draw(scene, index)
        sounds, replies = [drawn.audio["question"]], [drawn.facts["turn"]["reply"]]
        if task == "user_interruption":
            sounds.append(drawn.audio["over"])
            replies.append(drawn.facts["over"]["reply"])
        pcm, starts = _line(sounds, BREAKS_IN, TAIL[task])
        spans = [[round(at, 3), round(at + len(sound) / RATE, 3)] for at, sound in zip(starts, sounds, strict=True)]
        facts = {"task": task, "voice": drawn.facts["voice"], "spans": spans, "replies": replies}
        audio = {"input": pcm}
        if task == "pause_handling":
            held = [round(LEAD + at, 3) for at in drawn.facts["pause"]]
            facts["annotation"] = [{"text": "[PAUSE]", "timestamp": held}]
        elif task == "turn_taking":
            end = round(user_end(pcm), 3)
            facts["annotation"] = [{"text": "[TURN-TAKING]", "timestamp": [end, end]}]
        else:
            texts = {"context": drawn.facts["turn"]["user"], "interrupt": drawn.facts["over"]["user"]}
            facts["annotation"] = [{**texts, "timestamp": spans[1]}]
            audio |= {"context": sounds[0], "interrupt": sounds[1]}
        return Case(family, f"{family}/{index}", audio, facts)

    def _tale(self, family: str, index: int) -> Case:
        from duologue.data.synthesize import speak

        rng = np.random.default_rng([zlib.crc32(f"fdb/{family}".encode()), index])
        voice = self.scenes.voice(rng)
        lines = ASIDES["test" if self.split == "test" else "dev"]
        told = [speak(lines[int(place)], voice).pcm for place in rng.choice(len(lines), TALE, replace=False)]
        pcm, _ = _line(told, BREATH, TAIL["backchannel"])
        span = [LEAD, round(len(pcm) / RATE - TAIL["backchannel"], 3)]
        facts = {"task": "backchannel", "voice": voice.key(), "spans": [span], "replies": [""]}
        return Case(family, f"{family}/{index}", {"input": pcm}, facts)

    def hold(self, case: Case, system: System, seed: int = 0) -> Outcome:
        pcm = case.audio["input"]
        spans, replies = case.facts.get("spans", []), case.facts.get("replies", [])
        parts = [pcm[round(start * RATE) : round(end * RATE)] for start, end in spans]
        told = zip(parts, replies, strict=True)
        expect(system, [Cue(part, reply, yields=place > 0) for place, (part, reply) in enumerate(told)])
        record = play(system, pcm, seed)
        recognizer = self.recognizer if spans else general_recognizer()
        words = recognizer.transcribe_timed(record.audio[1])
        values = judged(case, record, words)
        if replies and replies[-1]:
            values["true_tor"] = takes_turn(timed_truly(replies[-1], recognizer))
        detail = {**case.facts, "transcript": " ".join(word for word, _, _ in words), "words": words}
        return Outcome(values, detail, _marks(case, record), record.audio)


def judged(case: Case, record: Record, words: list[TimedWord]) -> dict[str, Value]:
    """A sample's figures, of the system's channel and the words in it."""
    marked = [one["timestamp"] for one in case.facts.get("annotation", [])]
    match case.facts["task"]:
        case "pause_handling":
            end = user_end(record.audio[0])
            early = [word for word in words if word[1] < end]
            return {"pause_tor": takes_turn(early), "pause_tor_file": takes_turn(words)}
        case "turn_taking":
            return {"turn_tor": takes_turn(words), "turn_latency": latency(words, marked[0][0])}
        case "backchannel":
            taken, found = murmurs(ipus(record.audio[1]), words)
            truth = case.facts.get("truth")
            return {
                "backchannel_tor": taken,
                "backchannels": len(found) / record.end,
                "jsd": None if truth is None else divergence(found, truth, record.end),
            }
    begin, end = marked[0]
    speaking = heard_in(record, (begin - 0.3, begin + 0.1))
    stop = record.stopped(begin, record.end) if speaking else None
    after = [word for word in words if word[1] >= (end if stop is None else stop)]
    still = speaking and stop is None
    return {
        "interruption_tor": takes_turn(after),
        "interruption_latency": None if still else latency(after, end),
        "speaking": speaking,
        "stopped": stop is not None if speaking else None,
        "stop_latency": None if stop is None else stop - begin,
    }


def _line(sounds: list[Pcm], between: float, tail: float) -> tuple[Pcm, list[float]]:
    """Sounds one after the other, and the seconds at which each begins."""
    parts, starts, at = [np.zeros(round(LEAD * RATE), np.float32)], [], LEAD
    for number, sound in enumerate(sounds):
        last = number == len(sounds) - 1
        silence = np.zeros(round((tail if last else between) * RATE), np.float32)
        starts.append(at)
        parts += [sound, silence]
        at += (len(sound) + len(silence)) / RATE
    return np.concatenate(parts), starts


def _marks(case: Case, record: Record) -> list[Mark]:
    label = case.facts["task"].replace("_", " ")
    spans = case.facts.get("spans") or [record.sounds[0]]
    marks = [Mark(channel="user", start=start, end=end, label=label) for start, end in spans]
    return [*marks, *speech_marks(record)]
