"""What waits for how long: nothing of a steady client, little of an uneven one, and no word is broken by silence."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np
import pytest
from systems.simple import Beeper

from duologue.systems import engine as engines
from duologue.systems.base import HeardWord, Pcm
from duologue.systems.cushion import Cushion
from duologue.systems.engine import Engine, Heard
from duologue.systems.rows import rows_of

FRAME = 0.08
LOUD, SILENCE = np.full(1280, 0.1, np.float32), np.zeros(1280, np.float32)


def steady(seed: int) -> Iterator[float]:
    """When frames come that are a little late now and then."""
    rng = random.Random(seed)
    return (FRAME * count + rng.uniform(0, 0.04) for count in range(1, 10_000))


def in_bursts(period: float) -> Callable[[int], Iterator[float]]:
    """All frames that are whole come every `period` seconds."""
    return lambda seed: (np.ceil(FRAME * count / period - 1e-9) * period for count in range(1, 10_000))


def at_random(seed: int) -> Iterator[float]:
    """Every frame is late by up to 0.3 s, and never overtakes another."""
    rng = random.Random(seed)
    last = 0.0
    for count in range(1, 10_000):
        last = max(last, FRAME * count + rng.uniform(0, 0.3))
        yield last


def test_nothing_is_kept_of_a_steady_client() -> None:
    cushion = Cushion(FRAME, 0.0)
    assert all(cushion.arrive(now) == now for now in steady(0))


@pytest.mark.parametrize("arrivals", [in_bursts(0.2), at_random])
def test_what_comes_unevenly_is_heard_evenly_and_not_much_later(arrivals: Callable[[int], Iterator[float]]) -> None:
    cushion = Cushion(FRAME, 0.0)
    heard = [(now, cushion.arrive(now)) for now, _ in zip(arrivals(1), range(500), strict=False)]
    assert all(now <= play < now + 0.4 for now, play in heard)
    plays = np.array([play for _, play in heard])
    assert np.diff(plays[50:]) == pytest.approx(FRAME, abs=0.06)


def test_jitter_is_forgotten_and_a_pause_is_none() -> None:
    cushion = Cushion(FRAME, 0.0)
    assert cushion.arrive(FRAME + 0.25) == pytest.approx(FRAME + 0.25, abs=0.01)
    assert cushion.arrive(2 * FRAME + 0.25) > 2 * FRAME + 0.25 - 0.01
    for count in range(3, 1000):
        play = cushion.arrive(FRAME * count)
    assert play == FRAME * 999
    assert cushion.arrive(FRAME * 999 + 3.0) == FRAME * 999 + 3.0
    assert cushion.jitter < FRAME


@pytest.mark.parametrize("arrivals", [steady, in_bursts(0.1), in_bursts(0.2), at_random])
@pytest.mark.parametrize("seed", range(3))
def test_the_words_of_an_uneven_client_arrive_unbroken(
    arrivals: Callable[[int], Iterator[float]], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(engines, "time", SimpleNamespace(monotonic=lambda: now))
    engine = Engine(rows_of(Beeper(quiet=3), 1))  # not started: it is stepped here, as time passes here
    told: list[Heard] = []
    slot = engine.join(lambda heard: told.append(heard))  # type: ignore[arg-type]
    slot.run(fills=True)
    said: list[Pcm] = [SILENCE] * 10 + [LOUD] * 50 + [SILENCE] * 20 + [LOUD] * 5
    coming = [(100.0 + at, frame) for at, frame in zip(arrivals(seed), said, strict=False)]
    for _ in range(8000):
        now += 0.001
        while coming and coming[0][0] <= now:
            slot.push(coming.pop(0)[1])
        engine._step()
    begun = [
        place for place, heard in enumerate(told) if any(isinstance(event, HeardWord) for event in heard.reply.events)
    ]
    assert len(begun) == 2
    assert not any(heard.silence for heard in told[begun[0] : begun[0] + 50])
