"""A run: all cases of any suites with any systems, written down as they are held; one that was stopped goes on.

A case that fails becomes a row with its error: it counts against the system, is listed, and is tried again when the
run is started again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from duologue.data.splits import Split
from duologue.errors import ConfigError
from duologue.eval.holder import Holder, Job, Setup, Wanted
from duologue.eval.parallel import held
from duologue.eval.results import (
    RESULTS,
    Asked,
    Settings,
    Start,
    Subject,
    append,
    fingerprint_of,
    key,
    manifest,
    ordered,
    read_rows,
    remember,
    whole_lines,
    write_rows,
)
from duologue.eval.suites.base import Case, Row
from duologue.provenance import fingerprint
from duologue.systems.base import System


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
    jobs = list(_jobs(holder, subjects, cases))
    again = {job.key for job in jobs}  # of failed cases, those that are asked for now; others stay on record
    done = {key(row): row for row in read_rows(out) if row.error is None or key(row) not in again}
    write_rows(out, done.values())
    jobs = [job for job in jobs if job.key not in done]
    facts = {name: {line for line in whole_lines(manifest(out, name))} for name in suites}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=console is None) as bar:
        task = bar.add_task("evaluating", total=len(jobs))
        for row, known in held(holder, jobs, workers):
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


def _note(out: Path, suite: str, known: dict[str, Any], there: set[str]) -> None:
    """Write a drawn case's facts down, once."""
    line = json.dumps(known, ensure_ascii=False)
    if line not in there:
        there.add(line)
        path = manifest(out, suite)
        path.parent.mkdir(exist_ok=True)
        append(path, known)
