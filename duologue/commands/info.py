"""`duologue info`: the card of a model."""

from __future__ import annotations

from typing import Annotated

import typer


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
        folder, size = str(place), f"{(place / 'model.safetensors').stat().st_size / 1e6:.1f} MB"
        card = read_card(place)
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
    if card.measured:
        figures = Table(box=None, pad_edge=False)
        for column in ("measured", "on", "value", "95%", "command"):
            figures.add_column(column, overflow="fold")
        for figure in card.measured:
            interval = "" if figure.interval is None else f"{figure.interval[0]:g} to {figure.interval[1]:g}"
            value = f"{figure.value:g} {figure.unit}".strip()
            figures.add_row(*map(Text, (figure.name, figure.split, value, interval, figure.command)))
        console.print()
        console.print(figures)
