"""A codec that changes nothing loses nothing; one that is late is aligned; one that adds noise is found out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from duologue.codec.base import Codec, CodecCard
from duologue.codec.spectral import SpectralCodec, SpectralConfig
from duologue.data.splits import speaker_split
from duologue.data.voices import voices
from duologue.errors import DataError
from duologue.eval.codec import Clip, evaluate, held_out, resynthesise, run
from duologue.eval.metrics import Pcm
from duologue.eval.recognize import Recognizer
from duologue.nn.streaming import State

HOP, DELAY = 640, 480


class Exact(Codec):
    """Keeps the samples it is given (as codes of 16 bits), plays them back late, and with noise if asked."""

    def __init__(self, noise: float = 0.0) -> None:
        super().__init__()
        self.noise = noise
        self.card = CodecCard(
            name="exact", sample_rate=16000, frame_rate=25, books=HOP, cardinality=65536, bitrate=256000,
            delay_samples=DELAY, parameters=0,
        )  # fmt: skip

    def encode(self, pcm: Tensor) -> Tensor:
        padded = torch.nn.functional.pad(pcm, (0, -pcm.shape[1] % HOP))
        return ((padded * 32767).round().long() + 32768).view(len(pcm), -1, HOP).transpose(1, 2)

    def decode(self, codes: Tensor) -> Tensor:
        pcm = (codes.transpose(1, 2).flatten(1).float() - 32768) / 32767
        late = torch.nn.functional.pad(pcm, (DELAY, 0))[:, : pcm.shape[1]]
        return late + self.noise * torch.randn(late.shape, generator=torch.Generator().manual_seed(0))

    def init_encoder(self, batch: int, device: torch.device | None = None) -> Any:
        raise NotImplementedError

    init_decoder = init_encoder

    def encode_step(self, pcm: Tensor, state: State, active: Tensor | None = None) -> Tensor:
        raise NotImplementedError

    def decode_step(self, codes: Tensor, state: State, active: Tensor | None = None) -> Tensor:
        raise NotImplementedError


def test_resynthesis_is_aligned_and_as_long(question: Pcm) -> None:
    after, codes = resynthesise(Exact(), question)
    assert after.shape == question.shape and codes.shape[0] == HOP
    assert np.abs(after - question).max() < 1e-4


def test_noise_costs_intelligibility_and_quality(question: Pcm) -> None:
    clips = [Clip("reading", question, "what was said")]
    clean, noisy = (evaluate(Exact(noise), clips)["reading"] for noise in (0.0, 0.1))
    assert clean["stoi"]["value"] > 0.99 and clean["pesq"]["value"] > 4.4
    assert noisy["stoi"]["value"] < clean["stoi"]["value"] - 0.02
    assert noisy["pesq"]["value"] < clean["pesq"]["value"] - 1


@pytest.mark.skipif(not voices("flite") or not voices("espeak"), reason="needs flite and espeakng-loader")
def test_words_are_compared_before_and_after() -> None:
    clips = held_out("dev", 2)
    assert [clip.group for clip in clips] == ["assistant"] * 2 + ["synthetic"] * 2
    recognizer = Recognizer(clip.text for clip in clips)
    figures = evaluate(Exact(), clips, {"domain": recognizer})["assistant"]
    assert figures["wer_domain_original"] == figures["wer_domain_resynthesis"]
    assert figures["wer_domain_original"]["value"] < 0.2


def test_people_of_the_split_are_drawn(speech: Path) -> None:
    if not voices("espeak"):
        pytest.skip("needs espeakng-loader")
    clips = held_out("test", 1, speech)
    assert {clip.group for clip in clips} == {"assistant", "synthetic", "reading", "words"}
    assert all(len(clip.pcm) and clip.text for clip in clips)
    assert speaker_split("ls_1034") == "train"


@pytest.mark.skipif(not voices("flite") or not voices("espeak"), reason="needs flite and espeakng-loader")
def test_a_folder_is_measured_and_reported(tmp_path: Path) -> None:
    tiny = SpectralConfig(
        name="tiny", front_dim=8, front_hidden=8, front_blocks=1, encoder_dim=8, encoder_hidden=8, encoder_blocks=1,
        latent=4, books=2, cardinality=8, decoder_dim=8, decoder_hidden=8, decoder_blocks=1, back_dim=8, back_hidden=8,
        back_blocks=1,
    )  # fmt: skip
    SpectralCodec(tiny).save(tmp_path / "codec")
    summary = run(tmp_path / "codec", "dev", tmp_path / "out", clips=1)
    assert len(summary["all"]["use"]) == 2 and 0 < summary["all"]["use"][0] <= 1
    assert "| assistant | 1 |" in (tmp_path / "out" / "summary.md").read_text()


def test_nothing_to_measure_is_an_error() -> None:
    with pytest.raises(DataError, match="no clips"):
        evaluate(Exact(), [])
