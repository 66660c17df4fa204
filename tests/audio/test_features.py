"""Log-mel features: causal, streaming equal to offline, and at the scale a network wants."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from duologue.audio.features import BANDS, FLOOR, HOP, MEAN, STD, LogMel, mel_filterbank


def test_streaming_equals_offline_for_random_chunks(question: np.ndarray) -> None:
    mel = LogMel()
    pcm = torch.from_numpy(question[: len(question) // HOP * HOP]).repeat(3, 1) * torch.tensor([[1.0], [0.1], [-0.5]])
    offline = mel(pcm)
    draw = random.Random(0)
    for _ in range(5):
        state, parts, at = mel.init_state(3), [], 0
        while at < pcm.shape[1]:
            chunk = pcm[:, at : at + HOP * draw.randint(1, 12)]
            parts.append(mel.step(chunk, state))
            at += chunk.shape[1]
        torch.testing.assert_close(torch.cat(parts, 1), offline, atol=1e-5, rtol=0)


def test_rows_pause_reset_save_and_restore_alone() -> None:
    mel = LogMel()
    pcm = torch.randn(2, 8 * HOP, generator=torch.Generator().manual_seed(0))
    alone = mel(pcm)
    state = mel.init_state(2)
    mel.step(pcm[:, : 4 * HOP], state)
    saved = state.save(0)
    mel.step(torch.randn(2, HOP), state, torch.tensor([False, False]))
    torch.testing.assert_close(mel.step(pcm[:, 4 * HOP :], state), alone[:, 4:], atol=1e-5, rtol=0)
    state.reset(torch.tensor([False, True]))
    state.restore(0, saved)
    again = mel.step(pcm[:, 4 * HOP :], state)
    torch.testing.assert_close(again[0], alone[0, 4:], atol=1e-5, rtol=0)
    torch.testing.assert_close(again[1], mel(pcm[1:, 4 * HOP :])[0], atol=1e-5, rtol=0)


def test_a_frame_ends_with_its_hop_and_reaches_back_25_ms() -> None:
    mel = LogMel()
    silence = mel(torch.zeros(1, 10 * HOP))
    for place, heard in ((5 * HOP + 1, [5, 6, 7]), (5 * HOP + 100, [5, 6, 7]), (6 * HOP - 1, [5, 6, 7])):
        pcm = torch.zeros(1, 10 * HOP)
        pcm[0, place] = 1
        changed = (mel(pcm) != silence).any(-1)[0].nonzero()[:, 0].tolist()
        assert set(changed) <= set(heard), place
        assert changed


def test_a_tone_lights_its_own_band_and_silence_lies_at_the_floor() -> None:
    mel = LogMel()
    centres = mel_filterbank().argmax(0) * 16000 / 512
    for hertz in (300, 1000, 3000, 6500):
        tone = 0.5 * torch.sin(2 * torch.pi * hertz * torch.arange(3200) / 16000)
        band = int(mel(tone[None])[0, 10].argmax())
        assert abs(float(centres[band]) - hertz) < 0.04 * hertz + 32
    floor = (np.log(FLOOR) - MEAN) / STD
    torch.testing.assert_close(mel(torch.zeros(1, HOP)), torch.full((1, 1, BANDS), float(floor)))


def test_every_band_hears_something_and_no_bin_between_is_lost() -> None:
    filters = mel_filterbank()
    assert filters.shape == (257, BANDS)
    assert (filters.sum(0) > 1).all()
    assert (filters.sum(1)[2:250] > 0.5).all()


def test_real_speech_is_near_zero_mean_and_unit_variance(speech: Path) -> None:
    files = sorted((speech / "librispeech_train_clean").glob("**/*.flac"))[:10]
    signals = [soundfile.read(path, dtype="float32")[0] for path in files]
    mel = LogMel()
    features = torch.cat([mel(torch.from_numpy(pcm[: len(pcm) // HOP * HOP])[None])[0] for pcm in signals])
    assert abs(float(features.mean())) < 0.3
    assert 0.7 < float(features.std()) < 1.3


def test_stays_in_float32_under_autocast() -> None:
    mel, pcm = LogMel(), torch.randn(1, 10 * HOP) * 1e-3
    with torch.autocast("cpu", torch.bfloat16):
        inside = mel(pcm)
    torch.testing.assert_close(inside, mel(pcm))


@pytest.mark.parametrize("shape", [(1, 100), (1, 0), (160,)])
def test_part_of_a_hop_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="multiple of 160"):
        LogMel()(torch.zeros(shape))
