"""The suites by name. Each is a module of its name with one `Suite` in it, imported when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from duologue.errors import ConfigError

if TYPE_CHECKING:
    from duologue.eval.suites.base import Suite

SUITES = ("answers", "duplex", "manner", "speech", "codec", "memory", "load", "fdb")
"""In the order in which a report shows them."""


def find(name: str) -> type[Suite]:
    """The suite of a name.

    Raises:
        ConfigError: there is none.
    """
    if name not in SUITES:
        raise ConfigError(f"no suite {name!r}; there are {', '.join(SUITES)}")
    kinds = vars(import_module(f"{__name__}.{name}")).values()
    found: type[Suite] = next(kind for kind in kinds if getattr(kind, "name", None) == name)
    return found
