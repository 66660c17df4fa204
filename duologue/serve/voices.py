"""Voices by name: a model has one of its own, and clients that only know OpenAI's names mean that one by them."""

from __future__ import annotations

from typing import Any

from duologue.serve.faults import RealtimeError
from duologue.systems.base import SystemCard

ALIASES = frozenset(
    (
        *("alloy", "ash", "ballad", "beacon", "bossa", "cedar", "cinder", "coral", "delta"),
        *("echo", "fable", "gleam", "marin", "meridian", "nova", "onyx", "quartz", "ripple"),
        *("sage", "shida", "shimmer", "stone", "tempo", "verse", "vesper", "willow"),
    )
)
"""Names of the voices of OpenAI's Realtime, Live and speech APIs: clients ask for one even where nobody chose it."""


def voice_of(card: SystemCard) -> str | None:
    """The voice in which a system speaks, if it has a name."""
    return next(iter(card.voices), None)


def check_voice(asked: Any, card: SystemCard, param: str) -> None:
    """Refuse a voice that is neither the system's own nor one of the `ALIASES` for it; None is any.

    Raises:
        RealtimeError: nothing here speaks in that voice.
    """
    own = voice_of(card)
    custom = isinstance(asked, dict)
    name = asked.get("id") if custom else asked
    if asked is None or name == own or (not custom and name in ALIASES):
        return
    known = ", ".join(f"'{each}'" for each in [*([own] if own else []), *sorted(ALIASES)])
    message = f"Invalid value: {str(name)[:64]!r}. {card.name} speaks in one voice; supported values are: {known}."
    raise RealtimeError(message, "invalid_value", param)
