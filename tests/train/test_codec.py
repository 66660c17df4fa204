"""The codec's task under the real loop: it learns, meets its adversary, and leaves what is frozen alone."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from duologue.codec.spectral import SpectralCodec, SpectralConfig
from duologue.train.codec import CodecTask, CodecTraining
from duologue.train.loop import LoopConfig, train
from duologue.train.optim import Schedule

TINY = SpectralConfig(
    front_dim=24, front_hidden=32, front_blocks=1, encoder_dim=32, encoder_hidden=48, encoder_blocks=1, latent=8,
    books=2, cardinality=16, decoder_dim=32, decoder_hidden=48, decoder_blocks=1, back_dim=24, back_hidden=32,
    back_blocks=1,
)  # fmt: skip
TRAINING = CodecTraining(rows=4, frames=8, lr=3e-3, quantize_from=4, fit_batches=3)


def task(question: np.ndarray, config: SpectralConfig = TINY, **settings: object) -> CodecTask:
    torch.manual_seed(0)
    stored = (question * 32767).astype(np.int16)
    sources = {"float": (3.0, [question]), "stored": (1.0, [stored, stored[:3000]])}
    return CodecTask(SpectralCodec(config), TRAINING.model_copy(update=settings), sources, {"voice": [question]})


def loop(steps: int) -> LoopConfig:
    schedule = Schedule(shape="constant", warmup=0)
    return LoopConfig(steps=steps, schedule=schedule, log_every=1, validate_every=None, clip=3.0, device="cpu")


@pytest.mark.parametrize("codebook", ["ema", "fsq"])
def test_learns_and_fits_its_books(question: np.ndarray, tmp_path: Path, codebook: str) -> None:
    levels = (4, 4) if codebook == "fsq" else ()
    ours = task(question, TINY.model_copy(update={"codebook": codebook, "levels": levels}))
    batch = ours.batch(np.random.default_rng(5))
    delay, frame = ours.codec.card.delay_samples, ours.codec.frame

    def distance() -> float:
        with torch.no_grad():
            output = ours.codec.eval()(batch)[0]
        return float(ours.mel(output[:, frame:], batch[:, frame - delay : -delay]))

    before = distance()
    summary = train(ours, loop(30), tmp_path)
    assert bool(ours.codec.quantizer.fitted)
    assert distance() < 0.7 * before
    assert summary.validation["stoi/voice"] > 0.1 and summary.validation["usage_0"] > 0.3


def test_other_clips_are_noticed_when_a_run_goes_on(question: np.ndarray, tmp_path: Path) -> None:
    said = io.StringIO()
    for steps, clip in ((1, question), (2, question), (3, np.r_[question[:-1], 0.5])):
        train(task(clip.astype(np.float32)), loop(steps), tmp_path, console=Console(file=said, width=200))
    changes = [line for line in said.getvalue().splitlines() if "changed since" in line]
    assert [line.partition(": ")[2].count("data.") for line in changes] == [0, 2]
    assert "data.float" in changes[1] and "data.stored" in changes[1]


def test_the_adversary_joins_when_it_is_time(question: np.ndarray) -> None:
    ours = task(question, adversary_from=2)
    names = [[name for name, _ in ours.losses(step, np.random.default_rng(step))] for step in (1, 2)]
    assert names == [["generator"], ["discriminator", "generator"]]


def test_decoder_only_leaves_encoder_and_books_alone(question: np.ndarray, tmp_path: Path) -> None:
    ours = task(question, decoder_only=True, adversary_from=0)
    ours.codec.quantizer.fit(ours.codec.latents(ours.batch(np.random.default_rng(0))).detach().flatten(0, 1))
    before = {name: tensor.clone() for name, tensor in ours.codec.state_dict().items()}
    train(ours, loop(3), tmp_path)
    after = ours.codec.state_dict()
    changed = {name.split(".")[0] for name in after if not torch.equal(after[name], before[name])}
    assert changed == {"decoder"}


def test_batches_follow_from_the_generator(question: np.ndarray) -> None:
    ours = task(question)
    a, b, c = (ours.batch(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)
    assert a.shape == (4, 8 * 640) and float(a.abs().max()) <= 1.0


def test_resynthesis_is_aligned_and_as_long(question: np.ndarray) -> None:
    original, said = task(question).resynthesise(question[:7001])
    assert original.shape == said.shape == (7001,)


@pytest.mark.parametrize("phase", [0, 6])
def test_interrupted_and_resumed_is_uninterrupted(question: np.ndarray, tmp_path: Path, phase: int) -> None:
    """Stopped before or after the books are fitted, with the adversary at work."""
    whole, first, second = (task(question, adversary_from=1) for _ in range(3))
    train(whole, loop(9), tmp_path / "whole")
    train(first, loop(3 + phase // 2), tmp_path / "parts")
    train(second, loop(9), tmp_path / "parts")
    for name, tensor in whole.modules.state_dict().items():
        assert torch.equal(tensor, second.modules.state_dict()[name]), name
