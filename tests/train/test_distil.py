"""Semantic distillation: labels stay on their frames, and the first book learns to tell them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from duologue.codec.spectral import SpectralCodec, SpectralConfig
from duologue.data.labels import UNKNOWN
from duologue.errors import DataError
from duologue.train.codec import CodecTask, CodecTraining, FrameLabels
from duologue.train.loop import LoopConfig, train
from duologue.train.optim import Schedule

TINY = SpectralConfig(
    front_dim=24, front_hidden=32, front_blocks=1, encoder_dim=32, encoder_hidden=48, encoder_blocks=1, latent=8,
    books=2, cardinality=16, decoder_dim=32, decoder_hidden=48, decoder_blocks=1, back_dim=24, back_hidden=32,
    back_blocks=1,
)  # fmt: skip
TAUGHT = CodecTraining(
    rows=4, frames=8, lr=3e-3, quantize_from=15, fit_batches=4, gain_db=(0, 0), semantic=1.0, teacher="phones"
)
TONES = (300, 700, 1500, 3000, 5500)
FRAME = 640


def melody(frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Tones that change every four frames, (frames * 640,) float32, and which it is in each frame."""
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.integers(len(TONES), size=frames // 4), 4).astype(np.int16)
    pitch = np.repeat(np.array(TONES)[labels], FRAME)
    noise = 0.01 * rng.standard_normal(len(pitch))
    return np.asarray(0.3 * np.sin(2 * np.pi * np.cumsum(pitch) / 16000) + noise, np.float32), labels


def task(training: CodecTraining, frames: int = 400) -> CodecTask:
    torch.manual_seed(0)
    pcm, labels = melody(frames)
    taught = FrameLabels(len(TONES), {"tones": [labels]})
    sources = {"tones": (2.0, [pcm]), "unknown": (1.0, [0.1 * pcm[::-1]])}
    return CodecTask(SpectralCodec(TINY), training, sources, {"tones": [pcm[:32000]]}, taught)


def test_labels_stay_on_their_frames() -> None:
    """Each sample of the clip tells its frame; only crops that have labels begin on one."""
    codec = SpectralCodec(TINY)
    ramp = np.repeat(np.arange(1, 101, dtype=np.int16), FRAME)[:-200]
    labels = FrameLabels(101, {"ramp": [ramp[::FRAME], ramp[: 3 * FRAME : FRAME]]})
    other = np.full(20000, 200, np.int16)
    sources = {"other": (1.0, [other]), "ramp": (1.0, [ramp, ramp[: 3 * FRAME]])}
    ours = CodecTask(codec, TAUGHT.model_copy(update={"rows": 200}), sources, {}, labels)
    pcm, known = ours.labelled_batch(np.random.default_rng(0))
    frames = (pcm * 32768).round().view(200, 8, FRAME)
    mine = frames[:, 0, 0] != 200
    assert 60 < int(mine.sum()) < 140 and (known[~mine] == UNKNOWN).all()
    heard, told = frames[mine], known[mine]
    assert ((heard[:, :, : FRAME - 200] == told[:, :, None]) | (told[:, :, None] == UNKNOWN)).all()
    assert ((told == UNKNOWN) == (heard[:, :, 0] == 0)).all()  # after the end of the short clip


def test_a_frames_latent_is_the_first_that_hears_its_samples() -> None:
    codec = SpectralCodec(TINY).eval()
    pcm = torch.randn(1, 8 * FRAME, generator=torch.Generator().manual_seed(0)) / 10
    other = pcm.clone()
    other[:, 5 * FRAME : 6 * FRAME] = 0
    with torch.no_grad():
        changed = (codec.latents(pcm) - codec.latents(other)).abs().amax(-1)[0] > 1e-3
    assert changed.tolist()[:6] == [False] * 5 + [True]


def test_the_first_book_learns_what_is_said(tmp_path: Path) -> None:
    ours = task(TAUGHT)
    loop = LoopConfig(
        steps=60, schedule=Schedule(shape="constant", warmup=0), log_every=20, validate_every=None, device="cpu"
    )
    train(ours, loop, tmp_path)
    pcm, labels = ours.labelled_batch(np.random.default_rng(99))
    quantizer = ours.codec.eval().quantizer
    assert bool(quantizer.fitted) and ours.semantic is not None
    with torch.no_grad():
        first = quantizer.decode(ours.codec.encode(pcm)[:, :1])
        right = (ours.semantic(first).argmax(-1) == labels)[labels != UNKNOWN]
    assert float(right.float().mean()) > 2 / len(TONES)
    assert not any(name.startswith("semantic") for name in ours.codec.state_dict())


@pytest.mark.parametrize("quantize_from", [0, 1])
def test_the_teacher_reaches_the_encoder(quantize_from: int) -> None:
    """Also through the quantised vectors, on which the gradient passes straight."""
    settings = {"mel": 0.0, "stft": 0.0, "commitment": 0.0, "quantize_from": quantize_from}
    ours = task(TAUGHT.model_copy(update=settings))
    ((_, loss),) = ours.losses(0, np.random.default_rng(0))
    torch.autograd.backward(loss)
    gradients = [p.grad for p in ours.codec.encoder.parameters()]
    assert any(g is not None and float(g.abs().max()) > 0 for g in gradients)
    assert bool(ours.codec.quantizer.fitted) == (quantize_from == 0)
    assert ours.metrics["semantic"] > 0 and 0 <= ours.metrics["phones_right"] <= 1


def test_without_a_teacher_there_is_no_head() -> None:
    ours = task(TAUGHT.model_copy(update={"semantic": 0.0}))
    assert ours.semantic is None and not any("semantic" in name for name in ours.modules.state_dict())
    list(ours.losses(0, np.random.default_rng(0)))
    assert "semantic" not in ours.metrics


def test_a_batch_without_labels_teaches_nothing() -> None:
    sources = {"unknown": (1.0, [melody(40)[0]])}
    ours = CodecTask(SpectralCodec(TINY), TAUGHT, sources, {}, FrameLabels(len(TONES), {}))
    list(ours.losses(0, np.random.default_rng(0)))
    assert ours.metrics["semantic"] == 0


def test_a_teacher_that_cannot_teach_is_refused() -> None:
    with pytest.raises(ValidationError, match="needs a teacher"):
        CodecTraining(semantic=0.3)
    with pytest.raises(ValidationError, match="decoder_only"):
        CodecTraining(semantic=0.3, teacher="phones", decoder_only=True)
    with pytest.raises(DataError, match="no labels"):
        CodecTask(SpectralCodec(TINY), TAUGHT, {"tones": (1.0, [melody(40)[0]])}, {})
