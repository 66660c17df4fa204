"""A codec that loses nothing keeps all, one that is late by what its card says is not blamed for it, noise is."""

from __future__ import annotations

import numpy as np
import pytest

from duologue.data.voices import voices
from duologue.errors import ConfigError
from duologue.eval.metrics import RATE, Pcm
from duologue.eval.suites import codec as module
from duologue.eval.suites.base import Case
from duologue.eval.suites.codec import CodecSuite
from duologue.systems.coders import Coder, CoderSystem, load
from duologue.systems.floors import Echo

needs_voices = pytest.mark.skipif(not voices("flite") or not voices("espeak"), reason="needs flite and espeakng-loader")


class Late(Coder):
    """Keeps every sample, gives it back later, with noise if asked; may say wrongly how late it is."""

    bitrate = 256000

    def __init__(self, delay: int = 480, told: int = 480, noise: float = 0.0) -> None:
        super().__init__()
        self.late, self._noise = told, noise
        self._kept = np.zeros(delay, np.float32)
        self._rng = np.random.default_rng(0)

    def push(self, pcm: Pcm) -> Pcm:
        self.bits += 16 * len(pcm)
        kept = np.concatenate([self._kept, pcm])
        out, self._kept = kept[: len(pcm)], kept[len(pcm) :]
        return np.asarray(out + self._noise * self._rng.normal(size=len(out)), np.float32)


class Mute(Coder):
    """Gives nothing back."""

    bitrate = 0

    def push(self, pcm: Pcm) -> Pcm:
        return np.zeros_like(pcm)


class Hiss(Mute):
    """Gives noise back, in which there is no voice."""

    def push(self, pcm: Pcm) -> Pcm:
        return np.random.default_rng(len(pcm)).normal(0, 0.1, len(pcm)).astype(np.float32)


def clip(pcm: Pcm, **facts: object) -> Case:
    return Case("own", "own/0", {"clip": pcm}, facts)


def test_what_loses_nothing_keeps_all(question: Pcm) -> None:
    values = CodecSuite().hold(clip(question), CoderSystem("exact", Late)).values
    assert values["pesq"] == pytest.approx(4.64, abs=0.02) and values["stoi"] == pytest.approx(1, abs=1e-3)
    assert values["mel"] == pytest.approx(0, abs=0.01) and values["secs"] == pytest.approx(1, abs=1e-3)
    assert values["f0_rmse"] == pytest.approx(0, abs=1) and values["f0_correlation"] == pytest.approx(1, abs=1e-3)
    assert values["delay"] == pytest.approx(20 + 30) and values["lag"] == 0
    assert isinstance(values["bits"], int) and values["bits"] / values["seconds"] == pytest.approx(256000)
    assert "model_bits" not in values and "general_words" not in values


def test_noise_costs_on_every_scale(question: Pcm) -> None:
    exact, noisy = (
        CodecSuite().hold(clip(question), CoderSystem("late", lambda noise=noise: Late(noise=noise))).values
        for noise in (0.0, 0.05)
    )
    assert noisy["pesq"] < exact["pesq"] - 1 and noisy["stoi"] < exact["stoi"] - 0.02
    assert noisy["mel"] > 3 and noisy["secs"] < exact["secs"] - 0.03


def test_silence_is_the_worst_and_not_left_out(question: Pcm) -> None:
    silent = CodecSuite().hold(clip(question), CoderSystem("mute", Mute)).values
    assert (silent["pesq"], silent["stoi"], silent["secs"], silent["f0_correlation"]) == (1.0, 0.0, 0.0, 0.0)
    assert silent["f0_rmse"] == pytest.approx(3671, abs=1) and "lag" not in silent
    noisy = CodecSuite().hold(clip(question), CoderSystem("hiss", Hiss)).values
    assert noisy["f0_rmse"] == silent["f0_rmse"] and noisy["f0_correlation"] == 0.0
    assert noisy["pesq"] > silent["pesq"] and noisy["stoi"] > silent["stoi"]
    nothing = CodecSuite().hold(clip(np.zeros(16000, np.float32)), CoderSystem("mute", Mute)).values
    assert not {"pesq", "stoi", "secs", "f0_rmse", "lag"} & set(nothing)  # nothing was there to be kept


def test_a_delay_that_the_card_hides_is_found(question: Pcm) -> None:
    values = CodecSuite().hold(clip(question), CoderSystem("liar", lambda: Late(delay=800, told=480))).values
    assert values["lag"] == pytest.approx(20, abs=1)


@needs_voices
def test_words_lost_on_the_way_are_counted() -> None:
    suite = CodecSuite()
    case = suite.draw("assistant", 0)
    kept = suite.hold(case, CoderSystem("exact", Late)).values
    lost = suite.hold(case, CoderSystem("deaf", lambda: Late(noise=0.5))).values
    for name in ("domain", "general"):
        assert kept[f"{name}_added"] == 0 and kept[f"{name}_words"] == len(case.facts["text"].split())
    assert lost["domain_added"] > 0


@needs_voices
def test_tokens_are_judged_where_there_are_any(monkeypatch: pytest.MonkeyPatch, question: Pcm) -> None:
    monkeypatch.setattr(module, "LEARNED", 8)
    monkeypatch.setattr(module, "STEPS", 3)
    box = load("box")
    values = CodecSuite().hold(clip(question), box).values
    assert box.tokens is not None
    assert 0 < values["codebook_use"] <= 1 and 1 < values["perplexity"] < box.tokens.cardinality
    # next to nothing is learned of so little: it says so, and does not pretend to need more than the plain code
    assert values["model_bits"] / values["model_seconds"] == pytest.approx(1000, rel=0.05)
    assert values["model_seconds"] == pytest.approx(len(question) / RATE)


@needs_voices
def test_cases_are_the_same_every_time_and_subjects_are_codecs() -> None:
    suite = CodecSuite("dev")
    assert set(suite.families()) == {"assistant", "synthetic"}
    first, second, other = (suite.draw("synthetic", index) for index in (1, 1, 2))
    assert np.array_equal(first.audio["clip"], second.audio["clip"]) and first.facts == second.facts
    assert first.facts["voice"] != other.facts["voice"] or first.facts["text"] != other.facts["text"]
    named = suite.subjects(["box", "cascade", "codec:runs/codec"])
    assert named[:2] == ["codec:box", "codec:runs/codec"] and "codec:g711" in named and "codec:cascade" not in named


def test_only_codecs_are_judged(question: Pcm) -> None:
    with pytest.raises(ConfigError, match="is no codec"):
        CodecSuite().hold(clip(question), Echo())
