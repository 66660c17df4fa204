"""`duologue train`: run a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe, such as recipes/tiny.py.")],
    settings: Annotated[list[str] | None, typer.Argument(help="Settings to change.", metavar="KEY=VALUE...")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The run folder; runs/NAME by default.")] = None,
) -> None:
    """Run a recipe; a run that was stopped goes on from its last checkpoint.

    KEY=VALUE changes a setting of the recipe, such as loop.steps=2000.
    """
    from rich.console import Console

    from duologue.nn.arithmetic import flushed_denormals
    from duologue.train.recipe import load_recipe, override

    loaded = load_recipe(recipe)
    config = override(loaded.config, settings or [])
    with flushed_denormals():
        loaded.run(config, out or Path("runs") / loaded.name, Console(stderr=True))
