"""The sound card: one clear line where a part is missing, replies in order, lost time made up in silence.

Where PortAudio and ALSA are, the whole way is run on ALSA's null card, which takes and gives silence at any speed.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from ctypes.util import find_library
from pathlib import Path

import numpy as np
import pytest

from duologue.audio.devices import Duplex
from duologue.errors import DeviceError

NULL_CARD = """
pcm.!default { type null hint { show on description "null" } }
pcm.null_card { type null hint { show on description "null" } }
"""
portaudio = pytest.mark.skipif(
    sys.platform != "linux" or not importlib.util.find_spec("sounddevice") or not find_library("portaudio"),
    reason="needs Linux, sounddevice and PortAudio",
)


def exchange(duplex: Duplex, heard: float) -> float:
    """What the card does at each block: the value heard goes in, the value played comes out."""
    played = np.empty((1280, 1), np.float32)
    duplex._exchange(np.full((1280, 1), heard, np.float32), played, 1280, None, None)
    assert (played == played[0]).all()
    return float(played[0, 0])


def block(value: float) -> np.ndarray:
    return np.full(1280, value, np.float32)


def test_a_reply_is_heard_in_the_next_block() -> None:
    duplex = Duplex()
    played = [exchange(duplex, 0.5)]
    for index, heard in zip(range(4), duplex, strict=False):
        assert heard.shape == (1280,)
        assert heard[0] == 0.5
        duplex.play(block((index + 1) / 8))
        played.append(exchange(duplex, 0.5))
    assert played == [0, 0.125, 0.25, 0.375, 0.5]


def test_late_replies_are_all_heard_and_silence_makes_up_for_them() -> None:
    duplex = Duplex()
    assert exchange(duplex, 0) == 0
    for value in (0.25, 0.5, 0.0, 0.0, 0.75):
        duplex.play(block(value))
    assert [exchange(duplex, 0) for _ in range(4)] == [0.25, 0.5, 0.75, 0]


def test_plays_within_full_scale_and_whole_blocks_alone() -> None:
    duplex = Duplex()
    duplex.play(block(3))
    assert exchange(duplex, 0) == 1
    with pytest.raises(ValueError, match=r"expected a block \(1280,\)"):
        duplex.play(np.zeros(100, np.float32))


def test_says_when_it_cannot_keep_up() -> None:
    duplex = Duplex()
    for _ in range(70):
        exchange(duplex, 0)
    with pytest.raises(DeviceError, match=r"6 s behind the microphone"):
        next(iter(duplex))


def test_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(DeviceError, match=r"pip install 'duologue\[mic\]'"), Duplex():
        pass


@portaudio
@pytest.mark.skipif(Path("/dev/snd").exists(), reason="this machine has a sound card")
def test_says_that_there_is_no_card() -> None:
    with pytest.raises(DeviceError, match="or talk by file"), Duplex():
        pass


@portaudio
def test_talks_through_a_card_until_ctrl_c(tmp_path: Path) -> None:
    (tmp_path / "asound.conf").write_text(NULL_CARD)
    code = """
from duologue.audio.devices import Duplex
with Duplex() as duplex:
    duplex._heard.get()
    duplex._heard.get()
    duplex.play(duplex._heard.get())
    raise KeyboardInterrupt
print("ended well")
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "ALSA_CONFIG_PATH": str(tmp_path / "asound.conf")},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "ended well\n", done.stderr
