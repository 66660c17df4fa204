"""A run's folder: `settings.json` (who was asked what, by which code) and `results.jsonl` (a row a case).

settings.json    what may not change while a run goes on, and a record of every start
results.jsonl    one row a case and subject; every table can be made of it again
cases/SUITE.jsonl  the facts of the cases that were drawn
audio/           what was heard and said in the first cases of each family
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from duologue.atomic import write_text
from duologue.data.splits import Split
from duologue.errors import DataError, ModelError
from duologue.eval.suites.base import Row
from duologue.provenance import commit, fingerprint, machine, versions
from duologue.systems.base import SystemCard
from duologue.systems.registry import is_named, locate

RESULTS, SETTINGS = "results.jsonl", "settings.json"

REFERENCES = {"never-talk": "floor", "always-talk": "floor", "echo": "floor", "oracle": "ceiling"}
"""Subjects that are there to be compared with."""

Key = tuple[str, str, str, str]
"""Suite, subject, family and case: what there is one row of."""


class Subject(BaseModel):
    """Who is judged: the fingerprint of a model's files (or the name of what is no model), and its card."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    fingerprint: str
    card: SystemCard


class Asked(BaseModel):
    """What a suite asked: the fingerprint of the folder its cases come from ("" where they are drawn), its families."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    source: str
    families: dict[str, str]


class Start(BaseModel):
    """One start of a run: when, by which command, with which code, where."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    time: str
    command: str
    commit: str | None
    machine: str
    libraries: dict[str, str]

    @classmethod
    def now(cls, command: str) -> Start:
        """A start by this process."""
        time = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(time=time, command=command, commit=commit(), machine=machine(), libraries=versions())


class Settings(BaseModel):
    """What a run's folder holds results of.

    Attributes:
        split: of speakers, wordings and contents.
        speech: the fingerprint of the real recordings; empty without any.
        suites: name -> what it asked.
        subjects: name -> who that is.
        starts: of the run, in order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    split: Split
    speech: str = ""
    suites: dict[str, Asked] = Field(default_factory=dict)
    subjects: dict[str, Subject] = Field(default_factory=dict)
    starts: list[Start] = Field(default_factory=list)


def key(row: Row) -> Key:
    """What a row is the only one of."""
    return row.suite, row.subject, row.family, row.case


def fingerprint_of(name: str) -> str:
    """A hash of a model's files, or of the file or model behind a system's name; the name itself where it has neither.

    Cards do not count: figures are written into them after they were measured.
    """
    behind = name.partition(":")[2] if is_named(name) else name
    if Path(behind).is_file():
        return fingerprint(behind)
    try:
        folder = locate(behind) if behind else None
    except ModelError:
        folder = None
    if folder is None:
        return name
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.json")) + sorted(folder.glob("*.safetensors")):
        if path.name != "card.json":
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def read_settings(folder: Path) -> Settings | None:
    """The settings of a run's folder, None where it has none yet.

    Raises:
        DataError: they are damaged.
    """
    path = folder / SETTINGS
    if not path.is_file():
        return None
    try:
        return Settings.model_validate_json(path.read_text())
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise DataError(f"{path}: {where}: {error.errors()[0]['msg']}; choose another folder") from error


def remember(folder: Path, now: Settings) -> Settings:
    """Write the settings of this start beside those before; suites and subjects may be added, none may change.

    Raises:
        DataError: the folder holds results of another split, other recordings or cases, or another model of that name.
    """
    before = read_settings(folder) or now.model_copy(update={"starts": []})
    for what, old, new in (("split", before.split, now.split), ("recordings", before.speech, now.speech)):
        if old != new:
            raise DataError(f"{folder} holds results of another {what} ({SETTINGS}); choose another folder")
    for name, asked in now.suites.items():
        if before.suites.get(name, asked).source != asked.source:
            raise DataError(f"{folder} holds results of other cases of {name} ({SETTINGS}); choose another folder")
    for name, subject in now.subjects.items():
        if before.subjects.get(name, subject).fingerprint != subject.fingerprint:
            raise DataError(f"{folder} holds results of another model called {name}; choose another folder")
    settings = Settings(
        split=now.split,
        speech=now.speech,
        suites=before.suites | {name: _both(before.suites.get(name), asked) for name, asked in now.suites.items()},
        subjects=before.subjects | now.subjects,
        starts=[*before.starts, *now.starts],
    )
    write_text(folder / SETTINGS, settings.model_dump_json(indent=1) + "\n")
    return settings


def _both(before: Asked | None, now: Asked) -> Asked:
    return Asked(source=now.source, families=(before.families if before else {}) | now.families)


def read_rows(folder: Path) -> list[Row]:
    """The rows of a run's folder; a last line that an interrupt cut off is dropped from the file.

    Raises:
        DataError: another line is damaged.
    """
    rows = []
    for number, line in enumerate(whole_lines(folder / RESULTS), 1):
        try:
            rows.append(Row.model_validate_json(line))
        except ValidationError as error:
            what = error.errors()[0]["msg"]
            raise DataError(f"{folder / RESULTS}:{number} is not a result ({what}); remove the line") from error
    return rows


def write_rows(folder: Path, rows: Iterable[Row]) -> None:
    """Write all rows again, whole or not at all."""
    write_text(folder / RESULTS, "".join(row.model_dump_json() + "\n" for row in rows))


def append(path: Path, record: BaseModel | dict[str, Any]) -> None:
    """Add a line of JSON."""
    line = record.model_dump_json() if isinstance(record, BaseModel) else json.dumps(record, ensure_ascii=False)
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def manifest(folder: Path, suite: str) -> Path:
    """Where the facts of a suite's drawn cases are."""
    return folder / "cases" / f"{suite}.jsonl"


def drawn_cases(folder: Path, suite: str) -> dict[tuple[str, str], set[str]]:
    """Family and name of each drawn case -> its lines: one, or several where it was drawn otherwise later on."""
    found: dict[tuple[str, str], set[str]] = {}
    for line in whole_lines(manifest(folder, suite)):
        case = json.loads(line)
        found.setdefault((case["family"], case["name"]), set()).add(line)
    return found


def whole_lines(path: Path) -> list[str]:
    """The lines of a file, none where it is not there; a last one without its end is dropped from the file."""
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    if not text.endswith("\n"):
        text = text[: text.rfind("\n") + 1]
        write_text(path, text)
    return text.split("\n")[:-1]


def ordered(rows: Iterable[Row], settings: Settings) -> list[Row]:
    """Rows by suite, subject, family and case, so that nothing hangs on which was held first."""
    suites, subjects = list(settings.suites), list(settings.subjects)
    families = {name: list(asked.families) for name, asked in settings.suites.items()}

    def place(row: Row) -> tuple[object, ...]:
        numbered = [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", row.case)]
        return suites.index(row.suite), subjects.index(row.subject), families[row.suite].index(row.family), numbered

    return sorted(rows, key=place)
