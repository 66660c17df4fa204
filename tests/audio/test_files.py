"""Audio files: every format and shape of input, one clear line for each bad file, nothing half-written."""

from __future__ import annotations

import os
import resource
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from duologue.audio.files import Writer, check, load, load_channels, save, stream
from duologue.audio.resample import resample
from duologue.errors import AudioError, DuologueError


def tone(rate: int, seconds: float = 1.0, hertz: float = 440) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff", "au", "caf", "w64"])
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_any_format_and_rate(tmp_path: Path, suffix: str, rate: int) -> None:
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, tone(rate), rate)
    pcm = load(path)
    assert pcm.dtype == np.float32
    assert abs(len(pcm) - 16000) <= (2400 if suffix == "mp3" else 1)
    spectrum = np.abs(np.fft.rfft(pcm[2000:10000]))
    assert abs(int(spectrum.argmax()) * 2 - 440) <= 2


def test_eight_channels_are_mixed_or_kept_apart(tmp_path: Path) -> None:
    channels = np.stack([tone(48000, hertz=200 * (n + 1)) for n in range(8)])
    soundfile.write(tmp_path / "eight.wav", channels.T, 48000, "FLOAT")
    apart = load_channels(tmp_path / "eight.wav")
    assert apart.shape == (8, 16000)
    np.testing.assert_allclose(apart, resample(channels, 48000, 16000), atol=1e-6)
    np.testing.assert_allclose(load(tmp_path / "eight.wav"), apart.mean(0), atol=1e-5)


def test_stream_is_load_in_blocks_with_silence_at_the_end(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.stack([tone(44100, 3.21), tone(44100, 3.21, 900)]).T, 44100)
    whole = load(tmp_path / "a.wav")
    for size in (1280, 16000, 7, 100_000):
        blocks = list(stream(tmp_path / "a.wav", block=size))
        assert {block.shape for block in blocks} == {(size,)}
        joined = np.concatenate(blocks)
        np.testing.assert_array_equal(joined[: len(whole)], whole)
        assert not joined[len(whole) :].any()
        assert len(joined) - len(whole) < size


def test_a_long_file_streams_in_constant_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.flac"
    with Writer(path, 8000) as writer:
        for _ in range(30):
            writer.write(np.zeros(60 * 8000, np.float32))
    tracemalloc.start()
    samples = sum(len(block) for block in stream(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert abs(samples - 1800 * 16000) < 1280
    assert peak < 2e6  # the whole would be 115 MB


@pytest.mark.parametrize("rate", [8000, 16000, 48000, 44100])
@pytest.mark.parametrize("samples", [1, 2, 5])
def test_a_sample_or_two_is_valid(tmp_path: Path, rate: int, samples: int) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(samples, 0.5), rate)
    assert 1 <= len(load(tmp_path / "a.wav")) <= 2 * samples
    assert load_channels(tmp_path / "a.wav").shape[0] == 1
    assert len(list(stream(tmp_path / "a.wav"))) == 1


def cut(path: Path, fraction: float) -> None:
    os.truncate(path, int(path.stat().st_size * fraction))


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff", "au", "w64"])
@pytest.mark.parametrize("fraction", [0.5, 0.9])
@pytest.mark.filterwarnings("ignore")
def test_cut_short(tmp_path: Path, suffix: str, fraction: float) -> None:
    path = tmp_path / f"half.{suffix}"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 64000), 16000)
    cut(path, fraction)
    complains(path, "cut short|damaged")


def complains(path: Path, message: str) -> None:
    for read in (load, load_channels, lambda name: list(stream(name))):
        with pytest.raises(AudioError, match=message) as caught:
            read(path)
        assert path.name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_missing_folder_empty_and_no_audio(tmp_path: Path) -> None:
    complains(tmp_path / "none.wav", "cannot open .*No such file")
    complains(tmp_path, "is a folder")
    (tmp_path / "empty.wav").touch()
    complains(tmp_path / "empty.wav", "is empty")
    (tmp_path / "text.wav").write_text("not audio at all, only words " * 50)
    complains(tmp_path / "text.wav", "not audio")
    (tmp_path / "headerless.raw").write_bytes(bytes(1000))
    complains(tmp_path / "headerless.raw", "not audio")
    soundfile.write(tmp_path / "zero.wav", np.zeros(0), 16000)
    complains(tmp_path / "zero.wav", "no samples")
    soundfile.write(tmp_path / "slow.wav", np.zeros(100), 7)
    complains(tmp_path / "slow.wav", "7 samples a second")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_unreadable(tmp_path: Path) -> None:
    save(tmp_path / "secret.wav", tone(16000))
    (tmp_path / "secret.wav").chmod(0)
    complains(tmp_path / "secret.wav", "Permission denied")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_samples_that_are_not_numbers(tmp_path: Path, value: float) -> None:
    pcm = tone(16000, 3).astype(np.float64)
    pcm[32000] = value
    soundfile.write(tmp_path / "bad.wav", np.stack((tone(16000, 3), pcm)).T, 16000, "DOUBLE")
    complains(tmp_path / "bad.wav", "not a number .* at 2.00 s")


def test_a_header_written_to_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "piped.wav"
    soundfile.write(path, tone(16000), 16000)
    header = bytearray(path.read_bytes())
    header[4:8] = header[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(header)
    assert len(load(path)) == 16000
    flac = tmp_path / "piped.flac"
    soundfile.write(flac, tone(16000), 16000)
    data = bytearray(flac.read_bytes())
    data[21] &= 0xF0  # the 36 bits that count the samples: zero means unknown
    data[22:26] = bytes(4)
    flac.write_bytes(data)
    complains(flac, "does not say how long")


def test_reads_a_pipe(tmp_path: Path) -> None:
    save(tmp_path / "a.wav", tone(16000))
    os.mkfifo(tmp_path / "pipe.wav")
    data = (tmp_path / "a.wav").read_bytes()
    threading.Thread(target=(tmp_path / "pipe.wav").write_bytes, args=(data,), daemon=True).start()
    np.testing.assert_array_equal(load(tmp_path / "pipe.wav"), load(tmp_path / "a.wav"))


@pytest.mark.parametrize("suffix", ["wav", "flac"])
@pytest.mark.parametrize("channels", [1, 2])
def test_what_is_saved_is_loaded(tmp_path: Path, question: np.ndarray, suffix: str, channels: int) -> None:
    pcm = question if channels == 1 else np.stack((question, -question))
    save(tmp_path / f"a.{suffix}", pcm)
    again = load_channels(tmp_path / f"a.{suffix}")
    np.testing.assert_allclose(again, np.atleast_2d(pcm), atol=1e-4)
    assert os.listdir(tmp_path) == [f"a.{suffix}"]


def test_louder_than_full_scale_is_clipped_not_wrapped(tmp_path: Path) -> None:
    save(tmp_path / "a.wav", 4 * tone(16000))
    assert np.abs(load(tmp_path / "a.wav") - np.clip(4 * tone(16000), -1, 1)).max() < 1e-4


def test_writer_keeps_the_old_file_until_the_new_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    save(path, tone(16000))
    with pytest.raises(KeyboardInterrupt), Writer(path, channels=2) as writer:
        writer.write(np.zeros((2, 1280), np.float32))
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == ["a.wav"]
    assert load_channels(path).shape == (1, 16000)
    with Writer(path, channels=2) as writer:
        for _ in range(3):
            writer.write(np.zeros((2, 1280), np.float32))
    assert load_channels(path).shape == (2, 3840)


@contextmanager
def limited(size: int) -> Iterator[None]:
    """No file grows beyond `size` bytes: as on a full disk, writes end early."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("suffix", ["wav", "flac"])
@pytest.mark.parametrize("size", [10, 4000, 30_000])
def test_a_full_disk_leaves_nothing(tmp_path: Path, suffix: str, size: int) -> None:
    pcm = np.random.default_rng(0).uniform(-1, 1, 16000).astype(np.float32)
    with limited(size), pytest.raises(DuologueError, match=r"cannot write .*a\.") as caught:
        save(tmp_path / f"a.{suffix}", pcm)
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"should end in \.wav or \.flac"):
        save(tmp_path / "a.txt", tone(16000))
    with pytest.raises(AudioError, match="not numbers"):
        save(tmp_path / "a.wav", np.array([0, np.nan], np.float32))
    (tmp_path / "file").touch()
    with pytest.raises(DuologueError, match="cannot write"):
        save(tmp_path / "file" / "a.wav", tone(16000))
    assert os.listdir(tmp_path) == ["file"]


def test_check_names_what_is_odd(question: np.ndarray) -> None:
    assert check(question) == []
    assert check(np.zeros(0, np.float32))[0].startswith("silent")
    assert check(question * 1e-4)[0].startswith("silent")
    assert check(np.clip(question * 20 / np.abs(question).max(), -1, 1))[0].startswith("clipped")
    assert check(question * 32768)[0].startswith("too loud")


def test_real_files_load_without_a_warning(speech: Path) -> None:
    for folder, suffix in (("librispeech_train_clean", "flac"), ("kathleen", "flac"), ("ljspeech_mini", "flac")):
        for path in sorted((speech / folder).glob(f"**/*.{suffix}"))[:5]:
            assert check(load(path)) == []
