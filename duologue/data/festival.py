"""The festival synthesiser (Black and Taylor 1997), where its program and at least one voice are installed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile
import soxr

from duologue.data.spoken import PAUSE, RATE, Phone, Spoken, assemble, words_of
from duologue.data.voices import NORMAL_RATE, Voice
from duologue.errors import DataError

_VOICES = Path("/usr/share/festival/voices")
_SCRIPT = """
(voice_{name})
(Parameter.set 'Duration_Stretch {stretch:.4f})
(if (boundp 'hts_engine_params)
  (set! hts_engine_params (append hts_engine_params (list (list "-r" {speed:.4f})))))
(set! said (utt.synth (Utterance Text "{text}")))
(utt.save.wave said "{path}" 'riff)
(mapcar
  (lambda (s) (format t "%s %f %s\\n" (item.name s) (item.feat s 'end)
    (item.feat s "R:SylStructure.parent.parent.R:Token.parent.id")))
  (utt.relation.items said 'Segment))
"""


@lru_cache(maxsize=1)
def names() -> tuple[str, ...]:
    """The English voices found under festival's folder; none where festival is not installed."""
    if shutil.which("festival") is None:
        return ()
    folders = [path for language in ("english", "us") for path in (_VOICES / language).glob("*")]
    return tuple(sorted(path.name for path in folders if any((path / "festvox").glob("*.scm"))))


def speak(text: str, voice: Voice) -> Spoken:
    """Say `text`: lower-case words, perhaps with commas. Rate and volume are heeded, pitch is the voice's own.

    Raises:
        DataError: festival or the voice is missing, it fails, or nothing audible was said.
    """
    words = words_of(text)
    if voice.name not in names():
        raise DataError(f"festival has no voice {voice.name!r} here; it has {', '.join(names()) or 'none'}")
    with tempfile.TemporaryDirectory() as folder:
        wave = Path(folder) / "said.wav"
        script = Path(folder) / "say.scm"
        speed = voice.rate / NORMAL_RATE
        plain = text.translate({ord('"'): " ", ord("\\"): " "})
        script.write_text(_SCRIPT.format(name=voice.name, stretch=1 / speed, speed=speed, text=plain, path=wave))
        done = subprocess.run(["festival", "-b", str(script)], capture_output=True, text=True, check=False)
        if done.returncode or not wave.is_file():
            raise DataError(f"festival cannot say {text!r} as {voice.name}: {done.stderr.strip().splitlines()[-1:]}")
        native, rate = soundfile.read(wave, dtype="float32")
    segments = _owned([line.split() for line in done.stdout.splitlines() if line.count(" ") == 2])
    tokens = list(dict.fromkeys(token for name, _, token in segments if name != PAUSE))
    if len(tokens) != len(words):
        raise DataError(f"festival says {text!r} as {len(tokens)} words; write it without digits or signs")
    phones: list[Phone] = []
    start = 0.0
    for name, end, token in segments:
        phones.append(Phone(name, start, float(end), -1 if name == PAUSE else tokens.index(token)))
        start = float(end)
    pcm = soxr.resample(native, rate, RATE) * np.float32(voice.volume / 100)
    return assemble(words, pcm, phones)


def _owned(segments: list[list[str]]) -> list[list[str]]:
    """Segments (phone, end, token), where one that the voice puts between words ("0") goes to the word before."""
    for before, segment in pairwise(segments):
        if segment[2] == "0" and segment[0] != PAUSE:
            segment[2] = before[2]
    return segments


@lru_cache(maxsize=65536)
def _own_phones(word: str, name: str) -> tuple[str, ...]:
    said = speak(word, Voice(engine="festival", name=name))
    return tuple(name for name, _, _ in said.phones if name != PAUSE)


def pronounce(word: str, voice: Voice) -> list[str]:
    """The phones of a word said alone."""
    return list(_own_phones(word, voice.name))
