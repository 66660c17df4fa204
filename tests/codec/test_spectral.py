"""The spectral codec: streams as it runs whole, rows live their own lives, folders are whole or refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from duologue.codec.spectral import InverseSpectrum, SpectralCodec, SpectralConfig, Spectrum
from duologue.errors import ModelError

FRAME = 640
SMALL = SpectralConfig(
    front_dim=8, front_hidden=16, front_blocks=1, encoder_dim=12, encoder_hidden=16, encoder_blocks=2, latent=8,
    books=3, cardinality=32, decoder_dim=12, decoder_hidden=16, decoder_blocks=2, back_dim=8, back_hidden=16,
    back_blocks=1,
)  # fmt: skip


@pytest.fixture(scope="module", params=["ema", "fsq"])
def codec(request: pytest.FixtureRequest) -> SpectralCodec:
    torch.manual_seed(0)
    levels = (4, 4, 2) if request.param == "fsq" else ()
    codec = SpectralCodec(SMALL.model_copy(update={"codebook": request.param, "levels": levels}))
    codec.quantizer.fit(torch.randn(400, 8))
    return codec.eval()


def noise(rows: int, frames: int) -> Tensor:
    return torch.randn(rows, frames * FRAME) * torch.linspace(0, 0.3, frames * FRAME)


@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_streams_equal_the_whole(codec: SpectralCodec, sizes: list[int]) -> None:
    pcm = noise(2, sum(sizes))
    hearing, speaking = codec.init_encoder(2), codec.init_decoder(2)
    chunks = pcm.split([FRAME * n for n in sizes], -1)
    latents = torch.cat([codec.encoder.step(chunk, hearing) for chunk in chunks], -1).detach()
    torch.testing.assert_close(latents.transpose(1, 2), codec.latents(pcm).detach(), atol=1e-5, rtol=1e-5)
    codes = codec.encode(pcm)
    said = torch.cat([codec.decode_step(part, speaking) for part in codes.split(sizes, -1)], -1)
    torch.testing.assert_close(said, codec.decode(codes), atol=1e-5, rtol=1e-5)


@settings(max_examples=10, deadline=None)
@given(runs=st.lists(st.lists(st.booleans(), min_size=2, max_size=2), min_size=2, max_size=8))
def test_rows_of_different_ages(codec: SpectralCodec, runs: list[list[bool]]) -> None:
    speaking = codec.init_decoder(2)
    codes = torch.randint(32, (2, 3, len(runs)))
    heard: list[list[Tensor]] = [[], []]
    said: list[list[Tensor]] = [[], []]
    for step, active in enumerate(runs):
        pcm = codec.decode_step(codes[..., step : step + 1], speaking, torch.tensor(active))
        for row in (0, 1):
            if active[row]:
                heard[row].append(codes[row, :, step])
                said[row].append(pcm[row])
    for row in (0, 1):
        if heard[row]:
            whole = codec.decode(torch.stack(heard[row], -1)[None])[0]
            torch.testing.assert_close(torch.cat(said[row]), whole, atol=1e-5, rtol=1e-5)


def test_reset_save_and_restore(codec: SpectralCodec) -> None:
    a, b = noise(2, 3), noise(2, 3)
    state = codec.init_encoder(2)
    codec.encode_step(a, state)
    saved = state.save(1)
    expected = codec.encode_step(b, state)[1]
    state.reset(torch.tensor([True, False]))
    assert torch.equal(codec.encode_step(b, state)[0], codec.encode(b[:1])[0])
    other = codec.init_encoder(3)
    other.restore(2, saved)
    assert torch.equal(codec.encode_step(b[[1, 1, 1]], other)[2], expected)


def test_encode_fills_the_last_frame(codec: SpectralCodec) -> None:
    assert codec.encode(torch.zeros(1, 1)).shape == (1, 3, 1)
    assert codec.encode(torch.zeros(2, FRAME + 1)).shape == (2, 3, 2)
    assert codec.decode(torch.zeros(2, 3, 4, dtype=torch.int64)).shape == (2, 4 * FRAME)


def test_spectrum_and_its_inverse_delay_a_signal(question: np.ndarray) -> None:
    """With magnitude and phase kept, the analysis and synthesis windows give the signal back, `window - hop` late."""
    window, hop = 640, 160
    pcm = torch.from_numpy(question)[None, : len(question) // hop * hop]
    padded = torch.nn.functional.pad(pcm, (window - hop, 0))
    spectrum = torch.fft.rfft(padded.unfold(-1, window, hop) * torch.hann_window(window))
    polar = torch.cat([spectrum.abs().clamp_min(1e-9).log(), spectrum.angle()], -1).transpose(1, 2)
    output = InverseSpectrum(window, hop)(polar)
    delay = window - hop
    torch.testing.assert_close(output[:, 2 * delay :], pcm[:, delay:-delay], atol=1e-4, rtol=0)
    magnitude = (Spectrum(window, hop)(pcm).transpose(1, 2) - 1).mul(2).exp() - Spectrum.FLOOR
    torch.testing.assert_close(magnitude, spectrum.abs(), atol=1e-3, rtol=1e-3)


def test_saved_and_loaded_it_is_the_same(codec: SpectralCodec, tmp_path: Path, question: np.ndarray) -> None:
    codec.save(tmp_path)
    again = SpectralCodec.load(tmp_path)
    pcm = torch.from_numpy(question)[None]
    codes = codec.encode(pcm)
    assert torch.equal(again.encode(pcm), codes)
    torch.testing.assert_close(again.decode(codes), codec.decode(codes), atol=1e-5, rtol=1e-5)
    assert again.card == codec.card and not again.training


def test_half_precision_weights_load_as_float32(codec: SpectralCodec, tmp_path: Path) -> None:
    codec.save(tmp_path)
    path = tmp_path / "model.safetensors"
    save_file({k: v.bfloat16() if v.is_floating_point() else v for k, v in load_file(path).items()}, path)
    assert {p.dtype for p in SpectralCodec.load(tmp_path).parameters()} == {torch.float32}


def _truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _widen(folder: Path) -> None:
    (folder / "config.json").write_text(SMALL.model_copy(update={"decoder_dim": 13}).model_dump_json())


def _deepen(folder: Path) -> None:
    (folder / "config.json").write_text(SMALL.model_copy(update={"decoder_blocks": 3}).model_dump_json())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda folder: (folder / "config.json").write_text("{"), "not a codec's configuration"),
        (lambda folder: (folder / "config.json").write_text('{"holes": 3}'), "not a codec's configuration"),
        (lambda folder: (folder / "config.json").write_text('{"codebook": "fsq", "levels": [8, 5]}'), "40, not 1024"),
        (_truncate, "truncated"),
        (_widen, "does not fit config.json"),
        (_deepen, "lacks decoder"),
    ],
)
def test_damaged_folders_are_refused_in_one_line(codec: SpectralCodec, tmp_path: Path, damage, message: str) -> None:  # type: ignore[no-untyped-def]
    codec.save(tmp_path)
    damage(tmp_path)
    with pytest.raises(ModelError, match=message) as error:
        SpectralCodec.load(tmp_path)
    assert "\n" not in str(error.value)


def test_the_card_states_rate_and_delay(codec: SpectralCodec) -> None:
    card = SpectralCodec(SpectralConfig()).card
    assert (card.frame_rate, card.bitrate, card.delay_samples, card.hop) == (25.0, 1000.0, 480, 640)
