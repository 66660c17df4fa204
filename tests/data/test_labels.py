"""Frame labels: the phone at the middle of each frame, whatever it is called by its engine."""

from __future__ import annotations

import numpy as np

from duologue.data.labels import UNKNOWN, phone_inventory, phone_labels
from duologue.data.manifest import Entry


def entry(engine: str, *phones: tuple[str, float, float], rate: int = 16000) -> Entry:
    voice = f"{engine}/someone/r175"
    return Entry(id="a", path="a.bin", duration=0.21, sample_rate=rate, voice=voice, phones=list(phones))


def test_a_frame_has_the_phone_at_its_middle() -> None:
    """Frames of 40 ms: their middles are at 20, 60, 100, 140, 180 and 220 ms, the last beyond the entry's end."""
    said = entry("flite", ("pau", 0.0, 0.061), ("t", 0.061, 0.099), ("uw", 0.099, 0.18), ("z", 0.18, 0.2))
    inventory = phone_inventory([said])
    assert inventory == {"flite/t": 0, "flite/uw": 1, "flite/z": 2, "pau": 3}
    labels = phone_labels(said, inventory, 640)
    assert labels.dtype == np.int16
    assert labels.tolist() == [3, 3, 1, 1, 2, UNKNOWN]  # the [t] is over between two middles


def test_engines_share_the_pause_alone() -> None:
    a, b = (entry(engine, ("pau", 0.0, 0.1), ("t", 0.1, 0.21)) for engine in ("espeak", "flite"))
    assert list(phone_inventory([a, b])) == ["espeak/t", "flite/t", "pau"]


def test_what_nobody_knows_is_unknown() -> None:
    assert set(phone_labels(entry("flite"), {}, 640)) == {UNKNOWN}
    assert set(phone_labels(entry("flite", ("t", 0.0, 0.21)), {"espeak/t": 0}, 640)) == {UNKNOWN}


def test_frames_are_counted_in_the_entrys_own_samples() -> None:
    said = entry("flite", ("pau", 0.0, 0.1), ("t", 0.1, 0.21), rate=8000)
    assert phone_labels(said, phone_inventory([said]), 320).tolist() == [1, 1, 0, 0, 0, UNKNOWN]
