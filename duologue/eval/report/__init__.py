"""The figures of the answer suite: a row a case, summed up by family with 95% intervals, as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict
from rich import box
from rich.table import Table

from duologue.data import domain
from duologue.data.domain import Exchange
from duologue.eval.cases import FAMILIES
from duologue.eval.metrics import Interval, bootstrap, percentile, ratio, share, word_errors

BEHAVIOUR = {
    "pause": "waits through the pause",
    "silence": "stays silent",
    "barge-in": "stops when spoken over",
    "backchannel": "goes on",
}
Figures = dict[str, Any]
Grid = list[list[str]]


def right(reply: str, exchange: Exchange) -> bool:
    """Whether words (lower case) answer an exchange; where nothing is to be said, whether nothing was."""
    return domain.judge(reply, exchange) if exchange.reply else not reply


class TurnRow(BaseModel):
    """A question, what was said to it, and the verdicts.

    Attributes:
        user, reply, category, key, wording, content: of the exchange.
        leans: it refers to the turn before.
        heard: the user's words by the system's own account.
        said: the reply in the text stream.
        transcript: the reply's sound through the recogniser.
        true_transcript: true speech of the right reply through the same recogniser.
        right, right_spoken, right_true: the verdicts on the last three.
        latency: seconds from the user's last sound to the reply's first; negative when early, None without a reply.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    user: str
    reply: str
    category: str
    key: str
    wording: str
    content: str
    leans: bool
    heard: str
    said: str
    transcript: str
    true_transcript: str
    right: bool
    right_spoken: bool
    right_true: bool
    latency: float | None

    @property
    def exchange(self) -> Exchange:
        """What was asked, without the turns before."""
        return Exchange(self.user, self.reply, self.category, self.key, self.wording, self.content)


class Row(BaseModel):
    """A case.

    Attributes:
        passed: whether the system behaved as its family asks (`BEHAVIOUR`); None where that could not be tried.
        delay: seconds from a barge-in's first sound to the reply's last, if it stopped.
        compute_ms: of each step.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    case: str
    family: str
    group: str
    voice: str
    turns: list[TurnRow]
    passed: bool | None
    delay: float | None
    compute_ms: list[float]


def summarise(rows: Sequence[Row]) -> dict[str, Figures]:
    """Family -> name of a figure -> its value, interval and number of cases; "all" holds the steps' compute.

    Shares of single questions have Wilson intervals; all else is resampled by whole cases, so that the turns of one
    dialogue stay together.
    """
    summary: dict[str, Figures] = {}
    for family in dict.fromkeys(row.family for row in rows):
        mine = [row for row in rows if row.family == family]
        figures: Figures = {"cases": len(mine)}
        if any(row.turns for row in mine):
            figures |= _answers(mine)
        tried = [row.passed for row in mine if row.passed is not None]
        if tried:
            figures["passed"] = plain(share(tried))
        delays = [row.delay for row in mine if row.delay is not None]
        if delays:
            figures["delay_p50"] = plain(bootstrap(delays, np.median))
        summary[family] = figures
    steps = list(chain.from_iterable(row.compute_ms for row in rows))
    if steps:
        summary["all"] = {
            "steps": len(steps),
            "compute_ms_p50": percentile(steps, 50),
            "compute_ms_p99": percentile(steps, 99),
        }
    return summary


def _answers(rows: Sequence[Row]) -> Figures:
    turns = [turn for row in rows for turn in row.turns]
    figures: Figures = {"turns": len(turns)}
    for name in ("right", "right_spoken", "right_true"):
        figures[name] = plain(_share_of_turns(rows, name))
    # what a reply to another question would score: how little a right answer can be owed to chance
    others = [*turns[1:], turns[0]]
    figures["chance"] = plain(
        share(right(other.said, turn.exchange) for turn, other in zip(turns, others, strict=True))
    )
    figures["replied"] = plain(share(turn.latency is not None for turn in turns))
    for name, pairs in {
        "wer_heard": [(turn.user, turn.heard) for turn in turns],
        "wer_spoken": [(turn.said, turn.transcript) for turn in turns if turn.said],
        "wer_true": [(turn.reply, turn.true_transcript) for turn in turns if turn.reply],
    }.items():
        if pairs:
            figures[name] = plain(_error_rate(pairs))
    latencies = [turn.latency for turn in turns if turn.latency is not None]
    if latencies:
        figures["latency_p50"] = plain(bootstrap(latencies, np.median))
        figures["latency_p90"] = plain(bootstrap(latencies, partial(np.percentile, q=90)))
    leaning = [turn.right for turn in turns if turn.leans]
    if 0 < len(leaning) < len(turns):
        figures["right_leaning"] = plain(share(leaning))
    groups = dict.fromkeys(row.group for row in rows)
    if len(groups) > 1:
        figures["groups"] = {
            group: plain(_share_of_turns([row for row in rows if row.group == group], "right")) for group in groups
        }
    return figures


def _share_of_turns(rows: Sequence[Row], name: str) -> Interval:
    if all(len(row.turns) == 1 for row in rows):
        return share(getattr(row.turns[0], name) for row in rows)
    return bootstrap([(sum(getattr(turn, name) for turn in row.turns), len(row.turns)) for row in rows], ratio)


def _error_rate(pairs: Iterable[tuple[str, str]]) -> Interval:
    errors = [word_errors([reference], [said]) for reference, said in pairs]
    return bootstrap([(one.rate * one.words, one.words) for one in errors], ratio)


def plain(interval: Interval) -> dict[str, float]:
    """An interval as it is written to JSON."""
    return {
        "value": round(interval.value, 4),
        "low": round(interval.low, 4),
        "high": round(interval.high, 4),
        "count": interval.count,
    }


_ANSWERS = {
    "right": ("right, text %", 100),
    "right_spoken": ("right, spoken %", 100),
    "right_true": ("true speech %", 100),
    "chance": ("chance %", 100),
    "wer_heard": ("WER heard %", 100),
    "wer_spoken": ("WER reply %", 100),
    "wer_true": ("WER true %", 100),
    "latency_p50": ("latency p50 ms", 1000),
    "latency_p90": ("p90 ms", 1000),
}


def cell(figures: Figures, name: str, scale: float = 1, digits: int = 0) -> str:
    """A figure as it is printed, with its interval; empty where it was not measured."""
    found = figures.get(name)
    return "" if found is None else Interval(**found).text(scale, digits)


def terminal_table(title: str, grid: Grid) -> Table:
    """A table, its first row the head, for a terminal; its narrow lines leave the intervals to the page."""
    caption = "summary.md has the 95% intervals"
    table = Table(title=title, caption=caption, box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    for place, head in enumerate(grid[0]):
        table.add_column(head, no_wrap=place == 0, overflow="fold", justify="right" if place else "left")
    for cells in grid[1:]:
        table.add_row(*(text.partition(" [")[0] for text in cells))
    return table


def markdown_table(grid: Grid) -> list[str]:
    """The lines of a table, its first row the head, in Markdown."""
    return ["| " + " | ".join(cells) + " |" for cells in (grid[0], ["---"] * len(grid[0]), *grid[1:])]


def _grids(summary: dict[str, Figures]) -> list[tuple[str, Grid]]:
    """Title and rows (the first the head) of each table."""
    answers = [["family", "cases", *(title for title, _ in _ANSWERS.values())]]
    behaviour = [["family", "what", "tried", "does %", "stops after p50 ms"]]
    for family, figures in summary.items():
        if "right" in figures:
            cells = [cell(figures, name, scale) for name, (_, scale) in _ANSWERS.items()]
            answers.append([family, str(figures["cases"]), *cells])
        if family in BEHAVIOUR:
            tried = str(figures.get("passed", {}).get("count", 0))
            does, stop = cell(figures, "passed", 100), cell(figures, "delay_p50", 1000)
            behaviour.append([family, BEHAVIOUR[family], tried, does, stop])
    return [(title, grid) for title, grid in (("Answers", answers), ("Behaviour", behaviour)) if len(grid) > 1]


def tables(summary: dict[str, Figures]) -> list[Table]:
    """The summary for a terminal."""
    return [terminal_table(title, grid) for title, grid in _grids(summary)]


def markdown(summary: dict[str, Figures], split: str) -> str:
    """The summary as a page: tables with 95% intervals, then what each family is."""
    lines = [
        f"# Answers, {split} split",
        "",
        "Brackets hold 95% intervals. Every figure is of free-running conversations.",
    ]
    for title, grid in _grids(summary):
        lines += ["", f"## {title}", "", *markdown_table(grid)]
    if "all" in summary:
        steps = summary["all"]
        compute = f"compute p50 {steps['compute_ms_p50']:.1f} ms, p99 {steps['compute_ms_p99']:.1f} ms"
        lines += ["", f"{steps['steps']} steps, {compute} on this machine, as busy as it was."]
    lines += ["", "## Families", "", *(f"- {name}: {FAMILIES[name]}" for name in summary if name in FAMILIES), ""]
    return "\n".join(lines)
