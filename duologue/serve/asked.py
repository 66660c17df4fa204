"""Turn detection as a client of the Realtime API asks for it, made of the turns that there are."""

from __future__ import annotations

from collections.abc import Callable

from duologue.serve.events import SemanticVad, ServerVad
from duologue.serve.turns import DetectedTurns, OwnTurns, ToldTurns, Turns
from duologue.systems.cascade.endpoint import Endpointing
from duologue.systems.cascade.silero import SileroDetector
from duologue.systems.engine import Slot

EAGERNESS = {"low": 1.5, "medium": 0.7, "auto": 0.7, "high": 0.4}
"""Seconds of silence that end a turn where semantic turns are asked for without replies that come by themselves."""


def turns_of(
    asked: ServerVad | SemanticVad | None, slot: Slot, detector: Callable[[], SileroDetector], longest: float
) -> Turns:
    """Who decides on turns; None: the client, and up to `longest` seconds of its sound wait until then."""
    if asked is None:
        return ToldTurns(slot, longest)
    if isinstance(asked, SemanticVad):
        if asked.create_response:
            return OwnTurns(slot)
        settings = Endpointing(silence=EAGERNESS[asked.eagerness])
        return DetectedTurns(slot, detector(), settings, False, asked.interrupt_response)
    threshold = min(max(asked.threshold, 0.02), 0.98)  # clients may ask for all and for nothing
    settings = Endpointing(
        threshold=threshold,
        release=max(0.01, threshold - 0.15),
        silence=asked.silence_duration_ms / 1000,
        lead=asked.prefix_padding_ms / 1000,
    )
    idle = None if asked.idle_timeout_ms is None else asked.idle_timeout_ms / 1000
    return DetectedTurns(slot, detector(), settings, asked.create_response, asked.interrupt_response, idle)
