"""`duologue eval`: how good systems are at conversation, side by side, as numbers and as a report to listen to."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from duologue.errors import ConfigError, DuologueError

if TYPE_CHECKING:
    from rich.console import Console

    from duologue.data.splits import Split
    from duologue.eval.gate import Bound
    from duologue.eval.holder import Wanted
    from duologue.eval.report.contents import Contents


MOST_WORKERS = 8
"""Where nobody says how many: every process holds all systems, some hundred megabytes each."""


def evaluate(
    systems: Annotated[
        list[str] | None,
        typer.Argument(
            help="Who is judged: box, a folder, a Hugging Face id, cascade; oracle, echo, always-talk, never-talk.",
            metavar="SYSTEM...",
        ),
    ] = None,
    suite: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME, NAME.FAMILY, or NAME=FOLDER for your own cases; may be given again. All by default. "
            "duplex.soak-60 and memory.long-120 are single conversations of so many minutes.",
            metavar="SUITE",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the report; a run that was stopped goes on there.")] = Path(
        "report"
    ),
    split: Annotated[str, typer.Option(help="dev to choose by, test once.")] = "dev",
    cases: Annotated[int | None, typer.Option(min=1, help="Cases of each family; as each suite suggests.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes, of one thread each; one a core where not given, 8 at most.")
    ] = None,
    speech: Annotated[Path | None, typer.Option(envvar="DUOLOGUE_SPEECH", help="Folder of real recordings.")] = None,
    export: Annotated[Path | None, typer.Option(help="Write the cases into this folder, and ask nobody.")] = None,
    compare: Annotated[
        tuple[Path, Path] | None, typer.Option(help="Compare two runs' folders, before and after.", metavar="A B")
    ] = None,
    fail_under: Annotated[
        list[str] | None,
        typer.Option(
            help="Fail if the first system is worse: SUITE[.FAMILY].METRIC=VALUE, by the names in summary.json and in "
            "the report's units.",
            metavar="BOUND",
        ),
    ] = None,
) -> None:
    """Judge systems by conversations that they hold themselves.

    The report goes to OUT/report.html, its figures to OUT/summary.md and summary.json, every case to OUT/results.jsonl.
    The exit code is 1, after all that is written, if a case failed or a bound of --fail-under is not kept.
    """
    from rich.console import Console

    from duologue.eval.gate import Bound

    console = Console(highlight=False)
    bounds = [Bound.parse(text) for text in fail_under or ()]
    if compare is not None:
        _compare(*compare, bounds, console)
        return
    if split not in ("dev", "test"):
        raise ConfigError(f"no split {split!r} to evaluate on; there are dev and test")
    known: Split = "test" if split == "test" else "dev"
    if speech is not None and not speech.is_dir():
        raise ConfigError(f"{speech} is no folder; --speech names the folder of real recordings")
    from duologue.eval.holder import Wanted
    from duologue.eval.runner import run
    from duologue.eval.suites import SUITES

    wanted = [Wanted.parse(text) for text in suite or SUITES]
    if export is not None:
        _export(wanted, export, known, cases, speech, console)
        return
    if not systems:
        raise ConfigError("name at least one system: box, a model folder, cascade, oracle, never-talk …")
    from duologue.eval.report.text import terminal_tables
    from duologue.eval.report.write import write

    command = shlex.join(["duologue", *sys.argv[1:]])
    progress = Console(stderr=True)
    processes = workers or min(MOST_WORKERS, os.cpu_count() or 1)
    run(systems, wanted, out, known, cases, processes, speech, command, progress)
    found = write(out)
    for table in terminal_tables(found):
        console.print(table)
    console.print(f"wrote {out / 'report.html'}", soft_wrap=True, markup=False)
    failed = len(found.failures)
    _check(
        found, bounds, [f"{failed} of {len(found.rows)} cases failed; {out / 'summary.md'} lists them"] * bool(failed)
    )


def _compare(before: Path, after: Path, bounds: Sequence[Bound], console: Console) -> None:
    from duologue.eval.compare import compare, grid, told
    from duologue.eval.report.contents import contents
    from duologue.eval.report.text import terminal_table

    found = compare(before, after)
    table = grid(found.changes)
    if len(table) > 1:
        console.print(terminal_table(f"{before} and {after}", table))
    for line in [*told(found.changes), *found.left_out]:
        console.print(line, soft_wrap=True, markup=False)
    _check(contents(after), bounds)


def _check(found: Contents, bounds: Sequence[Bound], failures: Sequence[str] = ()) -> None:
    """Fail where a case failed or a bound is not kept."""
    from duologue.eval.gate import gate

    wrong = [*failures, *gate(found, bounds)]
    if wrong:
        raise DuologueError("; ".join(wrong))


def _export(
    wanted: Sequence[Wanted], folder: Path, split: Split, cases: int | None, speech: Path | None, console: Console
) -> None:
    from duologue.eval.runner import drawn
    from duologue.eval.suites import find

    for name, found in drawn(wanted, split, cases, speech).items():
        count = find(name).write_cases(found, folder / name)
        console.print(f"wrote {count} cases to {folder / name}", soft_wrap=True, markup=False)
