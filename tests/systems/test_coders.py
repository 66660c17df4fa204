"""What goes through a codec comes back as late as its card says, at the rate that it says, in any company."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.signal import correlate

from duologue.codec.spectral import SpectralCodec, SpectralConfig
from duologue.errors import ConfigError, ModelError
from duologue.eval.metrics import RATE, Pcm
from duologue.systems import coders
from duologue.systems.coders import CoderSystem, load, peers
from duologue.systems.registry import load as load_system

TINY = SpectralConfig(
    name="tiny", front_dim=8, front_hidden=8, front_blocks=1, encoder_dim=8, encoder_hidden=8, encoder_blocks=1,
    latent=4, books=2, cardinality=8, decoder_dim=8, decoder_hidden=8, decoder_blocks=1, back_dim=8, back_hidden=8,
    back_blocks=1,
)  # fmt: skip


def play(system: CoderSystem, pcm: Pcm) -> tuple[Pcm, int]:
    """The system's side of the time line (as long as it takes for all to come back), and the bits sent."""
    frame = system.card.frame
    heard = np.pad(pcm, (0, system.delay + -(len(pcm) + system.delay) % frame))
    said = [np.zeros(frame, np.float32)]
    with system.open() as conversation:
        for start in range(0, len(heard), frame):
            said.append(conversation.step(heard[start : start + frame]).pcm)
        return np.concatenate(said), conversation.bits


def bursts() -> Pcm:
    """Four seconds of a voiced buzz that swells and falls softly."""
    time = np.arange(4 * RATE) / RATE
    buzz = sum(np.sin(2 * np.pi * 120 * k * time) / k for k in range(1, 25))
    return np.asarray(0.1 * buzz * np.sin(2 * np.pi * 0.85 * time) ** 2, np.float32)


def lag(sound: Pcm, echo: Pcm) -> float:
    """Seconds by which the loudness of an echo lies behind."""
    kernel = np.hanning(800) / np.hanning(800).sum()
    loudness = [np.convolve(np.abs(signal), kernel, "same") for signal in (sound, echo)]
    first, second = (signal - signal.mean() for signal in loudness)
    return float(np.argmax(correlate(second, first, method="fft")) - (len(first) - 1)) / RATE


@pytest.mark.parametrize("name", ["g711", "opus", "codec2", "box"])
def test_a_sound_comes_back_when_the_card_says(name: str) -> None:
    if name != "box" and name not in peers():
        pytest.skip(f"the package of {name} is not installed")
    system, sound = load(name), bursts()
    said, _ = play(system, sound)
    assert system.card.latency_ms == pytest.approx(1000 * system.delay / RATE)
    assert lag(sound, said[system.delay : system.delay + len(sound)]) == pytest.approx(0, abs=0.004)


@pytest.mark.parametrize(("name", "low", "high"), [("g711", 64e3, 64e3), ("opus", 3e3, 7e3), ("codec2", 3200, 3200)])
def test_what_is_sent_is_counted(name: str, low: float, high: float, question: Pcm) -> None:
    if name not in peers():
        pytest.skip(f"the package of {name} is not installed")
    system = load(name)
    back, (said, bits) = system.play(question), play(system, question)
    assert low - 1e-6 <= back.bits / back.seconds <= high + 1e-6
    assert bits == back.bits and back.pcm.shape == question.shape and back.compute > 0
    if name != "codec2":  # whose phases are random
        assert np.array_equal(back.pcm, said[system.delay : system.delay + len(question)])


def test_the_telephone_keeps_the_waveform_of_its_band() -> None:
    time = np.arange(RATE) / RATE
    tones = {hertz: np.asarray(0.3 * np.sin(2 * np.pi * hertz * time), np.float32) for hertz in (1000, 6000)}
    system = load("g711")
    kept, lost = (play(system, tone)[0][system.delay : system.delay + RATE] for tone in tones.values())
    assert np.abs(kept - tones[1000])[400:-400].max() < 0.02
    assert np.abs(lost)[400:-400].max() < 0.02


def test_a_streamed_codec_equals_its_offline_pass(tmp_path: Path, question: Pcm) -> None:
    torch.manual_seed(0)
    SpectralCodec(TINY).save(tmp_path / "codec")
    system, codec = load(str(tmp_path / "codec")), SpectralCodec.load(tmp_path / "codec")
    whole = np.pad(question, (0, -len(question) % system.card.frame))
    codes = codec.encode(torch.from_numpy(whole)[None])
    assert np.array_equal(system.encode(whole), codes[0].numpy())
    said, bits = play(system, whole)
    assert bits == len(said[system.card.frame :]) // system.card.frame * 2 * 3
    offline = codec.decode(codes)[0].numpy()
    frame = system.card.frame
    assert np.allclose(said[frame : frame + len(offline)], offline.clip(-1, 1), atol=1e-5)
    assert system.delay == frame + codec.card.delay_samples


def test_codes_of_codec2_are_bytes(question: Pcm) -> None:
    if "codec2" not in peers():
        pytest.skip("pycodec2 is not installed")
    codes = load("codec2").encode(question)
    assert codes.shape == (8, -(-len(question) // 320)) and codes.min() >= 0 and codes.max() < 256


def test_two_conversations_do_not_disturb_each_other(question: Pcm) -> None:
    system = load("opus" if "opus" in peers() else "g711")
    frame = system.card.frame
    alone, _ = play(system, question)
    with system.open() as first, system.open() as second:
        mixed = []
        for start in range(0, len(question) - frame, frame):
            mixed.append(first.step(question[start : start + frame]).pcm)
            second.step(question[::-1][start : start + frame])
    joined = np.concatenate(mixed)
    assert np.array_equal(joined, alone[frame : frame + len(joined)])


def test_the_registry_knows_them_and_what_cannot_be_had_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_system("codec:g711").card.name == "codec:g711"
    with pytest.raises(ModelError, match="no tokens"):
        load("g711").encode(np.zeros(RATE, np.float32))
    with pytest.raises(ModelError, match="no such codec"):
        load("speex")
    monkeypatch.setitem(coders.PEERS, "opus", ("duologue.eval.peers:OpusCoder", "no_such_package"))
    assert "opus" not in peers()
    with pytest.raises(ConfigError, match="needs the package no_such_package"):
        load("opus")
