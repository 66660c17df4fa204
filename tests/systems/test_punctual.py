"""What is loaded is not looked through again."""

from __future__ import annotations

import gc

from duologue.systems import registry
from duologue.systems.punctual import settle


def test_the_collector_passes_over_what_was_loaded_before() -> None:
    system = registry.load("box")
    looked_through = len(gc.get_objects())
    try:
        settle()
        assert len(gc.get_objects()) < looked_through / 10
        assert not any(thing is system for thing in gc.get_objects())
    finally:
        gc.unfreeze()
