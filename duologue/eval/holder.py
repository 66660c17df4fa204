"""Draws the cases that are asked for and holds them with systems, in one process: a case's way to its row."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from duologue.audio.files import save
from duologue.data.splits import Split
from duologue.errors import DataError, DuologueError
from duologue.eval.results import REFERENCES, Key
from duologue.eval.suites import find
from duologue.eval.suites.base import Case, Outcome, Row, Suite
from duologue.systems.base import System
from duologue.systems.registry import load

KEPT = 3  # cases of each family whose audio is kept


@dataclass(frozen=True)
class Wanted:
    """A suite that is asked for: its families (all that can be had where empty), and a folder of cases to take."""

    suite: type[Suite]
    families: tuple[str, ...] = ()
    folder: Path | None = None

    @classmethod
    def parse(cls, text: str) -> Wanted:
        """Read "NAME", "NAME.FAMILY", "NAME=FOLDER" or "NAME.FAMILY=FOLDER".

        Raises:
            ConfigError: there is no such suite.
        """
        what, _, folder = text.partition("=")
        name, _, family = what.partition(".")
        return cls(find(name), (family,) if family else (), Path(folder) if folder else None)


@dataclass(frozen=True)
class Job:
    """A case to be held with a subject; `name` is the case's."""

    suite: str
    subject: str
    family: str
    name: str
    index: int

    @property
    def key(self) -> Key:
        """What its row is the only one of."""
        return self.suite, self.subject, self.family, self.name


@dataclass(frozen=True)
class Setup:
    """What every worker process needs: where cases come from, where audio goes, and systems that have no name."""

    split: Split
    speech: Path | None
    out: Path
    wanted: Mapping[str, Sequence[Wanted]]
    systems: Mapping[str, System] = field(default_factory=dict)


class Holder:
    """Draws cases and holds them with subjects, each loaded once."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self._systems = dict(setup.systems)
        asked = {name: some[0] for name, some in setup.wanted.items()}
        self._suites = {name: one.suite(setup.split, setup.speech) for name, one in asked.items()}
        self._folders = {name: one.suite.cases_in(one.folder) for name, one in asked.items() if one.folder}
        self._draw = lru_cache(maxsize=8)(self._draw_afresh)  # one case meets one subject after the other

    def suite(self, name: str) -> Suite:
        """A suite that is asked for."""
        return self._suites[name]

    def system(self, subject: str) -> System:
        """A subject, loaded when it is first asked for."""
        if subject not in self._systems:
            self._systems[subject] = load(subject)
        return self._systems[subject]

    def forget(self) -> None:
        """Give back the memory of the systems that can be loaded again."""
        self._systems = dict(self.setup.systems)

    def families(self, name: str) -> dict[str, str]:
        """The families of a suite that are asked for, and what each is.

        Raises:
            DataError: one is unknown, or cannot be had here.
        """
        known = self._folders[name].families() if name in self._folders else self._suites[name].families()
        chosen: dict[str, str] = {}
        for one in self.setup.wanted[name]:
            for family in one.families or known:
                what = known.get(family) or self._variant(name, family)
                if what is None:
                    raise DataError(
                        f"{name} has no family {family!r} here (some need recordings or voices); there are "
                        f"{', '.join(known) or 'none'}"
                    )
                chosen[family] = what
        return chosen

    def _variant(self, name: str, family: str) -> str | None:
        return None if name in self._folders else self._suites[name].variant(family)

    def names(self, name: str, family: str, cases: int | None, subject: str = "") -> list[str]:
        """The names of the cases of a family to hold with a subject: `cases`, or as many as suite or folder suggest."""
        if name in self._folders:
            return self._folders[name].names(family)[:cases]
        suite = self._suites[name]
        enough = min(suite.default_cases, suite.reference_cases) if subject in REFERENCES else suite.default_cases
        count, most = cases or enough, suite.cases_at_most(family)
        return [f"{family}/{index}" for index in range(count if most is None else min(count, most))]

    def draw(self, name: str, family: str, index: int) -> Case:
        """A case of a suite, from where its cases come."""
        return self._draw(name, family, index)

    def _draw_afresh(self, name: str, family: str, index: int) -> Case:
        return (self._folders.get(name) or self._suites[name]).draw(family, index)

    def row(self, job: Job) -> tuple[Row, dict[str, Any] | None]:
        """Hold a case and judge it; whatever fails is told in the row. Also the case's facts, where it was drawn."""
        known: dict[str, Any] | None = None
        try:
            case = self.draw(job.suite, job.family, job.index)
            seconds = {role: round(len(pcm) / 16000, 3) for role, pcm in case.audio.items()}
            known = {"family": case.family, "name": case.name, "seconds": seconds, "facts": case.facts}
            outcome = self._suites[job.suite].hold(case, self.system(job.subject))
            audio = self._keep(job, outcome)
        except Exception as error:
            return failed(job, error), known
        row = Row(
            suite=job.suite,
            subject=job.subject,
            family=job.family,
            case=job.name,
            values=outcome.values,
            detail=outcome.detail,
            marks=outcome.marks,
            audio=audio,
        )
        return row, known

    def _keep(self, job: Job, outcome: Outcome) -> str | None:
        if outcome.audio is None or job.index >= KEPT:
            return None
        folders = [_file_name(part) for part in (job.subject, *job.name.split("/"))]
        path = "/".join(("audio", job.suite, *folders)) + ".flac"
        save(self.setup.out / path, outcome.audio)
        return path


def failed(job: Job, error: BaseException) -> Row:
    """The row of a case that could not be held to its end."""
    line = " ".join(str(error).split())
    what = line if isinstance(error, DuologueError) else f"{type(error).__name__}: {line}".rstrip(": ")
    return Row(suite=job.suite, subject=job.subject, family=job.family, case=job.name, error=what)


def _file_name(name: str) -> str:
    """A name that files may have, different for different names."""
    plain = re.sub(r"[^\w.-]+", "-", name)
    return plain if plain == name else f"{plain}-{zlib.crc32(name.encode()):08x}"
