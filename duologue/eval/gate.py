"""Bounds below which a run fails, for CI: "answers.right=80" as the report names its figures and in its units."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

from duologue.errors import ConfigError
from duologue.eval.figures import ALL
from duologue.eval.report.contents import Contents
from duologue.eval.suites import find
from duologue.eval.suites.base import Measure

T = TypeVar("T")


@dataclass(frozen=True)
class Bound:
    """What a figure must not be worse than.

    Attributes:
        name: as it was given, without its value.
        family: empty for all families together.
        limit: in the measure's unit. A figure must not be below it; one of which less is better, not above; one that
            is best at zero, not farther from it.
    """

    name: str
    suite: str
    family: str
    measure: Measure
    limit: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "suite.metric=value", over all families, or "suite.family.metric=value".

        Raises:
            ConfigError: it is malformed, or names no measure of a suite or one of which neither way is better.
        """
        name, _, number = text.partition("=")
        suite, _, rest = name.partition(".")
        family, _, metric = rest.rpartition(".")  # a family's name may have a full stop: "pause-0.5"
        try:
            limit = float(number if metric else "")
        except ValueError:
            limit = math.nan
        if not math.isfinite(limit):
            raise ConfigError(f"{text!r} is no bound; write suite.metric=value or suite.family.metric=value")
        measure = _named({measure.name: measure for measure in find(suite).measures}, metric, text)
        if measure.better is None:
            raise ConfigError(f"{text!r}: neither more nor less of {metric} is better, so it cannot fail")
        return cls(name, suite, family, measure, limit)

    def broken(self, found: Contents) -> str | None:
        """How the first system of a run does not keep it, as a line; None where it does.

        Raises:
            ConfigError: the run did not measure that.
        """
        section = _named({section.suite.name: section for section in found.sections}, self.suite, self.name)
        measure, families = self.measure, section.families(self.measure)
        family = self.family or (ALL if ALL in families else next(iter(families), ALL))
        subject = section.subjects[0]
        cells = section.figures.families[subject]
        figures = {name: cell.figures[measure.name] for name, cell in cells.items() if measure.name in cell.figures}
        interval = _named(figures, family, self.name)
        value = interval.value * measure.scale
        worse: Callable[[float, float], bool] = operator.lt if measure.better == "higher" else operator.gt
        if not worse(abs(value) if measure.better == "zero" else value, self.limit):
            return None
        side = {"higher": "below", "lower": "above", "zero": "farther from zero than"}[measure.better or "higher"]
        shown = f"{interval.value * measure.scale:.{max(1, measure.digits)}f}"
        return f"{subject}: {self.name} is {shown}, {side} {self.limit:g} ({interval.count} cases)"


def gate(found: Contents, bounds: Sequence[Bound]) -> list[str]:
    """The bounds that the first system of a run does not keep, each as a line; empty where all is well.

    Raises:
        ConfigError: a bound is of something that the run did not measure.
    """
    return [line for bound in bounds if (line := bound.broken(found)) is not None]


def _named(known: Mapping[str, T], name: str, bound: str) -> T:
    if name not in known:
        raise ConfigError(f"{bound!r}: there is no figure of {name!r}; there are {', '.join(known) or 'none'}")
    return known[name]
