"""Codes on the model's frames: what is kept of a scene is what the encoder gives in conversation, frame by frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from systems.simple import write_tiny_model

from duologue.codec.spectral import SpectralCodec, SpectralConfig
from duologue.data.codes import codec_digest, codes_a_frame, encode_frames
from duologue.data.dialogues import FRAME
from duologue.errors import DataError
from duologue.lm.generate import Generator
from duologue.lm.model import SpeechLM


def test_frames_encoded_whole_are_those_of_the_stream(tmp_path: Path, question: np.ndarray) -> None:
    model = SpeechLM.load(write_tiny_model(tmp_path, "codes"))
    pcm = question[: len(question) // FRAME * FRAME]
    kept = encode_frames(model.codec, pcm)
    assert kept.shape == (len(pcm) // FRAME, 4) and codes_a_frame(model.codec) == 4
    assert len(np.unique(kept)) >= 4

    heard: list[torch.Tensor] = []
    generator = Generator(model)
    think = model.thinker.step

    def listen(streams: dict[str, torch.Tensor], *rest: object, **more: object) -> dict[str, torch.Tensor]:
        if streams:  # and not in inner speech
            heard.append(streams["user_codes"][0])
        return think(streams, *rest, **more)  # type: ignore[arg-type]

    model.thinker.step = listen  # type: ignore[method-assign, assignment]
    state = generator.init_state(1)
    for frame in torch.from_numpy(pcm).split(FRAME):
        generator.step(frame[None], state)
    assert np.array_equal(torch.stack(heard).numpy(), kept)


def test_a_codec_whose_frames_do_not_fill_the_models_is_refused() -> None:
    codec = SpectralCodec(SpectralConfig(name="long", stride=3))
    with pytest.raises(DataError, match="long has frames of 480 samples"):
        codes_a_frame(codec)


def test_a_folder_without_a_codec_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"config\.json is missing"):
        codec_digest(tmp_path)
