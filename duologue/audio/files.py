"""Audio files in and out: any format, rate and channel count that libsndfile reads, in one pass and constant memory.

Reading is strict about files that would silently give less than they promise (cut short, NaN) and tolerant of all
that is merely unusual (silent, clipped, one sample, eight channels): `check` puts the latter into words.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import soundfile

from duologue.atomic import atomic
from duologue.audio.resample import StreamResampler
from duologue.errors import AudioError

PathLike = str | os.PathLike[str]
FORMATS = {".wav": "WAV", ".flac": "FLAC"}
_STREAMED = 0x7FFFF000  # sizes from here on are what programs put in a header when they write to a pipe
_LONGEST = 2**48  # samples; libsndfile gives a greater number where a FLAC header gives none
_PART = 16384  # samples of a file in memory at a time
_DECLARED = re.compile(r"^\s*(?:data|Data Size|SSND|riff)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)


def load(path: PathLike, rate: int = 16000) -> np.ndarray:
    """Read a file, mixed down to one channel: (T,) float32 at `rate`, at least one sample.

    Raises:
        AudioError: the file is missing, a folder, unreadable, empty, not audio, cut short, or has NaN samples.
    """
    mono: np.ndarray = np.concatenate(list(_parts(path, rate, mix=True)), axis=1)[0]
    return mono


def load_channels(path: PathLike, rate: int = 16000) -> np.ndarray:
    """Read a file with its channels apart: (C, T) float32 at `rate`. Raises as `load`."""
    return np.concatenate(list(_parts(path, rate, mix=False)), axis=1)


def stream(path: PathLike, rate: int = 16000, block: int = 1280) -> Iterator[np.ndarray]:
    """Blocks (block,) float32 at `rate`, mixed down, in constant memory; silence fills up the last one.

    Raises as `load`: at once for what the header shows, at the block for what only its samples show.
    """
    return _blocks(_parts(path, rate, mix=True), block)


def save(path: PathLike, pcm: np.ndarray, rate: int = 16000) -> None:
    """Write (T,) or (C, T) as 16-bit WAV or FLAC, by the suffix, whole or not at all.

    Raises:
        AudioError: another suffix, NaN samples, or a full disk.
        DuologueError: a folder that cannot be written.
    """
    with Writer(path, rate, channels=1 if pcm.ndim == 1 else len(pcm)) as writer:
        writer.write(pcm)


class Writer:
    """A context manager that writes audio block by block and gives the file its name at the end.

    Until then it is a temporary neighbour; an exception inside, Ctrl-C included, leaves nothing.
    """

    def __init__(self, path: PathLike, rate: int = 16000, channels: int = 1) -> None:
        self.path, self.rate, self.channels = Path(path), rate, channels
        if self.path.suffix.lower() not in FORMATS:
            raise AudioError(f"cannot write {path}: the name should end in {' or '.join(FORMATS)}")
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._temporary = stack.enter_context(atomic(self.path))
            kind = FORMATS[self.path.suffix.lower()]
            try:
                sound = soundfile.SoundFile(self._temporary, "w", self.rate, self.channels, "PCM_16", format=kind)
            except soundfile.LibsndfileError as error:
                raise AudioError(f"cannot write {self.path}: {error.error_string}") from error
            self._sound = stack.enter_context(sound)
            self._stack = stack.pop_all()
        return self

    def write(self, pcm: np.ndarray) -> None:
        """Append (T,) for one channel, or (C, T); what lies outside [-1, 1] is clipped."""
        if not np.isfinite(pcm).all():
            raise AudioError(f"cannot write {self.path}: the audio has samples that are not numbers")
        try:
            self._sound.write(np.clip(pcm, -1, 1).T)
        except (soundfile.LibsndfileError, AssertionError) as error:  # soundfile asserts that all samples were taken
            raise self._full() from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            frames = self._sound.frames
            self._sound.close()
            self._verify(frames)

    def _verify(self, frames: int) -> None:
        """Read the last sample back: libsndfile does not tell when the disk fills up as it closes a file."""
        try:
            with soundfile.SoundFile(self._temporary) as sound:
                if sound.frames != frames or (frames and sound.seek(frames - 1) >= 0 and len(sound.read(1)) != 1):
                    raise self._full()
        except soundfile.LibsndfileError as error:
            raise self._full() from error

    def _full(self) -> AudioError:
        return AudioError(f"cannot write all of {self.path}: the disk may be full; nothing was kept")


def check(pcm: np.ndarray) -> list[str]:
    """What is odd about a valid signal (T,), in words for the user: silent, too loud or clipped. Mostly nothing."""
    loudness = np.abs(pcm)
    peak = float(loudness.max(initial=0))
    if peak < 1e-3:
        return ["silent: no sample is above -60 dBFS"]
    if peak > 2:
        return [f"too loud: samples reach {peak:.3g}, full scale is 1"]
    if np.mean(loudness > 0.985) > 1e-3:
        return ["clipped: record again at a lower level if the answer is wrong"]
    return []


def _parts(path: PathLike, rate: int, mix: bool) -> Iterator[np.ndarray]:
    """Open at once; then parts (C, n) of the converted signal, one channel where `mix`."""
    return _convert(_open(path), rate, mix)


def _convert(sound: soundfile.SoundFile, rate: int, mix: bool) -> Iterator[np.ndarray]:
    with sound:
        channels = 1 if mix else sound.channels
        resampler = StreamResampler(sound.samplerate, rate, channels)
        given = 0
        for samples in _read(sound):
            part = samples.mean(axis=1) if mix else samples.T
            ready = resampler.push(part if channels > 1 else part.reshape(-1)).reshape(channels, -1)
            given += ready.shape[1]
            yield ready
        rest = resampler.flush().reshape(channels, -1)
        if given + rest.shape[1] == 0:  # a sample or two that the lower rate rounds away
            rest = np.zeros((channels, 1), np.float32)
        yield rest


def _read(sound: soundfile.SoundFile) -> Iterator[np.ndarray]:
    """Parts (n, C) float32 of the file as it is, each checked."""
    done = 0
    while True:
        try:
            samples = sound.read(_PART, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            where = f"after {done / sound.samplerate:.1f} s"
            what = error.error_string.removeprefix("Error : ").rstrip(".")
            raise AudioError(f"{sound.name} is damaged {where}: {what}; make the file again") from error
        if len(samples) == 0:
            break
        wrong = ~np.isfinite(samples).all(axis=1)
        if wrong.any():
            second = (done + int(wrong.argmax())) / sound.samplerate
            raise AudioError(f"{sound.name} has a sample that is not a number (NaN or infinite) at {second:.2f} s")
        done += len(samples)
        yield samples
    if done == 0:
        raise AudioError(f"{sound.name} holds no samples; record or export it again")
    if sound.seekable() and sound.frames - done > sound.samplerate / 10:  # some formats only estimate their length
        raise AudioError(_cut_short(sound))


def _open(path: PathLike) -> soundfile.SoundFile:
    name = os.fspath(path)
    try:
        status = os.stat(name)
        if stat.S_ISREG(status.st_mode):
            open(name, "rb").close()
    except OSError as error:
        raise AudioError(f"cannot open {name}: {error.strerror}; name a file that can be read") from error
    if stat.S_ISDIR(status.st_mode):
        raise AudioError(f"{name} is a folder; name one audio file")
    if stat.S_ISREG(status.st_mode) and status.st_size == 0:
        raise AudioError(f"{name} is empty (0 bytes); record or export it again")
    try:
        sound = soundfile.SoundFile(name)
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: headerless .raw
        raise AudioError(f"{name} is not audio that can be read, or is damaged; give WAV, FLAC, OGG or MP3") from error
    notes = sound.extra_info
    short = any(int(actual) < int(declared) < _STREAMED for declared, actual in _DECLARED.findall(notes))
    if short or "lacks an end-of-stream" in notes:
        raise AudioError(_cut_short(sound))
    if not 1000 <= sound.samplerate <= 1_000_000:
        raise AudioError(f"{name} claims {sound.samplerate} samples a second; 8000 to 48000 would be usual")
    if sound.seekable() and sound.frames > _LONGEST:
        raise AudioError(f"{name} does not say how long it is, as if written to a pipe; convert it, to WAV for example")
    if sound.frames == 0:
        raise AudioError(f"{name} holds no samples; record or export it again")
    return sound


def _cut_short(sound: soundfile.SoundFile) -> str:
    return f"{sound.name} is cut short: it holds less audio than its header says; copy or export it again"


def _blocks(parts: Iterator[np.ndarray], block: int) -> Iterator[np.ndarray]:
    left = np.zeros(0, np.float32)
    for part in parts:
        left = np.concatenate((left, part[0]))
        whole = len(left) // block * block
        yield from left[:whole].reshape(-1, block)
        left = left[whole:]
    if len(left):
        yield np.pad(left, (0, block - len(left)))
