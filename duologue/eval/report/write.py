"""Writes what a run shows: `report.html` to look at and to hear, `summary.md` to keep, `summary.json` for programs."""

from __future__ import annotations

from pathlib import Path

from duologue.atomic import write_text
from duologue.eval.report.contents import Contents, contents
from duologue.eval.report.page import page
from duologue.eval.report.text import as_json, markdown


def write(folder: Path) -> Contents:
    """Compute all figures of a run's folder from its rows and write them into it.

    Raises:
        DataError: there are no results in it, or they are damaged.
        DuologueError: it cannot be written.
    """
    found = contents(folder)
    write_text(folder / "summary.json", as_json(found))
    write_text(folder / "summary.md", markdown(found))
    write_text(folder / "report.html", page(found))
    return found
