"""The answer suite: is the reply right in text and in sound, in time, silent when it should be; always free-running.

    python -m duologue.eval.answers --system box --split dev --out runs/answers --cases 100

Each case is a row of `results.jsonl`, so an interrupted run goes on where it stopped; `summary.md` and `summary.json`
hold the figures with their 95% intervals. A reply is judged on the text stream and, through a recogniser that is not
ours, on its sound; the recogniser's own error is measured on true speech of the right replies beside it.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from duologue.atomic import write_text
from duologue.data.domain import Exchange
from duologue.data.splits import ASSISTANT, Split
from duologue.data.synthesize import speak
from duologue.data.voices import Voice
from duologue.errors import DataError, DuologueError
from duologue.eval.cases import FAMILIES, Case, CaseDrawer
from duologue.eval.converse import Record, Say, converse
from duologue.eval.metrics import sound_bounds
from duologue.eval.recognize import Recognizer, domain_recognizer
from duologue.eval.report import Row, TurnRow, markdown, right, summarise, tables
from duologue.systems.base import System
from duologue.systems.registry import load, locate

RESULTS, SETTINGS = "results.jsonl", "settings.json"
EARLY = 0.08  # seconds before the end of a barge-in from which words count as its answer


@lru_cache(maxsize=4096)
def _true_speech(reply: str) -> np.ndarray:
    """The right reply said by the synthesiser whose voice the assistant learned."""
    return speak(reply, Voice(engine="flite", name=ASSISTANT)).pcm


@dataclass
class Judge:
    """Holds a case's conversation and judges it."""

    system: System
    recognizer: Recognizer

    def row(self, case: Case) -> Row:
        """Hold the conversation of `case` and judge all of it."""
        if case.family in ("barge-in", "backchannel"):
            return self._spoken_over(case)
        record = converse(self.system, [Say(pcm) for pcm in case.speech])
        turns = [
            self._turn(exchange, record, record.turn(index), record.latency(index))
            for index, exchange in enumerate(case.exchanges)
        ]
        passed = None
        if case.family == "silence":
            passed = sound_bounds(record.audio[1]) is None
        elif case.family == "pause":
            passed = turns[0].latency is None or turns[0].latency >= 0
        return _row(case, record, turns, passed)

    def _spoken_over(self, case: Case) -> Row:
        """The same question twice: alone, to learn how long the reply is, then with the user speaking over it."""
        alone = converse(self.system, [Say(case.speech[0])])
        first = self._turn(case.exchanges[0], alone, alone.turn(0), alone.latency(0))
        sound = alone.reply_sound(0)
        end = sound[1] - 0.2 if sound else 0.0
        over = case.speech[1] if case.interjection is None else case.interjection
        # at least 0.3 s into the reply, and a second before its end, so that stopping can be told from ending
        room = sound[1] - sound[0] - 1.3 if sound else 0.0
        if sound is None or room < 0 or alone.stopped(sound[0], end) is not None:
            return _row(case, alone, [first], None)
        delay = 0.3 + room * (case.index % 8) / 8
        record = converse(self.system, [Say(case.speech[0]), Say(over, "reply_starts", delay)])
        begin, finish = record.sounds[1]
        stop = record.stopped(begin, end)
        if case.interjection is not None:
            return _row(case, record, [first], stop is None)
        answered = (finish - EARLY, record.turn(1)[1])
        bounds = sound_bounds(record.reply(answered))
        latency = None if bounds is None else bounds[0] - EARLY
        turns = [first, self._turn(case.exchanges[1], record, answered, latency)]
        return _row(case, record, turns, stop is not None, None if stop is None else stop - begin)

    def _turn(self, exchange: Exchange, record: Record, span: tuple[float, float], latency: float | None) -> TurnRow:
        said = record.text(span)
        transcript = self.recognizer.transcribe(record.reply(span))
        true = self.recognizer.transcribe(_true_speech(exchange.reply)) if exchange.reply else ""
        return TurnRow(
            user=exchange.user,
            reply=exchange.reply,
            category=exchange.category,
            key=exchange.key,
            wording=exchange.wording,
            content=exchange.content,
            leans=bool(exchange.history),
            heard=record.heard(span),
            said=said,
            transcript=transcript,
            true_transcript=true,
            right=right(said, exchange),
            right_spoken=right(transcript, exchange),
            right_true=right(true, exchange),
            latency=latency,
        )


def _row(case: Case, record: Record, turns: Sequence[TurnRow], passed: bool | None, delay: float | None = None) -> Row:
    return Row(
        case=case.name,
        family=case.family,
        group=case.group,
        voice=case.voice,
        turns=list(turns),
        passed=passed,
        delay=delay,
        compute_ms=[round(value, 2) for value in record.compute_ms],
    )


_drawer: CaseDrawer | None = None
_judge: Judge | None = None


def _start(system: str | System, split: Split, speech: Path | None, recognizer: Recognizer) -> None:
    global _drawer, _judge
    import torch

    torch.set_num_threads(1)
    _drawer = CaseDrawer(split, speech)
    _judge = Judge(load(system) if isinstance(system, str) else system, recognizer)


def _hold(family: str, index: int) -> Row:
    assert _drawer is not None and _judge is not None
    return _judge.row(_drawer.draw(family, index))


def run(
    system: str | System = "box",
    split: Literal["dev", "test"] = "dev",
    out: str | os.PathLike[str] = "runs/answers",
    cases: int = 100,
    workers: int = 1,
    families: Sequence[str] = (),
    speech: str | os.PathLike[str] | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Hold all conversations that are not in `out` yet, and sum up all that are asked for.

    Args:
        system: a name or folder of a model, or a system.
        split: "dev" to choose by; "test" once, for what is published.
        out: the folder of the results; made if it is not there.
        cases: of each family.
        workers: processes of one thread each; changes nothing but the time it takes and the compute it measures.
        families: some of `cases.FAMILIES`; all that this machine allows where empty.
        speech: the folder of real recordings; without it, families of real speech are left out.
        console: where to show progress and tables; silent where None.

    Returns:
        What `summary.json` holds: family -> figures.

    Raises:
        DataError: a family is unknown or cannot be had here, or `out` holds results of another model or split.
        DuologueError: the system cannot be loaded, or `out` cannot be written.
    """
    folder, place = Path(out), Path(speech) if speech else None
    known = CaseDrawer(split, place).families()
    wanted = list(families) or known
    for family in wanted:
        if family not in known:
            reason = "needs recordings or voices that are not here" if family in FAMILIES else "is unknown"
            raise DataError(f"family {family!r} {reason}; there are {', '.join(known)}")
    missing = [family for family in FAMILIES if family not in known]
    if console is not None and missing and not families:
        console.print(f"left out for want of recordings or voices: {', '.join(missing)}")
    _remember(folder, {"system": _fingerprint(system), "split": split})
    done = _read(folder / RESULTS)
    todo = [(family, index) for index in range(cases) for family in wanted if f"{family}/{index}" not in done]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=console is None) as bar:
        task = bar.add_task(f"answers ({split})", total=len(wanted) * cases, completed=len(wanted) * cases - len(todo))
        for row in _rows(todo, workers, (system, split, place)):
            with (folder / RESULTS).open("a") as file:
                file.write(row.model_dump_json() + "\n")
            done[row.case] = row
            bar.advance(task)
    rows = [done[f"{family}/{index}"] for family in wanted for index in range(cases)]
    summary = summarise(rows)
    write_text(folder / "summary.json", json.dumps(summary, indent=1) + "\n")
    write_text(folder / "summary.md", markdown(summary, split))
    if console is not None:
        for table in tables(summary):
            console.print(table)
    return summary


def _rows(
    todo: Sequence[tuple[str, int]], workers: int, setting: tuple[str | System, Split, Path | None]
) -> Iterator[Row]:
    if not todo:
        return
    arguments = (*setting, domain_recognizer())
    if workers <= 1:
        _start(*arguments)
        for family, index in todo:
            yield _hold(family, index)
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start, arguments)
    try:
        for future in as_completed([pool.submit(_hold, family, index) for family, index in todo]):
            yield future.result()
    except BrokenProcessPool as error:
        raise DuologueError("a process of the evaluation ended early; run again to go on from there") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _fingerprint(system: str | System) -> str:
    if isinstance(system, System):
        return system.card.name
    folder = locate(system)
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.json")) + sorted(folder.glob("*.safetensors")):
        if path.name != "card.json":  # figures are written into it after they were measured
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _remember(folder: Path, settings: dict[str, str]) -> None:
    path, text = folder / SETTINGS, json.dumps(settings, indent=1) + "\n"
    if not path.is_file():
        write_text(path, text)
    elif path.read_text() != text:
        raise DataError(f"{folder} holds results of another model or split ({SETTINGS}); choose another folder")


def _read(path: Path) -> dict[str, Row]:
    """The rows that are there; a last line cut off by an interrupt is dropped from the file.

    Raises:
        DataError: another line is damaged.
    """
    if not path.is_file():
        return {}
    text = path.read_text()
    if not text.endswith("\n"):
        text = text[: text.rfind("\n") + 1]
        write_text(path, text)
    rows: dict[str, Row] = {}
    for number, line in enumerate(text.splitlines(), 1):
        try:
            row = Row.model_validate_json(line)
        except ValidationError as error:
            raise DataError(f"{path}:{number} is not a result ({error.errors()[0]['msg']}); remove the file") from error
        rows[row.case] = row
    return rows


def main(
    system: Annotated[str, typer.Option(help="The model in the box, a model folder or a Hugging Face id.")] = "box",
    split: Annotated[str, typer.Option(help="dev to choose by, test once.")] = "dev",
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("runs/answers"),
    cases: Annotated[int, typer.Option(min=1, help="Cases of each family.")] = 100,
    workers: Annotated[int, typer.Option(min=1, help="Processes, of one thread each.")] = 1,
    family: Annotated[list[str] | None, typer.Option(help="Only this family; may be given again.")] = None,
    speech: Annotated[Path | None, typer.Option(envvar="DUOLOGUE_SPEECH", help="Folder of real recordings.")] = None,
) -> None:
    """Ask a system questions and judge its answers."""
    try:
        if split not in ("dev", "test"):
            raise DataError(f"no split {split!r} to evaluate on; there are dev and test")
        run(system, "test" if split == "test" else "dev", out, cases, workers, family or (), speech, Console())
    except DuologueError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from error


if __name__ == "__main__":
    typer.run(main)
