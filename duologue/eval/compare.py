"""Two runs on the same cases: what got better, what got worse.

Only cases that both runs held are compared, each with itself: by its name, and by the facts that the runs wrote down of
it (texts, voice, seconds of audio), since the same name may stand for another case after the drawing was changed.
Shares of single trials are tested by McNemar's exact test (1947: the binomial of the cases that changed), medians by
Wilcoxon's signed ranks (1945), all else by a paired permutation test (Fisher 1935): how often the difference would be
as large if it were chance which of a case's two results came first. None of them claims anything of a few cases: n
pairs give a p of 2 / 2^n at the least. As many figures are compared at once, p-values are adjusted by Benjamini and
Hochberg (1995), and a figure is called better or worse where its adjusted p is below 0.05. Intervals of differences are
of the paired bootstrap (Efron and Tibshirani 1993). Where one question is asked under several conditions, its cases are
drawn together and swapped together, and the test is by permutation whatever the figure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, false_discovery_control, wilcoxon

from duologue.errors import DataError
from duologue.eval.figures import ALL, Kin, counting, sample, statistic
from duologue.eval.metrics import Interval
from duologue.eval.report.contents import Contents, Grid, Section, contents, title
from duologue.eval.results import drawn_cases
from duologue.eval.suites.base import Measure, Row, Suite

LEVEL = 0.05
DRAWS = 2000
Pair = tuple[Row, Row]
"""A case's rows, before and after."""
LISTED = 10  # cases that changed, of each figure that did


@dataclass(frozen=True)
class Change:
    """A figure before and after, on the same cases.

    Attributes:
        difference: after minus before, with its 95% interval; its count is of the pairs.
        p: two-sided, adjusted for all figures that are compared.
        lost, won: of a share of single trials, the cases that got worse and better.
    """

    suite: str
    family: str
    measure: Measure
    before: float
    after: float
    difference: Interval
    p: float
    lost: tuple[str, ...] = ()
    won: tuple[str, ...] = ()

    @property
    def verdict(self) -> Literal["better", "worse", "changed", "unchanged"]:
        """What became of it; "changed" where neither way is better."""
        if self.p >= LEVEL or self.difference.value == 0:
            return "unchanged"
        if self.measure.better is None:
            return "changed"
        if self.measure.better == "zero":
            return "better" if abs(self.after) < abs(self.before) else "worse"
        return "better" if (self.difference.value > 0) == (self.measure.better == "higher") else "worse"


@dataclass(frozen=True)
class Comparison:
    """All figures before and after; `left_out` says in a line a suite which cases were not the same, and why."""

    changes: list[Change]
    left_out: list[str]


def compare(before: Path, after: Path) -> Comparison:
    """All figures of the first system in two runs' folders that both measured on the same cases.

    The systems may go by different names: the first of each run is compared.

    Raises:
        DataError: a folder holds no results, or they have no case in common, or their splits differ.
    """
    old, new = contents(before), contents(after)
    if old.settings.split != new.settings.split:
        raise DataError(
            f"{before} is of the {old.settings.split} split and {after} of {new.settings.split}: no cases in common"
        )
    known = {section.suite.name: section for section in old.sections}
    changes: list[Change] = []
    left_out: list[str] = []
    for section in new.sections:
        name = section.suite.name
        if name in known:
            named = _pairs(known[name], section)
            same, why = _same(named, name, old, new)
            if len(same) < len(named):
                left_out.append(f"{name}: {len(named) - len(same)} of {len(named)} cases are left out: {why}")
            changes += _changes(same, known[name], section)
    if not changes:
        why = "; ".join(left_out) or "run the same suites in both"
        raise DataError(f"{before} and {after} have no case in common; {why}")
    adjusted = false_discovery_control([change.p for change in changes])
    return Comparison(
        [replace(change, p=float(p)) for change, p in zip(changes, adjusted, strict=True)],
        left_out,
    )


def _pairs(old: Section, new: Section) -> list[Pair]:
    first, second = _of_first(old), _of_first(new)
    return [(first[place], row) for place, row in second.items() if place in first]


def _same(pairs: Sequence[Pair], suite: str, old: Contents, new: Contents) -> tuple[list[Pair], str]:
    """The pairs that are of one and the same case, and why others are not.

    A case that was never drawn, as its process died, has no facts; it failed, which is to be compared.
    """
    if old.settings.suites[suite].source != new.settings.suites[suite].source:
        return [], "the runs took them from different folders, or from one that was changed"
    facts = [drawn_cases(run.folder, suite) for run in (old, new)]
    same = []
    for pair in pairs:
        before, after = (known.get((pair[0].family, pair[0].case)) for known in facts)
        if before is None or after is None or before == after:
            same.append(pair)
    return same, f"their facts (cases/{suite}.jsonl) differ between the runs"


def _changes(same: Sequence[Pair], old: Section, new: Section) -> Iterator[Change]:
    families = list(dict.fromkeys(row.family for row, _ in same))
    counts = counting([*old.rows, *new.rows], new.suite.measures)
    for family in [*families, *([ALL] if len(families) > 1 else [])]:
        pairs = [pair for pair in same if family in (ALL, pair[0].family)]
        for measure in new.suite.measures:
            relevant = [pair for pair in pairs if all(counts(row, measure) for row in pair)]
            change = change_of(relevant, measure, new.suite.name, family, new.suite.kin)
            if change is not None:
                yield change


def _of_first(section: Section) -> dict[tuple[str, str], Row]:
    subject = section.subjects[0]
    return {(row.family, row.case): row for row in section.rows if row.subject == subject}


def change_of(
    pairs: Sequence[Pair], measure: Measure, suite: str = "", family: str = "", kin: Kin = Suite.kin
) -> Change | None:
    """A measure on pairs of rows of the same cases, its p not adjusted; None where no pair could be measured twice."""
    both = [(row, sample(row, measure), sample(other, measure)) for row, other in pairs]
    found = [(row, old, new) for row, old, new in both if old is not None and new is not None]
    if not found:
        return None
    samples = np.array([(old, new) for _, old, new in found])  # (cases, before and after, value and weight)
    clusters = np.unique([kin(row) for row, _, _ in found], return_inverse=True)[1]
    before, after = (float(statistic(measure, samples[:, side])) for side in (0, 1))
    low, high = np.percentile(_resampled(samples, clusters, measure), [2.5, 97.5])
    interval = Interval(after - before, float(low), float(high), len(found))
    lost: list[str] = []
    won: list[str] = []
    single = measure.kind == "share" and bool((samples[..., 1] == 1).all())
    if single:
        won = [row.case for row, old, new in found if new[0] > old[0]]
        lost = [row.case for row, old, new in found if new[0] < old[0]]
    apart = clusters.max() + 1 == len(found)
    if apart and single:
        p = float(binomtest(len(won), len(won) + len(lost)).pvalue) if won or lost else 1.0
    elif apart and measure.kind == "median":
        shifts = np.diff(samples[..., 0]).ravel()
        p = float(wilcoxon(shifts).pvalue) if shifts.any() else 1.0
    else:
        larger = np.abs(_swapped(samples, clusters, measure)) >= abs(after - before) - 1e-12
        p = (float(larger.sum()) + 1) / (DRAWS + 1)
    if measure.better == "lower":
        lost, won = won, lost
    return Change(suite, family, measure, before, after, interval, p, tuple(lost), tuple(won))


def _resampled(samples: NDArray[np.float64], clusters: NDArray[np.int64], measure: Measure) -> NDArray[np.float64]:
    """After minus before of `DRAWS` resamples of the clusters of cases, pairs staying together."""
    count = int(clusters.max()) + 1
    picks = np.random.default_rng(0).integers(0, count, (DRAWS, count))
    if count == len(samples):
        return _differences(samples[np.argsort(clusters)][picks], measure)
    members = [samples[clusters == cluster] for cluster in range(count)]
    drawn = (np.concatenate([members[pick] for pick in some]) for some in picks)
    return np.concatenate([_differences(one[None], measure) for one in drawn])


def _swapped(samples: NDArray[np.float64], clusters: NDArray[np.int64], measure: Measure) -> NDArray[np.float64]:
    """After minus before of all cases, `DRAWS` times with before and after of each cluster swapped or not by a coin."""
    swaps = np.random.default_rng(0).random((DRAWS, int(clusters.max()) + 1))[:, clusters, None, None] < 0.5
    return _differences(np.where(swaps, samples[:, ::-1], samples), measure)


def _differences(drawn: NDArray[np.float64], measure: Measure) -> NDArray[np.float64]:
    """After minus before of samples (draws, cases, before and after, value and weight): (draws,)."""
    return statistic(measure, drawn[:, :, 1], axis=1) - statistic(measure, drawn[:, :, 0], axis=1)


def grid(changes: Sequence[Change]) -> Grid:
    """What changed, the surest first, and how much did not, as a table."""
    head = ["figure", "before", "after", "difference", "p", "pairs", ""]
    moved = sorted((change for change in changes if change.verdict != "unchanged"), key=lambda change: change.p)
    return [head, *(_line(change) for change in moved)]


def _line(change: Change) -> list[str]:
    measure = change.measure
    digits = max(measure.digits, 1 if measure.scale == 100 else measure.digits)
    before, after = (f"{value * measure.scale:.{digits}f}" for value in (change.before, change.after))
    name = f"{change.suite}.{change.family}: {title(measure)}"
    difference = change.difference.text(measure.scale, digits)
    return [name, before, after, difference, f"{change.p:.2g}", str(change.difference.count), change.verdict]


def told(changes: Sequence[Change]) -> list[str]:
    """The comparison in words: how many figures went which way, and which cases changed sides."""
    verdicts = [change.verdict for change in changes]
    kinds = ("better", "worse", "changed", "unchanged")
    lines = [", ".join(f"{verdicts.count(kind)} {kind}" for kind in kinds if kind in verdicts)]
    for change in changes:
        for what, cases in (("worse", change.lost), ("better", change.won)):
            if cases and change.family != ALL:
                rest = f" and {len(cases) - LISTED} more" if len(cases) > LISTED else ""
                lines.append(f"{what}: {change.suite} {change.measure.title}: {', '.join(cases[:LISTED])}{rest}")
    return lines
