"""Plots of intervals as HTML and SVG in percent of their width, so that they fit a phone and stay sharp in print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import count

import numpy as np

from duologue.eval.figures import ALL, text
from duologue.eval.metrics import Interval
from duologue.eval.report.contents import Section
from duologue.eval.results import REFERENCES
from duologue.eval.suites.base import Measure, Stack

LANE = 15  # pixels a subject
COLOURS = 8  # then they begin again


def colours(subjects: Sequence[str]) -> dict[str, str]:
    """Subject -> its CSS classes: a colour everywhere the same, hollow where it is there to be compared with."""
    return {
        name: f"s{place % COLOURS}{' hollow' if name in REFERENCES else ''}"
        for name, place in zip(subjects, count(), strict=False)
    }


def legend(subjects: Sequence[str], classes: Mapping[str, str]) -> str:
    """Which colour is whose."""
    items = [
        f"<li>{dot(classes[name])}"
        f"{escape(name)}{f' <small>{REFERENCES[name]}</small>' if name in REFERENCES else ''}</li>"
        for name in subjects
    ]
    return f'<ul class="legend">{"".join(items)}</ul>'


def dot(css: str) -> str:
    """A subject's dot."""
    return f'<svg width="14" height="14" aria-hidden="true"><circle class="{css}" cx="7" cy="7" r="5"/></svg>'


def intervals(section: Section, measure: Measure, classes: Mapping[str, str]) -> str:
    """A measure as dots with whiskers: a row a family (then a row a group), in it a lane a subject."""
    rows: list[tuple[str, dict[str, Interval]]] = []
    for names, cells in (
        (section.families(measure), section.figures.families),
        (section.groups(measure), section.figures.groups),
    ):
        for name in names:
            found = {
                subject: mine[name].figures[measure.name]
                for subject, mine in cells.items()
                if name in mine and measure.name in mine[name].figures
            }
            rows.append((name, found))
    ticks = axis([interval for _, found in rows for interval in found.values()], measure)
    parts = [_row(name, found, measure, ticks, section.subjects, classes) for name, found in rows]
    labels = "".join(
        f'<text x="{_place(tick, ticks):.2f}%" y="12" class="{_side(place, len(ticks))}">'
        f"{tick * measure.scale:.{_digits(ticks, measure)}f}</text>"
        for place, tick in enumerate(ticks)
    )
    axis_row = f'<div class="row axis"><div></div><svg width="100%" height="16">{labels}</svg></div>'
    return f'<div class="plot">{"".join(parts)}{axis_row}</div>'


def stack(section: Section, whole: Stack) -> str:
    """Means that add up to a whole as one bar a subject, over all families; nothing where none was measured.

    What is negative (a reply that begins too early) has no length and is in the sum that stands behind the bar.
    """
    parts = [measure for name in whole.parts for measure in section.measures if measure.name == name]
    bars: dict[str, list[float]] = {}
    for subject, cells in section.figures.families.items():
        cell = cells.get(ALL) or next(iter(cells.values()))
        found = [cell.figures.get(part.name) for part in parts]
        if any(found):
            bars[subject] = [one.value if one else 0.0 for one in found]
    if not bars:
        return ""
    unit = parts[0]
    longest = max(sum(max(0.0, one) for one in values) for values in bars.values()) or 1.0
    rows = "".join(_bar(name, values, parts, longest) for name, values in bars.items())
    items = "".join(f"<li>{dot(f's{place % COLOURS}')}{escape(part.title)}</li>" for place, part in enumerate(parts))
    heading = escape(f"{whole.title}, mean in {unit.unit}")
    return f'<h3>{heading}</h3><ul class="legend">{items}</ul><div class="plot">{rows}</div>'


def _bar(subject: str, values: Sequence[float], parts: Sequence[Measure], longest: float) -> str:
    start, drawn = 0.0, ""
    for place, (value, part) in enumerate(zip(values, parts, strict=True)):
        width = 88 * max(0.0, value) / longest  # percent; the sum stands in the rest
        label = f"{part.title}: {value * part.scale:.{part.digits}f} {part.unit}"
        drawn += (
            f'<g class="s{place % COLOURS}"><title>{escape(label)}</title>'
            f'<rect x="{start:.2f}%" y="3" width="{width:.2f}%" height="{LANE}"/></g>'
        )
        start += width
    total = f"{sum(values) * parts[0].scale:.{parts[0].digits}f}"
    return (
        f'<div class="row"><div class="label">{escape(subject)}</div><svg width="100%" height="{LANE + 6}">{drawn}'
        f'<text x="{start + 1:.2f}%" y="{LANE}" class="first">{total}</text></svg></div>'
    )


def axis(found: Sequence[Interval], measure: Measure) -> list[float]:
    """Round values that span all intervals, four or five of them; a share's are 0 to 1."""
    if measure.kind == "share":
        return [0.0, 0.25, 0.5, 0.75, 1.0]
    low = min(0.0, *(interval.low for interval in found))
    high = max(0.0, *(interval.high for interval in found))
    if high <= low:
        high = low + 1 / measure.scale
    rough = (high - low) * measure.scale / 4
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= rough * 0.999) / measure.scale
    first, last = int(np.floor(low / step + 1e-9)), int(np.ceil(high / step - 1e-9))
    return [number * step for number in range(first, last + 1)]


def _row(
    name: str,
    found: Mapping[str, Interval],
    measure: Measure,
    ticks: Sequence[float],
    subjects: Sequence[str],
    classes: Mapping[str, str],
) -> str:
    here = [subject for subject in subjects if subject in found]
    height = LANE * len(here) + 6
    grid = ""
    for tick in ticks:
        x, kind = f"{_place(tick, ticks):.2f}%", "zero" if tick == 0 else "grid"
        grid += f'<line class="{kind}" x1="{x}" x2="{x}" y1="0" y2="{height}"/>'
    dots = []
    for lane, subject in enumerate(here):
        interval, y = found[subject], 3 + LANE * lane + LANE / 2
        value, low, high = (_place(number, ticks) for number in (interval.value, interval.low, interval.high))
        dots.append(
            f'<g class="{classes[subject]}"><title>{escape(subject)}: {escape(text(measure, interval))}, '
            f"{interval.count} cases</title>"
            f'<line x1="{low:.2f}%" x2="{high:.2f}%" y1="{y}" y2="{y}"/><circle cx="{value:.2f}%" cy="{y}" r="5"/></g>'
        )
    return (
        f'<div class="row{" all" if name == ALL else ""}"><div class="label">{escape(name)}</div>'
        f'<svg width="100%" height="{height}">{grid}{"".join(dots)}</svg></div>'
    )


def _place(value: float, ticks: Sequence[float]) -> float:
    """Percent of the width; what lies at an edge keeps its dot inside."""
    return 2 + 96 * (value - ticks[0]) / (ticks[-1] - ticks[0])


def _side(place: int, ticks: int) -> str:
    return "first" if place == 0 else "last" if place == ticks - 1 else "middle"


def _digits(ticks: Sequence[float], measure: Measure) -> int:
    step = (ticks[1] - ticks[0]) * measure.scale
    return max(0, -int(np.floor(np.log10(step) + 1e-9)))
