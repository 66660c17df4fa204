"""The conversations of a report: each with its time line and player, what was measured of it and what was said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from duologue.errors import AudioError
from duologue.eval.report.contents import Contents, Section
from duologue.eval.report.html import names, words
from duologue.eval.report.plots import dot
from duologue.eval.report.timeline import Room, timeline
from duologue.eval.results import REFERENCES
from duologue.eval.suites.base import Row


def conversations(section: Section, contents: Contents, classes: Mapping[str, str], room: Room) -> Iterator[str]:
    """A conversation of each family with each subject; those for whose sound there is no room are only drawn."""
    first: dict[str, dict[str, Row]] = {}
    for row in section.rows:
        if row.audio is not None:
            first.setdefault(row.family, {}).setdefault(row.subject, row)
    for place, (family, rows) in enumerate(first.items()):
        parts = [_conversation(row, section, contents, classes[subject], room) for subject, row in rows.items()]
        opened = " open" if place == 0 else ""
        yield f"<details{opened}><summary>{escape(family)}</summary>{''.join(parts)}</details>"


def _conversation(row: Row, section: Section, contents: Contents, css: str, room: Room) -> str:
    try:
        # What is there only to be compared with is to be seen; who wants to hear it has the file.
        drawn = timeline(contents.folder / str(row.audio), row.marks, Room(0) if row.subject in REFERENCES else room)
    except AudioError as error:
        drawn = f'<p class="bad">{escape(str(error))}</p>'
    return (
        f"<article><h4>{dot(css)}{escape(row.subject)} <small>{escape(row.case)}</small></h4>{drawn}"
        f"{_values(row, section)}{''.join(_detail(row.detail))}</article>"
    )


def _values(row: Row, section: Section) -> str:
    """What was measured of one case."""
    chips = {}
    for measure in section.suite.measures:
        value = row.values.get(measure.value)
        name = measure.value.replace("_", " ")
        if isinstance(value, bool):
            chips[name] = "yes" if value else "no"
        elif isinstance(value, int | float | list) and not measure.over:
            several = value if isinstance(value, list) else [value]
            shown = [f"{one * measure.scale:.{measure.digits}f}" for one in several]
            chips[f"{name}, {measure.unit}" if measure.unit else name] = ", ".join(shown)
    items = "".join(f"<li>{escape(name)} <b>{escape(value)}</b></li>" for name, value in chips.items())
    return f'<ul class="chips">{items}</ul>' if items else ""


def _detail(detail: Mapping[str, Any]) -> Iterator[str]:
    """What a suite tells of a case: lists of records as tables, all else as a list of names and values."""
    plain = {name: _word(value) for name, value in detail.items() if not _records(value) and value is not None}
    if plain:
        yield names(plain)
    for value in detail.values():
        if _records(value):
            heads = list(dict.fromkeys(name for record in value for name in record))
            cells = [[_word(record.get(name)) for name in heads] for record in value]
            yield words([[name.replace("_", " ") for name in heads], *cells])


def _records(value: object) -> bool:
    return isinstance(value, Sequence) and bool(value) and all(isinstance(one, Mapping) for one in value)


def _word(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_word(one)}" for name, one in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_word, value))
    return str(value)
