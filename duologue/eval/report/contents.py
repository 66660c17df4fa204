"""What a report is made of: a run's settings, its rows, and the figures of each suite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from duologue.errors import DataError
from duologue.eval.figures import ALL, Cells, SuiteFigures, heading, summarise, text
from duologue.eval.metrics import Interval
from duologue.eval.results import Settings, ordered, read_rows, read_settings
from duologue.eval.suites import find
from duologue.eval.suites.base import Measure, Row, Suite

Grid = list[list[str]]
"""A table as text, its first row the head."""


@dataclass(frozen=True)
class Section:
    """A suite in a report: its kind, its figures and its rows."""

    suite: type[Suite]
    figures: SuiteFigures
    rows: Sequence[Row]

    @property
    def subjects(self) -> list[str]:
        """Who was judged."""
        return list(self.figures.families)

    @property
    def measures(self) -> list[Measure]:
        """The measures of which there is a figure."""
        cells = [cell for found in self.figures.families.values() for cell in found.values()]
        return [measure for measure in self.suite.measures if any(measure.name in cell.figures for cell in cells)]

    def families(self, measure: Measure) -> list[str]:
        """The families on which a measure has a figure, `ALL` last where there are several."""
        return _named(self.figures.families, measure)

    def groups(self, measure: Measure) -> list[str]:
        """The groups ("category: plus") for which a measure has a figure."""
        return _named(self.figures.groups, measure)

    def overall(self) -> Grid:
        """Every measure over all families, subjects side by side."""
        grid = [["", *self.subjects], ["cases", *(str(self._whole(name)[0]) for name in self.subjects)]]
        if any(self._whole(name)[1] for name in self.subjects):
            grid.append(["failed", *(str(self._whole(name)[1]) for name in self.subjects)])
        for measure in self.measures:
            families = self.families(measure)
            family = ALL if ALL in families else families[0]
            grid.append([title(measure), *self._line(self.figures.families, measure, family)])
        return grid

    def by_family(self, measure: Measure) -> Grid:
        """A measure family by family, then group by group, subjects side by side and what belongs beside them."""
        figures = self.figures
        beside = [other for other in self.measures if other.name == measure.beside]
        grid = [["", *self.subjects, *map(title, beside)]]
        for cells, names in ((figures.families, self.families(measure)), (figures.groups, self.groups(measure))):
            for name in names:
                shared = [text(other, _shared(cells, other, name)) for other in beside]
                grid.append([name, *self._line(cells, measure, name), *shared])
        return grid

    def _line(self, cells: Cells, measure: Measure, name: str) -> list[str]:
        found = [cells.get(subject, {}).get(name) for subject in self.subjects]
        return [text(measure, cell.figures.get(measure.name) if cell else None) for cell in found]

    def _whole(self, subject: str) -> tuple[int, int]:
        """Cases and failed ones of a subject."""
        mine = [row for row in self.rows if row.subject == subject]
        return len(mine), sum(row.error is not None for row in mine)


@dataclass(frozen=True)
class Contents:
    """A whole report: the run's folder and settings, and a section for each suite."""

    folder: Path
    settings: Settings
    sections: Sequence[Section]

    @property
    def rows(self) -> list[Row]:
        """All rows."""
        return [row for section in self.sections for row in section.rows]

    @property
    def failures(self) -> list[Row]:
        """The cases that failed."""
        return [row for row in self.rows if row.error is not None]


def contents(folder: Path) -> Contents:
    """Read a run's folder and compute its figures.

    Raises:
        DataError: there are no results in it, or they are damaged.
    """
    settings = read_settings(folder)
    rows = read_rows(folder)
    if settings is None or not rows:
        raise DataError(f"{folder} holds no results of an evaluation; name the folder given to --out")
    placed = ordered(rows, settings)
    sections = []
    for name in settings.suites:
        mine = [row for row in placed if row.suite == name]
        if mine:
            suite = find(name)
            sections.append(Section(suite, summarise(mine, suite), mine))
    return Contents(folder, settings, sections)


def title(measure: Measure) -> str:
    """A measure's heading with its direction, and a mark where a recogniser's own errors are in it."""
    arrow = {"higher": " ↑", "lower": " ↓", "zero": " →0", None: ""}[measure.better]
    return f"{heading(measure)}{arrow}{' *' if measure.recognised else ''}"


def _shared(cells: Cells, measure: Measure, name: str) -> Interval | None:
    """A figure that is the same for every subject, of the one who was held on most cases."""
    figures = [mine[name].figures for mine in cells.values() if name in mine]
    found = [one[measure.name] for one in figures if measure.name in one]
    return max(found, key=lambda interval: interval.count, default=None)


def _named(cells: Cells, measure: Measure) -> list[str]:
    names = dict.fromkeys(name for found in cells.values() for name in found)
    found = [
        name for name in names if any(name in mine and measure.name in mine[name].figures for mine in cells.values())
    ]
    parts = [name for name in found if name != ALL]
    return [*parts, ALL] if ALL in found and len(parts) > 1 else parts
