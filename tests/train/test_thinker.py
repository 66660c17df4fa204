"""The thinker learns to hear whichever way the user comes in: as features, as codes, or both."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from systems.simple import write_tiny_model

from duologue.data.codes import encode_frames
from duologue.data.prepare import SceneShards
from duologue.data.shards import ShardWriter
from duologue.eval.free_run import free_run
from duologue.lm.model import FRAME, SpeechLM
from duologue.lm.text import END, EOT
from duologue.train.mixtures import Scenes
from duologue.train.thinker import ThinkerTask, ThinkerTraining

FRAMES = 24
Hears = Literal["features", "codes", "both"]


def write_scenes(folder: Path, model: SpeechLM) -> SceneShards:
    """Two words that differ in sound: a high and a low tone, each answered by another piece."""
    rng = np.random.default_rng(0)
    high, low = model.tokenizer.encode("two")[0], model.tokenizer.encode("four")[0]
    time = np.arange(6 * FRAME) / 16_000
    with (
        ShardWriter(folder / "features-00000", np.float16, 80) as features,
        ShardWriter(folder / "labels-00000", np.int16, 6) as labels,
        ShardWriter(folder / "codes-00000", np.int16, 4) as codes,
    ):
        for index in range(8):
            word, pitch = (high, 2_000) if index % 2 else (low, 200)
            start = int(rng.integers(2, 10))
            pcm = 0.001 * rng.standard_normal(FRAMES * FRAME)
            pcm[start * FRAME : (start + 6) * FRAME] += 0.3 * np.sin(2 * np.pi * pitch * time)
            label = np.zeros((FRAMES, 6), np.int16)
            label[:, 3] = 1
            label[start + 6, 0], label[start + 8, 0] = word, EOT
            label[start + 8, 1], label[start + 9, 1] = word, END
            heard = torch.from_numpy(pcm.astype(np.float32))
            features.append(model.log_mel(heard[None])[0].numpy())
            labels.append(label)
            codes.append(encode_frames(model.codec, heard.numpy()))
    return SceneShards(folder)


@pytest.mark.parametrize("hears", ["features", "codes", "both"])
def test_a_few_steps_teach_it_to_hear(hears: Hears, tmp_path: Path) -> None:
    model = SpeechLM.load(write_tiny_model(tmp_path / "model", hears))
    scenes = Scenes(write_scenes(tmp_path, model), rows=4, frames=FRAMES)
    thinker = model.thinker.requires_grad_(True).train()
    task = ThinkerTask(thinker, {"scenes": (scenes, 1.0)}, ThinkerTraining(history_noise=0.0), lambda model: {})
    batch = scenes.collate([[index] for index in range(8)])
    out = free_run(thinker, batch)
    assert out["heard"].shape == out["text"].shape == (8, FRAMES)

    losses: list[float] = []
    rng = np.random.default_rng(0)
    optimizer = task.optimizers()["model"]
    for step in range(25):
        for _, loss in task.losses(step, rng):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:3])


NO_DATA = r"out of meta|item\(\) cannot be called on meta"
"""What is said where the result of a computation on `meta` is asked for: until then no tensor was on the CPU, for
`meta`, which stands for a GPU here, computes nothing but refuses to be mixed with another device."""


@pytest.mark.parametrize("hears", ["features", "both"])
def test_a_thinker_on_another_device_is_trained_and_judged_there(hears: Hears, tmp_path: Path) -> None:
    model = SpeechLM.load(write_tiny_model(tmp_path / "model", hears), trainable=True)
    scenes = Scenes(write_scenes(tmp_path, model), rows=4, frames=FRAMES)
    thinker = model.thinker.to("meta").train()
    task = ThinkerTask(thinker, {"scenes": (scenes, 1.0)}, ThinkerTraining(), lambda model: {})
    with pytest.raises((NotImplementedError, RuntimeError), match=NO_DATA):
        next(task.losses(0, np.random.default_rng(0)))
    with pytest.raises((NotImplementedError, RuntimeError), match=NO_DATA):
        free_run(thinker, scenes.collate([[0], [1]]))


def test_what_is_to_be_compiled_is_not_on_processors(tmp_path: Path) -> None:
    model = SpeechLM.load(write_tiny_model(tmp_path / "model"), trainable=True)
    scenes = Scenes(write_scenes(tmp_path, model), rows=4, frames=FRAMES)
    losses = []
    for compile in (False, True):
        task = ThinkerTask(model.thinker, {"scenes": (scenes, 1.0)}, ThinkerTraining(compile=compile), lambda model: {})
        losses += [float(loss) for _, loss in task.losses(0, np.random.default_rng(0))]
    assert losses[0] == losses[1]
    assert torch._dynamo.utils.counters["frames"]["total"] == 0
