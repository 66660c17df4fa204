"""Speech from text with the times of its words and phones, one utterance at a time or a corpus in parallel.

Only recipes and measuring import this module: one of its engines is under the GPL.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from duologue.atomic import atomic
from duologue.data import espeak, festival, flite, manifest, pico
from duologue.data.manifest import Entry, Manifest
from duologue.data.shards import ShardWriter
from duologue.data.spoken import RATE, Spoken, words_of
from duologue.data.voices import Voice, random_voice, voices
from duologue.data.workers import in_workers
from duologue.errors import DataError

__all__ = ["Line", "Spoken", "Voice", "pronounce", "random_voice", "speak", "synthesize", "voices"]

_CHUNK = 256  # lines in an output shard
_FORMAT = 1  # of the shards; a higher number makes a later run write all of them again


class _Synthesiser(Protocol):
    def speak(self, text: str, voice: Voice) -> Spoken: ...

    def pronounce(self, word: str, voice: Voice) -> list[str]: ...


_ENGINES: dict[str, _Synthesiser] = {"espeak": espeak, "flite": flite, "festival": festival, "pico": pico}


class Line(NamedTuple):
    """A line to say: a unique id, lower-case words without digits (perhaps commas), the voice, and a free label."""

    id: str
    text: str
    voice: Voice
    label: str | None = None


def speak(text: str, voice: Voice) -> Spoken:
    """Say `text` (lower-case words without digits, perhaps commas) in `voice`; equal arguments give equal samples.

    Raises:
        DataError: the engine or voice is missing, or nothing audible was said.
    """
    return _ENGINES[voice.engine].speak(text, voice)


def pronounce(word: str, voice: Voice) -> list[str]:
    """The phones of `word` said alone in the phone set of the voice's engine, without stress; cached.

    Raises:
        DataError: the engine or voice is missing.
    """
    return _ENGINES[voice.engine].pronounce(word, voice)


class _Chunk(NamedTuple):
    name: str
    lines: list[Line]


def _chunks(lines: list[Line]) -> list[_Chunk]:
    """Cut into chunks whose names tell their content, so that a changed line is never taken for a finished one."""
    chunks = []
    for first in range(0, len(lines), _CHUNK):
        group = lines[first : first + _CHUNK]
        content = json.dumps([_FORMAT, *([line.id, line.text, line.voice.key(), line.label] for line in group)])
        digest = blake2b(content.encode(), digest_size=6).hexdigest()
        chunks.append(_Chunk(f"{first // _CHUNK:05d}-{digest}", group))
    return chunks


def _write_chunk(chunk: _Chunk, folder: Path) -> None:
    """Synthesise a chunk into a shard and, last, its manifest."""
    said = (line.text for line in chunk.lines if line.voice.engine == "flite")
    flite.learn_words(word for text in said for word in words_of(text))
    entries: list[Entry] = []
    offset = 0
    with ShardWriter(folder / chunk.name, np.int16) as shard:
        for line in chunk.lines:
            try:
                spoken = speak(line.text, line.voice)
            except DataError as error:
                raise DataError(f"line {line.id}: {error}") from error
            shard.append(np.clip(np.round(spoken.pcm * 32768), -32768, 32767).astype(np.int16))
            entries.append(
                Entry(
                    id=line.id,
                    path=f"{chunk.name}.bin",
                    text=line.text,
                    speaker=line.voice.speaker,
                    label=line.label,
                    duration=spoken.duration,
                    sample_rate=RATE,
                    offset=offset,
                    voice=line.voice.key(),
                    words=spoken.words,
                    phones=spoken.phones,
                )
            )
            offset += len(spoken.pcm)
    manifest.write(entries, folder / f"{chunk.name}.jsonl")


def _write_chunks(chunks: list[_Chunk], folder: Path, workers: int) -> Iterator[_Chunk]:
    """Write chunks in parallel; yields each as it is done."""
    write = partial(_write_chunk, folder=folder)
    if workers == 1:
        for chunk in chunks:
            write(chunk)
            yield chunk
        return
    try:
        yield from (chunk for chunk, _ in in_workers(write, chunks, workers))
    except BrokenProcessPool as error:
        raise DataError(f"a synthesis process ended early in {folder}; run again to go on from there") from error


def synthesize(
    lines: Iterable[Line],
    folder: str | os.PathLike[str],
    workers: int = 2,
    report: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Say all lines into `folder`: shards of 256 lines and, at the end, manifest.jsonl.

    Finished shards are kept, so an interrupted run goes on where it stopped and ends with the same bytes. With more
    than one worker the calling script needs an `if __name__ == "__main__"` guard, as all multiprocessing does.

    Args:
        lines: what to say; ids must differ.
        folder: made if it is not there.
        workers: processes; 1 works in this one.
        report: called at once and after each shard with the number of lines that are said and that there are.

    Raises:
        DataError: an id is there twice, or a line cannot be said (names the line).
        DuologueError: the folder cannot be written or the disk is full.
    """
    folder = Path(folder)
    todo = list(lines)
    doubled = [name for name, count in Counter(line.id for line in todo).items() if count > 1]
    if doubled:
        raise DataError(f"line id {doubled[0]!r} is there twice; give each line its own")
    chunks = _chunks(todo)
    missing = [chunk for chunk in chunks if not (folder / f"{chunk.name}.jsonl").is_file()]
    for stale in (path for chunk in missing for path in folder.glob(f".{chunk.name}-*")):
        stale.unlink()  # a killed process cannot remove its unfinished file
    said = len(todo) - sum(len(chunk.lines) for chunk in missing)
    if report is not None:
        report(said, len(todo))
    for chunk in _write_chunks(missing, folder, workers):
        said += len(chunk.lines)
        if report is not None:
            report(said, len(todo))
    path = folder / "manifest.jsonl"
    with atomic(path) as temporary, temporary.open("wb") as file:
        for chunk in chunks:
            file.write((folder / f"{chunk.name}.jsonl").read_bytes())
    return manifest.read(path)
