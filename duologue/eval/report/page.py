"""The report as one HTML file that holds all it needs: tables, plots, conversations to look at and to listen to."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from importlib.resources import files

from duologue.eval.report.contents import Contents, Section, title
from duologue.eval.report.conversations import conversations
from duologue.eval.report.html import names, table, words
from duologue.eval.report.plots import colours, intervals, legend, stack
from duologue.eval.report.timeline import Room
from duologue.eval.results import REFERENCES

EMBEDDED = 16_000_000  # bytes of sound in a page, shared by its sections; the rest lies beside it
NOTES = (
    "Dots are figures, whiskers and brackets their 95% intervals: Wilson's for shares of independent cases, else the "
    "bootstrap over cases (over questions, where one is asked under several conditions). ↑ higher is better, ↓ lower, "
    "→0 nearer to zero. Failed cases count as the worse outcome of every share. "
    "* rests on a recogniser that is not ours; its own error shows on true speech and on the oracle's. Hollow dots are "
    "there to be compared with: floors that understand nothing, and the ceiling that knows all."
)


def page(contents: Contents) -> str:
    """The whole report as HTML."""
    classes = colours(list(contents.settings.subjects))
    share = EMBEDDED // max(1, len(contents.sections))
    sections = [_section(section, contents, classes, Room(share)) for section in contents.sections]
    links = [f'<a href="#{section.suite.name}">{escape(section.suite.name)}</a>' for section in contents.sections]
    own = files("duologue.eval.report")
    style, script = (own.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Duologue evaluation: {escape(', '.join(contents.settings.subjects))}</title>\n"
        f"<style>\n{style}</style>\n</head>\n<body>\n{_header(contents, classes)}\n"
        f'<nav><div>{"".join(links)}<a href="#failed">failed cases</a><a href="#made">how it was made</a></div></nav>\n'
        f"<main>\n{''.join(sections)}{_failed(contents)}{_made(contents)}</main>\n"
        f"<script>\n{script}</script>\n</body>\n</html>\n"
    )


def _header(contents: Contents, classes: Mapping[str, str]) -> str:
    settings = contents.settings
    cards = "".join(
        f"<li><b>{escape(name)}</b>{f' ({REFERENCES[name]})' if name in REFERENCES else ''}: "
        f"{escape(subject.card.summary or subject.card.name)}, {subject.card.duplex} duplex"
        f"{f', {subject.card.parameters:,} parameters' if subject.card.parameters else ''}</li>"
        for name, subject in settings.subjects.items()
    )
    failed = len(contents.failures)
    count = f"{len(contents.rows):,} cases held, " + (
        f'<a class="bad" href="#failed">{failed} failed</a>' if failed else "none failed"
    )
    return (
        f"<header><div><h1>How good at conversation?</h1>"
        f"<p>{escape(settings.split)} split, {settings.starts[-1].time[:10]}, {count}.</p>"
        f"<ul>{cards}</ul>{legend(list(settings.subjects), classes)}<p class='note'>{NOTES}</p></div></header>"
    )


def _section(section: Section, contents: Contents, classes: Mapping[str, str], room: Room) -> str:
    stacked = {part for whole in section.suite.stacks for part in whole.parts}
    plots = [
        f"<details{' open' if place == 0 else ''}><summary>{escape(title(measure))}</summary>"
        f"{legend(section.subjects, classes)}{intervals(section, measure, classes)}<p></p>"
        f"{table(section.by_family(measure))}</details>"
        for place, measure in enumerate(section.measures)
        if measure.name not in stacked
    ]
    bars = "".join(stack(section, whole) for whole in section.suite.stacks)
    known = contents.settings.suites[section.suite.name].families
    talks = "".join(conversations(section, contents, classes, room))
    heard = (
        f"<h3>Conversations</h3><p class='note'>Click into a time line to hear it from there.</p>{talks}"
        if talks
        else ""
    )
    return (
        f'<section id="{section.suite.name}"><h2>{escape(section.suite.title)}</h2>'
        f"{table(section.overall())}{bars}<h3>Family by family</h3>{''.join(plots)}"
        f"<details><summary>What the families are</summary>{names(known)}</details>{heard}</section>\n"
    )


def _failed(contents: Contents) -> str:
    rows = [[f"{row.suite} {row.case}", row.subject, row.error or ""] for row in contents.failures]
    listed = words([["case", "subject", "error"], *rows]) if rows else "<p>None.</p>"
    return f'<section id="failed"><h2>Failed cases</h2>{listed}</section>\n'


def _made(contents: Contents) -> str:
    settings = contents.settings
    starts = [[start.time, start.command, start.commit or "unknown", start.machine] for start in settings.starts]
    prints = {name: subject.fingerprint for name, subject in settings.subjects.items()}
    libraries = ", ".join(f"{name} {version}" for name, version in settings.starts[-1].libraries.items())
    return (
        f'<section id="made"><h2>How it was made</h2>{words([["time", "command", "commit", "machine"], *starts])}'
        f"<p>Models, by the hash of their files:</p>{names(prints)}<p class='note'>{escape(libraries)}</p>"
        "<p>Every figure can be made again from <code>results.jsonl</code>, a row a case, beside this page; the facts "
        "of the cases are in <code>cases/</code>, more conversations in <code>audio/</code>.</p></section>\n"
    )
