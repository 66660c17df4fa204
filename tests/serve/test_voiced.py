"""The user's last sound: found at any level and over noise, and told once."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from duologue.serve import voiced
from duologue.serve.voiced import Voiced


@pytest.mark.parametrize(("loud", "soft"), [(0.3, 0.005), (0.01, 0.0001), (0.3, 0.0)])
def test_the_last_sound_is_told_once(loud: float, soft: float, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(voiced, "time", SimpleNamespace(monotonic=lambda: now))
    rng = np.random.default_rng(0)
    ears = Voiced()
    assert ears.since() is None
    for level in [soft] * 5 + [loud] * 10 + [soft] * 8:
        now += 0.08
        ears.hear((level * rng.uniform(-1, 1, 1280)).astype(np.float32))
    assert ears.since() == pytest.approx(8 * 0.08)
    assert ears.since() is None
