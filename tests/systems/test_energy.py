"""The detector by level: it follows real speech over quiet and over noise, in any chunks, and lets steady sound go."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duologue.audio.vad import activity
from duologue.systems.base import Pcm
from duologue.systems.cascade.energy import EnergyDetection, EnergyDetector

RATE = 16000


def detection() -> EnergyDetection:
    return EnergyDetector().open()


def noise(seconds: float, level: float) -> Pcm:
    return (10 ** (level / 20) * np.random.default_rng(0).standard_normal(round(seconds * RATE))).astype(np.float32)


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 8000), max_size=6))
def test_any_chunks_give_the_same(cuts: list[int]) -> None:
    pcm = noise(0.5, -30) * np.linspace(0, 1, 8000, dtype=np.float32)
    chunked = detection()
    parts = [one for part in np.split(pcm, sorted(cuts)) for one in chunked.hear(part)]
    assert parts == detection().hear(pcm)
    assert len(parts) == 8000 // EnergyDetector.hop


@pytest.mark.parametrize("level", [-90, -55])
def test_it_agrees_with_where_speech_is(question: Pcm, level: float) -> None:
    quiet = noise(2.0, level)
    heard = np.concatenate((quiet, question, quiet))
    found = np.array(detection().hear(heard + noise(len(heard) / RATE, level)[: len(heard)])) > 0.5
    true = activity(np.concatenate((np.zeros_like(quiet), question, np.zeros_like(quiet))))
    true = true[: 2 * len(found)].reshape(-1, 2).all(1)
    assert not found[: round(1.5 * 50)].any() and not found[-50:].any()
    assert found[true].mean() > 0.7  # closures and weak consonants are not


def test_a_steady_hum_becomes_the_background() -> None:
    found = np.array(detection().hear(noise(20, -30)))
    assert found[10] > 0.5  # it came all at once
    assert (found[-100:] < 0.5).all()
