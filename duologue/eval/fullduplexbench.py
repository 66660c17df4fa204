"""Full-Duplex-Bench (Lin et al. 2025, arXiv 2503.04721 and 2507.23159): its folders, in and out, and its definitions.

    duologue eval --suite fdb --export FOLDER                    writes scenes of ours in its layout, into FOLDER/fdb
    duologue eval box --suite fdb=FOLDER/fdb                     judges a system on a folder of that layout
    python -m duologue.eval.fullduplexbench FOLDER --system box  writes output.wav and output.json for its own scripts

    {task}/{ID}/input.wav       what the user says: candor_pause_handling, synthetic_user_interruption …
    {task}/{ID}/pause.json      [{"text": "[PAUSE]", "timestamp": [start, end]}]                     seconds
    {task}/{ID}/turn_taking.json  [{"text": "[TURN-TAKING]", "timestamp": [end of the turn, …]}]
    {task}/{ID}/interrupt.json  [{"context": …, "interrupt": …, "timestamp": [start, end]}]
    {task}/{ID}/output.wav      what the system says, on the same time line; output.json its words
    icc_gt_distribution.json    {ID: [share of people's backchannels in each window]}, where it can be had

What its scripts do otherwise than one would expect, and what is done here instead:

- A latency below 0 counts as 0, so that a model that is never silent has the best: here latencies keep their sign.
- The mean latency divides by zero where no one takes a turn: here there is none then.
- The takeover rate (TOR) of pauses counts words of the whole file, the right reply after the user's end among them:
  here words that begin before the user's last sound count; the published count is given beside it.
- The backchannel task hands 16 kHz models audio of other rates: here all audio is brought to 16 kHz as it is read.
- There a sample's TOR is that of its last segment, and of the sample before where it has no words file: here it is 1
  if any segment takes the turn, and what is missing is an error.
- Its Jensen-Shannon distance is in nats (0.83 at most) but 1 without backchannels: here it is in bits, 1 at most.
- After an interruption words are looked for in what is left of the file, so that a model that never stopped has about
  0 s latency: here there is none before it has fallen silent, and whether it did is told.
- The stop latency of v1.5 is the length of the overlap, so that it ends with the user at the latest: here it runs until
  the system falls silent, and where it never does there is none.
- It asks GPT-4 for the relevance of a reply (and counts each rating twice); that is left out.

Where it uses Parakeet and Silero's detector, words here come from `recognize` (weaker: give your own output.json to its
own scripts to compare with published figures) and segments from `turns.ipus`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from scipy.spatial.distance import jensenshannon

from duologue.atomic import write_text
from duologue.audio.files import load, save
from duologue.audio.vad import speech_bounds
from duologue.errors import DataError, DuologueError
from duologue.eval.converse import Span, play
from duologue.eval.metrics import RATE, Pcm
from duologue.eval.recognize import Recognizer, TimedWord
from duologue.eval.suites.base import Case
from duologue.provenance import fingerprint
from duologue.systems.base import System

Task = Literal["pause_handling", "turn_taking", "backchannel", "user_interruption"]
TASKS: tuple[Task, ...] = ("pause_handling", "turn_taking", "backchannel", "user_interruption")
ANNOTATIONS: dict[Task, str] = {
    "pause_handling": "pause.json",
    "turn_taking": "turn_taking.json",
    "user_interruption": "interrupt.json",
}
TRUTH = "icc_gt_distribution.json"
TURN_SECONDS, TURN_WORDS = 1.0, 3  # shorter and with no more words is no turn
SEGMENT_SECONDS, MURMUR_SECONDS, MURMUR_WORDS = 3.0, 1.0, 2
WINDOW = 0.2  # seconds
SMALLEST = 1e-10


def takes_turn(words: Sequence[TimedWord]) -> bool:
    """One sample's takeover (TOR is their mean): false without words, or with up to 3 words within less than 1 s."""
    return bool(words) and (words[-1][2] - words[0][1] >= TURN_SECONDS or len(words) > TURN_WORDS)


def latency(words: Sequence[TimedWord], end: float) -> float | None:
    """Seconds from the end of the user's turn to the first word, signed; None where no turn is taken."""
    return words[0][1] - end if takes_turn(words) else None


def murmurs(segments: Sequence[Span], words: Sequence[TimedWord]) -> tuple[bool, list[Span]]:
    """Whether any segment of the system's speech takes the turn, and those that are backchannels.

    A segment is a backchannel if it lasts less than 1 s and at most 2 words touch it; any other takes the turn.
    """
    kept = []
    for start, end in segments:
        said = sum(first < end and last > start for _, first, last in words)
        if end - start < MURMUR_SECONDS and said <= MURMUR_WORDS:
            kept.append((start, end))
    return len(kept) < len(segments), kept


def divergence(found: Sequence[Span], truth: Sequence[float], seconds: float) -> float:
    """Jensen-Shannon distance, 0 to 1, between where backchannels lie in time and where people put them.

    Backchannels are counted in windows of 0.2 s; `truth` is stretched to as many. 1 where there are none.
    """
    if not found:
        return 1.0
    counts = np.full(int(seconds / WINDOW) + 1, SMALLEST)
    for start, end in found:
        counts[int(start / WINDOW) : int(end / WINDOW) + 1] += 1
    people = np.interp(np.linspace(0, 1, len(counts)), np.linspace(0, 1, len(truth)), np.asarray(truth, float))
    return float(jensenshannon(counts, people, base=2))


class BenchmarkFolder:
    """Samples in the layout above, at any depth below a folder; a family is a task's folder.

    Raises:
        DataError: there is no input.wav, or one lies in a folder that names no task.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._samples: dict[str, list[Path]] = {}
        for sound in sorted(path.rglob("input.wav")):
            task_of(sound.parent.parent.name)
            self._samples.setdefault(sound.parent.parent.name, []).append(sound.parent)
        if not self._samples:
            raise DataError(f"no {{task}}/{{ID}}/input.wav below {path}; give a folder of Full-Duplex-Bench")

    def families(self) -> dict[str, str]:
        """The tasks that occur, and how many samples there are of each."""
        return {name: f"{len(found)} samples of {self.path.name}" for name, found in self._samples.items()}

    def names(self, family: str) -> list[str]:
        """The samples of a task, in the order of their names."""
        return [f"{family}/{sample.name}" for sample in self._samples[family]]

    def draw(self, family: str, index: int) -> Case:
        """A sample: audio "input", and as facts its task and what is annotated.

        Raises:
            AudioError: the file is no audio.
            DataError: an annotation is missing or malformed.
        """
        sample, task = self._samples[family][index], task_of(family)
        facts: dict[str, Any] = {"task": task}
        if task in ANNOTATIONS:
            facts["annotation"] = _annotation(sample / ANNOTATIONS[task])
        places = [folder / TRUTH for folder in (sample.parent, sample.parent.parent, self.path)]
        known = next((place for place in places if place.is_file()), None)
        if task == "backchannel" and known is not None:
            facts["truth"] = _truth(known, sample.name)
        return Case(family, f"{family}/{sample.name}", {"input": load(sample / "input.wav")}, facts)

    def fingerprint(self) -> str:
        """A hash of all inputs and annotations."""
        files = [path for found in self._samples.values() for sample in found for path in sorted(sample.iterdir())]
        return fingerprint(*(path for path in files if not path.name.startswith("output")))


def task_of(folder: str) -> Task:
    """The task that a folder's name tells ("candor_turn_taking").

    Raises:
        DataError: it names none.
    """
    for task in TASKS:
        if task in folder:
            return task
    raise DataError(f"the folder {folder!r} names no task; its name should hold one of {', '.join(TASKS)}")


def _annotation(path: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        spans = [[float(time) for time in one["timestamp"]] for one in found]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is missing or malformed; wanted a list of objects with a timestamp") from error
    if not spans or any(len(span) != 2 for span in spans):
        raise DataError(f"{path} holds no timestamp of [start, end] in seconds")
    return [{**one, "timestamp": span} for one, span in zip(found, spans, strict=True)]


def _truth(path: Path, name: str) -> list[float]:
    try:
        return [float(value) for value in json.loads(path.read_text(encoding="utf-8"))[name]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} has no list of numbers for the sample {name}") from error


def user_end(pcm: Pcm) -> float:
    """Seconds after the user's last sound in (T,); its length where it is silent."""
    bounds = speech_bounds(pcm)
    return len(pcm) / RATE if bounds is None else bounds[1]


def write_sample(folder: Path, case: Case) -> None:
    """Write a case as a sample of the benchmark below `folder`."""
    place = folder / case.name
    for role, name in {"input": "input.wav", "context": "context.wav", "interrupt": "interrupt.wav"}.items():
        if role in case.audio:
            save(place / name, case.audio[role])
    if "annotation" in case.facts:
        write_text(place / ANNOTATIONS[case.facts["task"]], json.dumps(case.facts["annotation"], indent=2) + "\n")


def respond(system: System, source: BenchmarkFolder, out: Path, recognizer: Recognizer) -> int:
    """Let a system answer every sample: output.wav of the input's length and output.json below `out`; their number."""
    done = 0
    for family in source.families():
        for index, name in enumerate(source.names(family)):
            said = play(system, source.draw(family, index).audio["input"]).audio[1]
            save(out / name / "output.wav", said)
            words = recognizer.transcribe_timed(said)
            chunks = [{"text": word, "timestamp": [round(start, 3), round(end, 3)]} for word, start, end in words]
            whole = {"text": " ".join(word for word, _, _ in words), "chunks": chunks}
            write_text(out / name / "output.json", json.dumps(whole, indent=2) + "\n")
            done += 1
    return done


def main(
    folder: Annotated[Path, typer.Argument(help="A folder of the benchmark.")],
    system: Annotated[str, typer.Option(help="A system's name, a model folder or a Hugging Face id.")] = "box",
    out: Annotated[Path | None, typer.Option(help="Where to write outputs; beside the inputs if not given.")] = None,
) -> None:
    """Write a system's time-synchronous output.wav and output.json for every sample."""
    from duologue.eval.recognize import domain_recognizer
    from duologue.systems.registry import load as find

    count = respond(find(system), BenchmarkFolder(folder), out or folder, domain_recognizer())
    print(f"{out or folder}: {count} outputs of {system}")


if __name__ == "__main__":
    app = typer.Typer(add_completion=False)
    app.command()(main)
    try:
        app(standalone_mode=False)
    except DuologueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
