"""Holds the cases of any suites with any systems, in parallel, and goes on where it was stopped.

A case that fails becomes a row with its error: it counts against the system, is listed, and is tried again when the
run is started again.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from duologue.audio.files import save
from duologue.data.splits import Split
from duologue.errors import ConfigError, DataError, DuologueError
from duologue.eval.results import (
    REFERENCES,
    RESULTS,
    Asked,
    Key,
    Settings,
    Start,
    Subject,
    append,
    fingerprint_of,
    key,
    ordered,
    read_rows,
    remember,
    whole_lines,
    write_rows,
)
from duologue.eval.suites import find
from duologue.eval.suites.base import Case, Outcome, Row, Suite
from duologue.provenance import fingerprint
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


def run(
    systems: Sequence[str | System],
    wanted: Sequence[Wanted],
    out: Path,
    split: Split = "dev",
    cases: int | None = None,
    workers: int = 1,
    speech: Path | None = None,
    command: str = "",
    console: Console | None = None,
) -> tuple[Settings, list[Row]]:
    """Hold all cases that are not in `out` yet.

    Args:
        systems: names that `registry.load` knows, or systems, which then go by the name on their card.
        wanted: the suites, or some families of them; a suite may be given again for others.
        out: the folder of the results; made if it is not there.
        split: "dev" to choose by; "test" once, for what is published.
        cases: of each family; what each suite suggests where None.
        workers: processes of one thread each; changes nothing but the time it takes and the compute that is measured.
        speech: the folder of real recordings; without it, families of real speech are left out.
        command: that is written down as what gives these results again.
        console: where to show progress; silent where None.

    Returns:
        The folder's settings and all of its rows, those of earlier starts too, in a fixed order.

    Raises:
        ConfigError: nothing is asked for, or cases of one suite from two places.
        DataError: a family is unknown, or `out` holds results of something else.
        DuologueError: a system cannot be loaded, or `out` cannot be written.
    """
    import torch

    torch.set_num_threads(1)
    suites = _by_suite(wanted)
    if not systems or not suites:
        raise ConfigError("give at least one system and one suite")
    given = {system.card.name: system for system in systems if isinstance(system, System)}
    names = [system.card.name if isinstance(system, System) else system for system in systems]
    holder = Holder(Setup(split, speech, out, suites, given))
    subjects = {name: list(holder.suite(name).subjects(names)) for name in suites}
    settings = remember(
        out,
        Settings(
            split=split,
            speech=_recordings(speech),
            suites={name: _asked(holder, name) for name in suites},
            subjects={name: _subject(holder, name) for some in subjects.values() for name in some},
            starts=[Start.now(command)],
        ),
    )
    done = {key(row): row for row in read_rows(out) if row.error is None}
    write_rows(out, done.values())
    jobs = [job for job in _jobs(holder, subjects, cases) if job.key not in done]
    facts = {name: {line for line in whole_lines(_manifest(out, name))} for name in suites}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=console is None) as bar:
        task = bar.add_task("evaluating", total=len(jobs))
        for row, known in _held(holder, jobs, workers):
            append(out / RESULTS, row)
            done[key(row)] = row
            if known is not None and suites[row.suite][0].folder is None:
                _note(out, row.suite, known, facts[row.suite])
            wrong = sum(one.error is not None for one in done.values())
            bar.update(task, advance=1, description=f"{row.suite}{f', {wrong} failed' if wrong else ''}")
    return settings, ordered(done.values(), settings)


def drawn(
    wanted: Sequence[Wanted], split: Split, cases: int | None = None, speech: Path | None = None
) -> dict[str, Iterator[Case]]:
    """Suite -> its cases, each drawn when it is taken; arguments and errors as of `run`."""
    suites = _by_suite(wanted)
    holder = Holder(Setup(split, speech, Path(), suites))

    def draw(name: str) -> Iterator[Case]:
        for family in holder.families(name):
            for index, _ in enumerate(holder.names(name, family, cases)):
                yield holder.draw(name, family, index)

    return {name: draw(name) for name in suites}


def _by_suite(wanted: Sequence[Wanted]) -> dict[str, list[Wanted]]:
    """Suite -> all that is asked for of it; its cases come from one place, or rows would not tell which they are."""
    suites: dict[str, list[Wanted]] = {}
    for one in wanted:
        some = suites.setdefault(one.suite.name, [])
        if some and some[0].folder != one.folder:
            raise ConfigError(
                f"{one.suite.name} is asked for with cases of two places; give each its own report (--out)"
            )
        some.append(one)
    return suites


def _jobs(holder: Holder, subjects: Mapping[str, Sequence[str]], cases: int | None) -> list[Job]:
    """All jobs, first cases first, so that a run that is stopped early has something of everything."""
    jobs = [
        Job(name, subject, family, case, index)
        for name, some in subjects.items()
        for family in holder.families(name)
        for subject in some
        for index, case in enumerate(holder.names(name, family, cases, subject))
    ]
    return sorted(jobs, key=lambda job: job.index)


def _held(holder: Holder, jobs: Sequence[Job], workers: int) -> Iterator[tuple[Row, dict[str, Any] | None]]:
    alone = [job for job in jobs if holder.suite(job.suite).alone]
    together = [job for job in jobs if not holder.suite(job.suite).alone]
    workers = min(workers, len(together))
    if workers > 1:
        holder.forget()
        yield from _in_parallel(holder.setup, together, workers)
        together = []
    for job in (*together, *alone):
        yield holder.row(job)


_holder: Holder | None = None


def _start(setup: Setup) -> None:
    global _holder
    os.environ["OMP_NUM_THREADS"] = "1"  # read when PyTorch is first imported here, if a system needs it at all
    _holder = Holder(setup)


def _hold(job: Job) -> tuple[Row, dict[str, Any] | None]:
    assert _holder is not None
    return _holder.row(job)


def _in_parallel(setup: Setup, jobs: Sequence[Job], workers: int) -> Iterator[tuple[Row, dict[str, Any] | None]]:
    """Hold jobs in processes; one that takes its process down with it fails alone."""
    left = dict.fromkeys(jobs)
    try:
        with _pool(setup, workers) as pool:
            futures = {pool.submit(_hold, job): job for job in jobs}
            try:
                for future in as_completed(futures):
                    result = future.result()
                    del left[futures[future]]
                    yield result
            finally:
                pool.shutdown(cancel_futures=True)
    except BrokenProcessPool:
        yield from _one_by_one(setup, list(left))


def _one_by_one(setup: Setup, jobs: Sequence[Job]) -> Iterator[tuple[Row, dict[str, Any] | None]]:
    """Hold each job so that it is known which one a process dies of."""
    waiting = list(jobs)
    while waiting:
        with _pool(setup, 1) as pool:
            try:
                while waiting:
                    result = pool.submit(_hold, waiting[0]).result()
                    waiting.pop(0)
                    yield result
            except BrokenProcessPool:
                yield failed(waiting.pop(0), DuologueError("its process was killed; perhaps memory ran out")), None


def _pool(setup: Setup, workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start, (setup,))


def _asked(holder: Holder, name: str) -> Asked:
    wanted = holder.setup.wanted[name][0]
    source = wanted.suite.cases_in(wanted.folder).fingerprint() if wanted.folder else ""
    return Asked(source=source, families=holder.families(name))


def _subject(holder: Holder, name: str) -> Subject:
    card = holder.system(name).card.model_copy(update={"measured": ()})
    if name not in holder.setup.systems:
        return Subject(fingerprint=fingerprint_of(name), card=card)
    return Subject(fingerprint=name, card=card)


def _recordings(speech: Path | None) -> str:
    return fingerprint(*sorted(speech.glob("*/manifest.jsonl"))) if speech else ""


def _manifest(out: Path, suite: str) -> Path:
    return out / "cases" / f"{suite}.jsonl"


def _note(out: Path, suite: str, known: dict[str, Any], there: set[str]) -> None:
    """Write a drawn case's facts down, once."""
    line = json.dumps(known, ensure_ascii=False)
    if line not in there:
        there.add(line)
        path = _manifest(out, suite)
        path.parent.mkdir(exist_ok=True)
        append(path, known)


def _file_name(name: str) -> str:
    """A name that files may have, different for different names."""
    plain = re.sub(r"[^\w.-]+", "-", name)
    return plain if plain == name else f"{plain}-{zlib.crc32(name.encode()):08x}"
