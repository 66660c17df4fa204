"""Loading a system while somebody waits."""

from __future__ import annotations

from rich.console import Console

from duologue.systems import registry
from duologue.systems.base import System


def load(model: str) -> System:
    """`registry.load`, and on a terminal a line for as long as it lasts."""
    with Console(stderr=True).status(f"loading {model}; the first time its steps are compiled, half a minute"):
        return registry.load(model)
