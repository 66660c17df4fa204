"""Figures with their 95% intervals, made of rows by the measures of their suites; always the same of the same rows.

Shares of independent cases have Wilson's interval, all else is resampled by whole cases, so that what belongs to one
conversation stays together; and cases that ask one question under several conditions are resampled together (the
cluster bootstrap: Davison and Hinkley 1997, section 3.8), since who fails at it once fails at it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from duologue.eval.metrics import Interval, bootstrap, bootstrap_clusters, ratio, share
from duologue.eval.suites.base import Measure, Row, Suite

ALL = "all"
"""The family that is all families together."""


@dataclass(frozen=True)
class Cell:
    """One subject on one family: how many cases were held, how many of them failed, and the figures by name."""

    cases: int
    failed: int
    figures: dict[str, Interval]


Cells = dict[str, dict[str, Cell]]
"""Subject -> family -> cell."""
Counts = Callable[[Row, Measure], bool]
"""Whether a row counts for a measure."""
Trials = Callable[[Row, Measure], float]
"""How many trials of a measure a failed row stands for."""
Sample = tuple[float, float]
Kin = Callable[[Row], str]
"""What a row shares with the rows that it is not independent of."""


@dataclass(frozen=True)
class SuiteFigures:
    """All figures of a suite.

    Attributes:
        families: subject -> family, and `ALL` where there are several -> cell.
        groups: subject -> "category: plus" and the like, over all families -> cell.
    """

    families: Cells
    groups: Cells = field(default_factory=dict)


def samples(row: Row, measure: Measure, trials: float = 1.0) -> list[Sample]:
    """What a row adds to a figure: values, and how much each weighs (trials of a share, words of a rate, else 1).

    Nothing where there was nothing to measure; several where the row holds several, as a dialogue its latencies. A
    failed case is the worse outcome of a share's `trials`, as many as it would have been.
    """
    if row.error is not None:
        if measure.kind != "share" or measure.better is None:
            return []
        return [(0.0 if measure.better == "higher" else trials, trials)]
    value = row.values.get(measure.value)
    if isinstance(value, list):
        return [(float(one), 1.0) for one in value]
    weight = row.values.get(measure.over) if measure.over else 1.0
    if not isinstance(value, bool | int | float) or not isinstance(weight, bool | int | float) or not weight:
        return []
    return [(float(value), float(weight))]


def sample(row: Row, measure: Measure) -> Sample | None:
    """The same as one, to be paired with another row's: the median where there are several; None where none."""
    found = samples(row, measure)
    return (float(np.median([value for value, _ in found])), found[0][1]) if found else None


def statistic(measure: Measure, samples: NDArray[np.float64], axis: int = 0) -> NDArray[np.float64]:
    """The figure of samples (..., n, 2), the cases along `axis`, without its interval."""
    values = samples[..., 0]
    found: NDArray[np.float64]
    match measure.kind:
        case "share" | "ratio":
            found = ratio(samples, axis)
        case "mean":
            found = values.mean(axis)
        case "median":
            found = np.median(values, axis)
        case "p90":
            found = np.percentile(values, 90, axis)
    return found


def figure(
    rows: Iterable[Row], measure: Measure, kin: Kin = Suite.kin, trials: Trials = lambda row, measure: 1.0
) -> Interval | None:
    """A measure's figure over rows, or None where none of them could be measured; `kin` tells which belong together."""
    found = [(kin(row), one) for row in rows for one in samples(row, measure, trials(row, measure))]
    if not found:
        return None
    together: dict[str, list[tuple[float, float]]] = {}
    for name, one in found:
        together.setdefault(name, []).append(one)
    drawn = np.array([one for _, one in found])
    hits, tried = drawn.T
    if measure.kind == "share":
        if (hits == 0).all() or (hits == tried).all():  # resampling shows no spread where all agree; cases still few
            return share([hits[0] > 0] * len(together), len(found))
        if (tried == 1).all() and len(together) == len(found):
            return share(hits > 0)
    if len(together) == len(found):
        return bootstrap(drawn, partial(statistic, measure))
    return bootstrap_clusters([np.array(some) for some in together.values()], partial(statistic, measure))


def counting(rows: Iterable[Row], measures: Sequence[Measure]) -> Counts:
    """Tells whether a row of a suite counts for a measure at all, given all rows of all subjects.

    A failed case counts only where the cases of its family are measured in this way: who failed at a greeting was never
    asked to yield. If nobody held any case of its family, it counts everywhere.
    """
    fine = [row for row in rows if row.error is None]
    held = {row.family for row in fine}
    known = {(row.family, one.name) for row in fine for one in measures if samples(row, one)}
    return lambda row, one: row.error is None or row.family not in held or (row.family, one.name) in known


def trials_of(rows: Iterable[Row]) -> Trials:
    """Tells how many trials a failed case would have been, given all rows of all subjects.

    As many as the same case was with another subject, else as one of its family usually is: a dialogue of four turns
    that broke off is four turns that were not answered.
    """
    fine = [row for row in rows if row.error is None]

    def trials(row: Row, measure: Measure) -> float:
        if row.error is None or not measure.over:
            return 1.0
        for like in ([one for one in fine if one.case == row.case], [one for one in fine if one.family == row.family]):
            found = [weight for one in like for _, weight in samples(one, measure)]
            if found:
                return float(np.median(found))
        return 1.0

    return trials


def cell(rows: Sequence[Row], suite: type[Suite], counts: Counts, trials: Trials) -> Cell:
    """All figures of some rows of one subject."""
    found = {
        one.name: figure([row for row in rows if counts(row, one)], one, suite.kin, trials) for one in suite.measures
    }
    figures = {name: interval for name, interval in found.items() if interval is not None}
    return Cell(len(rows), sum(row.error is not None for row in rows), figures)


def summarise(rows: Iterable[Row], suite: type[Suite]) -> SuiteFigures:
    """All figures of a suite, subjects and families in the order of their first rows."""
    mine = [row for row in rows if row.suite == suite.name]
    counts, trials = counting(mine, suite.measures), trials_of(mine)
    families: Cells = {}
    groups: Cells = {}
    for subject in dict.fromkeys(row.subject for row in mine):
        held = [row for row in mine if row.subject == subject]
        parts = _parts(held, [row.family for row in held])
        if len(parts) > 1:
            parts[ALL] = held
        families[subject] = {name: cell(part, suite, counts, trials) for name, part in parts.items()}
        for group in suite.groups:
            named = [row for row in held if isinstance(row.values.get(group), str)]
            by_name = sorted(_parts(named, [f"{group}: {row.values[group]}" for row in named]).items())
            cells = {name: cell(part, suite, counts, trials) for name, part in by_name}
            groups.setdefault(subject, {}).update(cells)
    return SuiteFigures(families, groups)


def _parts(rows: Iterable[Row], names: Iterable[str]) -> dict[str, list[Row]]:
    parts: dict[str, list[Row]] = {}
    for row, name in zip(rows, names, strict=True):
        parts.setdefault(name, []).append(row)
    return parts


def text(measure: Measure, interval: Interval | None) -> str:
    """A figure as it is printed, in the measure's unit: "85 [81, 89]"; a dash where it was not measured."""
    if interval is None:
        return "-"
    if interval.low == interval.high:  # a single case has a value, but nothing tells how sure it is
        return f"{interval.value * measure.scale:.{measure.digits}f}"
    return interval.text(measure.scale, measure.digits)


def heading(measure: Measure) -> str:
    """A measure's title with its unit: "reply after, s"."""
    return f"{measure.title}, {measure.unit}" if measure.unit else measure.title


def plain(figures: Mapping[str, SuiteFigures]) -> dict[str, object]:
    """Figures as they are written to JSON: suite -> families and groups -> subject -> family -> cases and figures."""
    return {
        suite: {
            kind: {subject: {name: _plain(one) for name, one in found.items()} for subject, found in cells.items()}
            for kind, cells in (("families", both.families), ("groups", both.groups))
        }
        for suite, both in figures.items()
    }


def _plain(one: Cell) -> dict[str, object]:
    shown = {
        name: {
            "value": round(interval.value, 6),
            "low": round(interval.low, 6),
            "high": round(interval.high, 6),
            "count": interval.count,
        }
        for name, interval in one.figures.items()
    }
    return {"cases": one.cases, "failed": one.failed, "figures": shown}
