"""Cases as files, so that a suite can be run on a user's own and its own can be listened to.

    FOLDER/cases.jsonl   a case a line, its audio named relative to the folder
    FOLDER/…             the audio, in any format, rate and number of channels that libsndfile reads

    {"family": "mine", "name": "mine/lamp", "audio": {"question": "lamp.wav"}, "facts": {"reply": "in the kitchen"}}

`family` and `name` are free, each name occurring once. What roles of audio and which facts a suite needs, its module
says; `duologue eval --export FOLDER` writes its drawn cases in this layout, to copy from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from duologue.atomic import write_text
from duologue.audio.files import load, save
from duologue.errors import DataError
from duologue.eval.suites.base import Case
from duologue.provenance import fingerprint

CASES = "cases.jsonl"


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    family: str = Field(min_length=1)
    name: str = Field(min_length=1)
    audio: dict[str, str] = Field(default_factory=dict)
    facts: dict[str, Any] = Field(default_factory=dict)


class CaseFolder:
    """A folder of cases in the layout above.

    Raises:
        DataError: there is no `cases.jsonl`, it is empty, or a line is malformed or names a case twice.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        manifest = path / CASES
        if not manifest.is_file():
            raise DataError(f"no {manifest}; a folder of cases holds {CASES} and the audio that it names")
        self._entries: dict[str, list[_Entry]] = {}
        seen: set[str] = set()
        for number, line in enumerate(manifest.read_text(encoding="utf-8").split("\n"), 1):
            if not line.strip():
                continue
            try:
                entry = _Entry.model_validate_json(line)
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"])) or "line"
                raise DataError(f"{manifest}:{number}: {where}: {first['msg']}") from error
            if entry.name in seen:
                raise DataError(f"{manifest}:{number}: the case {entry.name} is there twice; name it differently")
            seen.add(entry.name)
            self._entries.setdefault(entry.family, []).append(entry)
        if not seen:
            raise DataError(f"{manifest} holds no case; write one JSON object a line")

    def names(self, family: str) -> list[str]:
        """The cases of a family, in the order of the file."""
        return [entry.name for entry in self._entries[family]]

    def families(self) -> dict[str, str]:
        """The families that occur, and how many cases there are of each."""
        return {name: f"{len(entries)} cases of {self.path.name}" for name, entries in self._entries.items()}

    def draw(self, family: str, index: int) -> Case:
        """Case number `index` of a family, its audio read.

        Raises:
            AudioError: a file is missing or is no audio.
        """
        entry = self._entries[family][index]
        audio = {role: load(self.path / name) for role, name in entry.audio.items()}
        return Case(entry.family, entry.name, audio, entry.facts)

    def fingerprint(self) -> str:
        """A hash of all the folder's files."""
        return fingerprint(self.path)


def export(cases: Iterable[Case], folder: Path) -> int:
    """Write cases in the layout above and give their number; the manifest is written last.

    Raises:
        DuologueError: the folder cannot be written.
    """
    lines = []
    for case in cases:
        audio = {role: f"{_plain(case.name)}-{_plain(role)}.flac" for role in case.audio}
        for role, name in audio.items():
            save(folder / name, case.audio[role])
        lines.append(json.dumps({"family": case.family, "name": case.name, "audio": audio, "facts": case.facts}))
    write_text(folder / CASES, "".join(line + "\n" for line in lines))
    return len(lines)


def _plain(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name)
