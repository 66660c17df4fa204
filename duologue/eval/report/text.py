"""A report as text: `summary.md` for people and repositories, `summary.json` for programs, tables for a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator

from rich import box
from rich.table import Table

from duologue.eval.figures import plain
from duologue.eval.report.contents import Contents, Grid, title
from duologue.eval.results import REFERENCES

PRINCIPAL = 3  # measures that the summary shows family by family of a suite that names none
NOTES = (
    "Brackets hold 95% intervals: Wilson's for shares of independent cases, else the bootstrap over cases, which is "
    "too sure of fewer than eight or so.",
    "Failed cases count as the worse outcome of every share. ↑ higher is better, ↓ lower is, →0 nearer to zero.",
    "\\* rests on a recogniser that is not ours; its own error shows on true speech and on the oracle's.",
)


def markdown(contents: Contents) -> str:
    """The report as a page of Markdown."""
    settings = contents.settings
    starts = dict.fromkeys((one.time[:10], one.commit or "unknown", one.command) for one in settings.starts)
    lines = [
        f"# Evaluation, {settings.split} split",
        "",
        *(f"{note}  " for note in NOTES),
        "",
        *(f"- {day}, commit {commit}: `{command}`" for day, commit, command in starts),
        *(f"- {machine}" for machine in dict.fromkeys(start.machine for start in settings.starts)),
        *(f"- **{name}**: {_about(contents, name)}" for name in settings.subjects),
        *([] if settings.speech else ["- Real people were not held: no folder of recordings was given (`--speech`)."]),
    ]
    for section in contents.sections:
        lines += ["", f"## {section.suite.title}", "", *markdown_table(section.overall())]
        named = [measure for measure in section.measures if measure.name in section.suite.principal]
        for measure in named or [measure for measure in section.measures if measure.better][:PRINCIPAL]:
            if len(section.families(measure)) > 1:
                lines += ["", f"### {title(measure)}", "", *markdown_table(section.by_family(measure))]
    lines += ["", "## Failed cases", "", *(list(_failures(contents)) or ["None."]), "", "## Families", ""]
    for name, asked in settings.suites.items():
        lines += [f"- {name}.{family}: {what}" for family, what in asked.families.items()]
    return "\n".join(lines) + "\n"


def as_json(contents: Contents) -> str:
    """All figures, the settings they were made under, and the failed cases."""
    figures = plain({section.suite.name: section.figures for section in contents.sections})
    failed = [
        {"suite": row.suite, "subject": row.subject, "case": row.case, "error": row.error} for row in contents.failures
    ]
    whole = {"settings": contents.settings.model_dump(mode="json"), "figures": figures, "failed": failed}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def terminal_table(heading: str, grid: Grid, caption: str = "") -> Table:
    """A table, its first row the head, for a terminal; its narrow lines leave the intervals to the page."""
    table = Table(title=heading, caption=caption, box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    for place, head in enumerate(grid[0]):
        table.add_column(head, overflow="fold", justify="right" if place else "left")
    for cells in grid[1:]:
        table.add_row(*(text.partition(" [")[0] for text in cells))
    return table


def terminal_tables(contents: Contents) -> list[Table]:
    """The figures over all families, a table a suite."""
    return [terminal_table(section.suite.title, section.overall()) for section in contents.sections]


def markdown_table(grid: Grid) -> list[str]:
    """The lines of a table, its first row the head, in Markdown."""
    escaped = [[cell.replace("|", "\\|").replace(" *", " \\*") for cell in cells] for cells in grid]
    return ["| " + " | ".join(cells) + " |" for cells in (escaped[0], ["---"] * len(grid[0]), *escaped[1:])]


def _about(contents: Contents, name: str) -> str:
    subject = contents.settings.subjects[name]
    role = f" ({REFERENCES[name]})" if name in REFERENCES else ""
    size = f"; {subject.card.parameters:,} parameters" if subject.card.parameters else ""
    return f"{subject.card.summary or subject.card.name}{role}{size}"


def _failures(contents: Contents) -> Iterator[str]:
    for row in contents.failures:
        yield f"- {row.suite} {row.case}, {row.subject}: {row.error}"
