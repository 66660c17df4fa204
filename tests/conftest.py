"""Fixtures every test may use: the folder of real speech, a short question, one thread."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from scipy.signal import lfilter

torch.set_num_threads(1)


def _speech_folder() -> Path | None:
    beside = Path(__file__).resolve().parents[2] / "shared" / "speech"
    folder = Path(os.environ.get("DUOLOGUE_SPEECH") or beside)
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def speech() -> Path:
    """The folder of real recordings, named by DUOLOGUE_SPEECH or lying at ../shared/speech beside the repository."""
    folder = _speech_folder()
    if folder is None:
        pytest.skip("no folder of real speech: set DUOLOGUE_SPEECH to one")
    return folder


@pytest.fixture
def question() -> np.ndarray:
    """About three seconds of 16 kHz speech (T,) float32: a real sentence where there is one, else vowels made here."""
    folder = _speech_folder()
    sentence = folder / "speechbrain_samples" / "ASR" / "spk1_snt1.flac" if folder else None
    if sentence and sentence.is_file():
        pcm, _ = soundfile.read(sentence, dtype="float32")
        return np.asarray(pcm)
    return vowels()


def vowels(seconds: float = 3.0, rate: int = 16000) -> np.ndarray:
    """Voiced syllables at 4 Hz with a pause at each end: a pulse train through three formants, (T,) float32."""
    time = np.arange(int(seconds * rate)) / rate
    pitch = 120 + 15 * np.sin(2 * np.pi * 0.7 * time)
    pulses = np.diff(np.floor(np.cumsum(pitch) / rate), prepend=0.0)
    voice = pulses
    for formant, width in ((500, 80), (1500, 120), (2500, 160)):
        radius = np.exp(-np.pi * width / rate)
        voice = lfilter([1.0], [1, -2 * radius * np.cos(2 * np.pi * formant / rate), radius**2], voice)
    syllables = np.maximum(0, np.sin(2 * np.pi * 4 * time)) * ((time > 0.3) & (time < seconds - 0.3))
    voice = voice * syllables
    return np.asarray(0.3 * voice / np.abs(voice).max(), np.float32)


@pytest.fixture(scope="module")
def small_matrices_are_int8() -> Iterator[None]:
    """Lets models of a test's size have weights of int8, as only large matrices do else."""
    from duologue.nn import int8, weights

    with pytest.MonkeyPatch.context() as patch:
        for module in (int8, weights):
            patch.setattr(module, "SMALLEST", 1)
        yield
