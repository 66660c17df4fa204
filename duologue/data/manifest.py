"""Manifests: what a corpus holds, one JSON object a line, in a shape that lhotse's cuts can be made of."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from duologue.atomic import atomic
from duologue.data.shards import ShardReader
from duologue.data.spoken import Span
from duologue.errors import DataError


class Entry(BaseModel):
    """One recording, or one utterance of a shard. Fields not named here are kept as they are.

    Attributes:
        id: unique name; where a file gives none, its path without the suffix.
        path: sound file or int16 shard (".bin"), relative to the manifest's folder.
        text: what is said, None for noise and the like.
        speaker: who speaks.
        label: what it is beside its text, such as "digit:4", "noise" or "read".
        lang: language code.
        duration: length in seconds.
        sample_rate: Hz.
        offset: first sample within a shard, None for a file of its own.
        voice: key of the synthetic voice.
        words: (word, start, end) in seconds.
        phones: (phone, start, end) in seconds.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    id: str
    path: str
    text: str | None = None
    speaker: str | None = None
    label: str | None = None
    lang: str = "en"
    duration: float = Field(ge=0)
    sample_rate: int = Field(gt=0)
    offset: int | None = Field(default=None, ge=0)
    voice: str | None = None
    words: list[Span] | None = None
    phones: list[Span] | None = None

    @model_validator(mode="before")
    @classmethod
    def _name(cls, values: Any) -> Any:
        if isinstance(values, dict) and "id" not in values and isinstance(values.get("path"), str):
            return {"id": str(Path(values["path"]).with_suffix("")), **values}
        return values

    @property
    def samples(self) -> int:
        """Length in samples at the entry's own rate."""
        return round(self.duration * self.sample_rate)


@dataclass(frozen=True)
class Manifest:
    """Entries and the folder that their paths start from."""

    folder: Path
    entries: list[Entry]
    _shards: dict[str, ShardReader] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    @property
    def duration(self) -> float:
        """Length of all entries in seconds."""
        return sum(entry.duration for entry in self.entries)

    def samples(self, entry: Entry) -> NDArray[np.int16]:
        """The (T,) int16 samples of an utterance in a shard, as a view on the file.

        Raises:
            DataError: the shard is missing or shorter than the entry says.
        """
        if entry.path not in self._shards:
            self._shards[entry.path] = ShardReader(self.folder / entry.path)
        first = entry.offset or 0
        data = self._shards[entry.path].data[first : first + entry.samples]
        if len(data) != entry.samples:
            raise DataError(f"{self.folder / entry.path} ends before entry {entry.id}; synthesise the corpus again")
        return data

    def pcm(self, entry: Entry) -> NDArray[np.float32]:
        """The (T,) float32 sound at 16 kHz, mono.

        Raises:
            DataError: the shard is missing or shorter than the entry says.
            AudioError: the sound file cannot be used.
        """
        if entry.offset is not None:
            return self.samples(entry).astype(np.float32) / np.float32(32768)
        from duologue.audio.files import load

        return load(self.folder / entry.path)


def read(path: str | os.PathLike[str]) -> Manifest:
    """Read a JSONL manifest.

    Raises:
        DataError: the file is missing, or a line is not an entry or repeats an id; names the file and the line.
    """
    path = Path(path)
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise DataError(f"cannot read manifest {path}: {error.strerror or error}") from error
    entries: dict[str, Entry] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = Entry.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise DataError(f"{path}, line {number}: {f'field {where}: ' if where else ''}{first['msg']}") from error
        if entry.id in entries:
            raise DataError(f"{path}, line {number}: id {entry.id!r} is there twice; give each entry its own")
        entries[entry.id] = entry
    return Manifest(path.parent, list(entries.values()))


def write(entries: Iterable[Entry], path: str | os.PathLike[str]) -> None:
    """Write a JSONL manifest, whole or not at all; paths in the entries are relative to its folder."""
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for entry in entries:
            file.write(entry.model_dump_json(exclude_none=True) + "\n")


def lhotse_cut(manifest: Manifest, entry: Entry) -> dict[str, Any]:
    """The entry as the dictionary of a lhotse `MonoCut` with its text, speaker and word alignment.

    A sound file is named by its path; an utterance of a shard travels as the bytes of a WAV file.
    """
    if entry.offset is None:
        path = str(manifest.folder / entry.path)
        source: dict[str, Any] = {"type": "file", "source": path}
        samples = int(soundfile.info(path).frames)  # lhotse wants the exact count, and durations may be rounded
    else:
        wave = io.BytesIO()
        soundfile.write(wave, manifest.samples(entry), entry.sample_rate, format="WAV", subtype="PCM_16")
        source = {"type": "memory", "source": wave.getvalue()}
        samples = entry.samples
    span = {"start": 0.0, "duration": samples / entry.sample_rate, "channel": 0}
    supervision = {**span, "id": entry.id, "recording_id": entry.id, "language": entry.lang}
    supervision |= {"text": entry.text, "speaker": entry.speaker}
    if entry.words:
        aligned = [[word, start, round(end - start, 4), None] for word, start, end in entry.words]
        supervision["alignment"] = {"word": aligned}
    recording = {
        "id": entry.id,
        "sources": [{**source, "channels": [0]}],
        "sampling_rate": entry.sample_rate,
        "num_samples": samples,
        "duration": samples / entry.sample_rate,
        "channel_ids": [0],
    }
    speech = [supervision] if entry.text is not None else []
    return {**span, "id": entry.id, "supervisions": speech, "recording": recording, "type": "MonoCut"}
