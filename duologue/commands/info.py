"""`duologue info`: the card of a model."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from duologue.systems.base import Figure


def info(
    model: Annotated[
        str, typer.Argument(help='"box", a model folder, a Hugging Face id, or a name as "cascade".')
    ] = "box",
) -> None:
    """Print the card of a model: what it hears and says, its size and licence, what it was measured at."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from duologue.systems.registry import is_named, load, locate, read_card

    if is_named(model):
        folder, size, card = "", "", load(model).card
    else:
        place = locate(model)
        card = read_card(place)
        folder, size = str(place), f"{(place / 'model.safetensors').stat().st_size / 1e6:.1f} MB"
    rows = [
        ("model", card.name),
        ("", card.summary),
        ("hears", ", ".join(card.hears)),
        ("says", ", ".join(card.says)),
        ("turns", f"{card.duplex} duplex"),
        ("languages", ", ".join(card.languages)),
        ("voices", ", ".join(card.voices)),
        ("audio", f"{card.sample_rate} Hz, a frame of {1000 / card.frame_rate:g} ms"),
        ("latency", "" if card.latency_ms is None else f"{card.latency_ms:g} ms, algorithmic"),
        ("parameters", "" if card.parameters is None else f"{card.parameters / 1e6:.1f} million"),
        ("size", size),
        ("licence", card.licence),
        ("recipe", card.recipe + ("" if card.seed is None else f" (seed {card.seed})")),
        ("trained on", "\n".join(card.trained_on)),
        ("folder", folder),
    ]
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        if value:
            table.add_row(name, Text(value))
    console = Console(highlight=False)
    console.print(table)
    _print_measured(card.measured, console)


def _print_measured(measured: Iterable[Figure], console: Console) -> None:
    """A table of figures for every command that gives them again, and the command below it on a line of its own."""
    from rich.table import Table
    from rich.text import Text

    for command, figures in groupby(measured, key=lambda figure: figure.command):
        table = Table(box=None, pad_edge=False)
        table.add_column("measured", overflow="fold")
        table.add_column("on", overflow="fold")
        table.add_column("value", no_wrap=True)
        table.add_column("95%", no_wrap=True)
        for figure in figures:
            interval = "" if figure.interval is None else f"{figure.interval[0]:.3g} to {figure.interval[1]:.3g}"
            value = f"{figure.value:.3g} {figure.unit}".strip()
            table.add_row(*map(Text, (figure.name, figure.split, value, interval)))
        console.print()
        console.print(table)
        if command:
            console.print(Text(f"by {command}", style="dim"), soft_wrap=True)
