"""The flite synthesiser (Black and Lenzo 2001), where its program is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import soundfile

from duologue.data.spoken import PAUSE, RATE, Phone, Spoken, assemble, share_phones, words_of
from duologue.data.voices import NORMAL_PITCH, NORMAL_RATE, Voice
from duologue.errors import DataError

# Mean fundamental frequency of each voice in Hz; rms takes it from its recordings and cannot be moved.
_NATURAL_F0 = {"awb": 131.0, "kal16": 92.0, "rms": 100.0, "slt": 176.0}
_own: dict[str, tuple[str, ...]] = {}


@lru_cache(maxsize=1)
def _program() -> str:
    program = shutil.which("flite")
    if program is None:
        raise DataError("flite voices need the program flite, which is not on PATH; install it or leave them out")
    return program


def _call(*arguments: str) -> str:
    done = subprocess.run([_program(), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DataError(f"flite failed with {done.stderr.strip() or done.returncode} on {' '.join(arguments)}")
    return done.stdout


@lru_cache(maxsize=1)
def names() -> tuple[str, ...]:
    """The 16 kHz voices that this machine's flite has; none where it is not installed."""
    if shutil.which("flite") is None:
        return ()
    return tuple(sorted(set(_call("-lv").partition(":")[2].split()) & _NATURAL_F0.keys()))


def learn_words(words: Iterable[str]) -> None:
    """Look up many words' phones in one call of the program, so that `pronounce` and `speak` need not.

    All voices share the CMU lexicon, so the one that is quickest is asked (30 times quicker than the others).

    Raises:
        DataError: flite is missing or does not take a word as one.
    """
    new = sorted(set(words) - _own.keys())
    if not new:
        return
    _program()
    quickest = next((name for name in ("kal16", *names()) if name in names()), "")
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        # An empty line ends a sentence, and so keeps a word free of its neighbours; without one the last is not said.
        file.write("".join(f"{word}\n\n" for word in new))
        file.flush()
        lines = _call("-voice", quickest, "-ps", "-f", file.name, "-o", "none").strip().splitlines()
    if len(lines) == len(new):
        for word, line in zip(new, lines, strict=True):
            _own[word] = tuple(phone for phone in line.split() if phone != PAUSE)
    elif len(new) == 1:
        raise DataError(f"flite does not take {new[0]!r} as one word; write it as it is spoken")
    else:
        middle = len(new) // 2
        learn_words(new[:middle])
        learn_words(new[middle:])


def pronounce(word: str, voice: Voice) -> list[str]:
    """The phones of a word said alone.

    Raises:
        DataError: flite or the voice is missing, or the word is not one.
    """
    _check(voice)
    learn_words([word])
    return list(_own[word])


def _check(voice: Voice) -> None:
    _program()
    if voice.name not in names():
        raise DataError(f"flite has no voice {voice.name!r}; it has {', '.join(names())}")


def speak(text: str, voice: Voice) -> Spoken:
    """Say `text`: lower-case words, perhaps with commas. The same text and voice give the same samples.

    Raises:
        DataError: flite or the voice is missing, the text is too long or nothing audible was said.
    """
    words = words_of(text)
    _check(voice)
    settings = ["--setf", f"duration_stretch={NORMAL_RATE / voice.rate:.4f}"]
    if voice.pitch != NORMAL_PITCH:
        settings += ["--setf", f"int_f0_target_mean={_NATURAL_F0[voice.name] * voice.pitch_factor:.2f}"]
    one_sentence = re.sub(r"[.?!;:]+(?=\s)", ",", text)
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        labels = _call("-voice", voice.name, "-psdur", *settings, "-t", one_sentence, "-o", file.name).strip()
        pcm, rate = soundfile.read(file.name, dtype="float32")
    if rate != RATE or len(labels.splitlines()) != 1:
        raise DataError(f"flite breaks {text!r} into several sentences; give it one")
    timed = [(name, float(end)) for name, _, end in (label.partition(":") for label in labels.split())]
    learn_words(words)
    alone = [_own[word] for word in words]
    owners = iter(share_phones([name for name, _ in timed if name != PAUSE], alone))
    starts = [0.0, *(end for _, end in timed)]
    phones = [
        Phone(name, start, end, -1 if name == PAUSE else next(owners))
        for start, (name, end) in zip(starts, timed, strict=False)
    ]
    return assemble(words, pcm * np.float32(voice.volume / 100), phones)
