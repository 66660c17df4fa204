"""Tables and lists of a report in HTML."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from duologue.eval.report.contents import Grid


def table(grid: Grid) -> str:
    """A table, its first row the head; intervals are smaller than their figures."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in grid[0])
    body = "".join(f"<tr>{''.join(f'<td>{_figure(cell)}</td>' for cell in cells)}</tr>" for cells in grid[1:])
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _figure(cell: str) -> str:
    value, bracket, rest = cell.partition(" [")
    return f"{escape(value)} <small>[{escape(rest)}</small>" if bracket else escape(value)


def words(grid: Grid) -> str:
    """A table of texts, its first row the head, that breaks its lines."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in grid[0])
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>" for cells in grid[1:])
    return f'<div class="scroll"><table class="words"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def names(listed: Mapping[str, str]) -> str:
    """Names and what they mean."""
    return f"<dl>{''.join(f'<dt>{escape(name)}</dt><dd>{escape(what)}</dd>' for name, what in listed.items())}</dl>"
