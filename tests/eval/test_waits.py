"""What a reply waited for, of hand-made records whose times are known."""

from __future__ import annotations

import numpy as np
import pytest

from duologue.eval.converse import Record
from duologue.eval.waits import waits
from duologue.systems.base import Event, Stage

FRAME = 0.08


def record(reply: tuple[float, float] | None, compute_ms: list[float], *stages: tuple[float, str, float]) -> Record:
    """A user who is heard from 0.5 to 1 s, and a reply."""
    audio = np.zeros((2, 16000 * 4), np.float32)
    if reply is not None:
        first, last = (round(time * 16000) for time in reply)
        audio[1, first:last] = 0.3 * np.sin(np.arange(last - first) / 5)
    steps = [*compute_ms, *[0.0] * (50 - len(compute_ms))]
    events: list[Event] = [
        Stage.model_validate({"time": time, "name": name, "milliseconds": took}) for time, name, took in stages
    ]
    return Record(audio, [(0.4, 1.1)], [(0.5, 1.0)], events, steps)


def test_a_cascade_waits_for_silence_and_then_for_each_stage() -> None:
    took = [0.0] * 19 + [150.0]  # the step that ends at 1.6 s: 100 ms of it are of no stage
    stages = ((1.6, "endpoint", 520), (1.6, "recognition", 30), (1.6, "answer", 5), (1.6, "synthesis", 15))
    held = record((1.6, 2.5), took, *stages)
    found = waits(held, 0)
    assert found["endpoint"] == pytest.approx(0.52)
    assert found["audio"] == pytest.approx(0.08, abs=0.011)
    assert [found[name] for name in ("recognition", "answer", "synthesis")] == pytest.approx([0.03, 0.005, 0.015])
    assert found["computing"] == pytest.approx(0.1)
    latency = held.latency(0)
    assert latency is not None and sum(found.values()) == pytest.approx(latency + 0.15)


def test_who_has_no_stages_waits_for_the_audio_and_for_computing() -> None:
    found = waits(record((1.2, 2.0), [20.0] * 50), 0)
    assert found == {"audio": pytest.approx(0.2, abs=0.011), "computing": pytest.approx(0.02)}


def test_a_stage_counts_only_as_far_as_the_reply_waited_for_it() -> None:
    # what took 200 ms was made up for while the reply's first frames were silent; what follows its onset is not its own
    stages = ((1.6, "endpoint", 900), (1.6, "recognition", 200), (2.4, "answer", 50))
    held = record((1.84, 2.5), [0.0] * 19 + [200.0], *stages)
    found = waits(held, 0)
    assert found["endpoint"] == pytest.approx(0.84, abs=0.011) and found["audio"] == pytest.approx(0.0, abs=0.011)
    assert found["recognition"] == found["computing"] == 0.0 and "answer" not in found


def test_a_reply_too_early_waits_less_than_nothing_and_none_for_nothing() -> None:
    early = waits(record((0.7, 2.0), [0.0]), 0)
    assert early == {"audio": pytest.approx(-0.3, abs=0.011), "computing": 0.0}
    assert waits(record(None, [0.0]), 0) == {}
