"""The espeak-ng synthesiser, through the library and data that the package `espeakng-loader` brings.

espeak-ng is under the GPL: only what makes training data or measures may import this module.
"""

from __future__ import annotations

import _ctypes
import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soxr
from numpy.typing import NDArray

from duologue.data.interrupt import deferred
from duologue.data.spoken import PAUSE, RATE, Phone, Spoken, assemble, share_phones, sound_bounds, words_of
from duologue.data.voices import Voice
from duologue.errors import DataError

_NATIVE_RATE = 22050
_SYNCHRONOUS, _PHONEME_EVENTS, _DONT_EXIT = 2, 0x0001, 0x8000
_UTF8, _BY_CHARACTER = 1, 1
_RATE, _VOLUME, _PITCH, _RANGE, _WORD_GAP = 1, 2, 3, 4, 7
_WORD, _PHONEME = 1, 7
_STRESS = "',%="
_LOCK = threading.Lock()


class _Id(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class _Mark(NamedTuple):
    """One event of the synthesiser: a word (`name` empty) or a phone begins at `sample`; `text` counts from 1."""

    kind: int
    text: int
    sample: int
    name: str


_DEADLY = {"Demonic"}
"""Variants whose wide melody makes some sentences, always the same ones, end the process."""


@lru_cache(maxsize=1)
def _paths() -> tuple[str, str]:
    """The library and its data.

    Raises:
        DataError: `espeakng-loader` is not installed.
    """
    try:
        import espeakng_loader
    except ImportError as error:
        raise DataError("espeak voices need the package espeakng-loader; pip install 'duologue[synth]'") from error
    return espeakng_loader.get_library_path(), espeakng_loader.get_data_path()


@contextmanager
def _library() -> Iterator[Any]:
    """A library loaded afresh (half a millisecond), its noise seeded.

    What it said before would otherwise be heard in what it says next: the phase of its flutter is a static that
    nothing resets, and the same text would give other samples. Breath and whisper draw from
    C's `rand`, other noise from a generator of its own that starts from the clock.
    """
    library_path, data_path = _paths()
    with _LOCK:
        library = ctypes.CDLL(library_path)
        try:
            found = library.espeak_Initialize(_SYNCHRONOUS, 200, data_path.encode(), _PHONEME_EVENTS | _DONT_EXIT)
            if found != _NATIVE_RATE:
                raise DataError(f"espeak-ng cannot start with its data in {data_path}; reinstall espeakng-loader")
            library.espeak_ng_SetRandSeed(ctypes.c_long(1))
            ctypes.CDLL(None).srand(1)
            yield library
        finally:
            library.espeak_Terminate()
            _ctypes.dlclose(library._handle)


def names() -> list[str]:
    """Every English accent alone and with every variant: "en-us", "en-us+f4", ...; none without the package."""
    try:
        data = Path(_paths()[1])
    except DataError:
        return []
    # The Shavian accent reads another alphabet.
    accents = sorted(p.name.lower() for p in (data / "lang" / "gmw").glob("en*") if p.name != "en-Shaw")
    variants = sorted({path.name for path in (data / "voices" / "!v").iterdir()} - _DEADLY)
    return [accent + variant for accent in accents for variant in ("", *(f"+{name}" for name in variants))]


@lru_cache(maxsize=1)
def _known() -> frozenset[str]:
    return frozenset(names())


def _run(text: str, voice: Voice) -> tuple[NDArray[np.int16], list[_Mark]]:
    """Synthesise; (T,) samples at 22,050 Hz and the marks in order of time."""
    _paths()
    if voice.name not in _known():  # espeak itself would quietly ignore a variant that it lacks
        raise DataError(f"espeak has no voice {voice.name!r}; `voices()` lists those it has")
    blocks: list[bytes] = []
    marks: list[_Mark] = []

    def take(pcm: Any, count: int, events: Any) -> int:
        if count > 0:
            blocks.append(ctypes.string_at(pcm, 2 * count))
        index = 0
        while (event := events[index]).type:
            if event.type in (_WORD, _PHONEME):
                name = event.id.string.decode("utf-8", "replace") if event.type == _PHONEME else ""
                marks.append(_Mark(event.type, event.text_position, event.sample, name))
            index += 1
        return 0

    callback = _Callback(take)
    encoded = text.encode()
    settings = {
        _RATE: voice.rate,
        _VOLUME: voice.volume,
        _PITCH: voice.pitch,
        _RANGE: voice.pitch_range,
        _WORD_GAP: voice.word_gap,
    }
    with _library() as library:
        library.espeak_SetSynthCallback(callback)
        failed = library.espeak_SetVoiceByName(voice.name.encode())
        for parameter, value in settings.items():
            library.espeak_SetParameter(parameter, value, 0)
        size = len(encoded) + 1
        with deferred():
            failed = failed or library.espeak_Synth(encoded, size, 0, _BY_CHARACTER, 0, _UTF8, None, None)
    if failed:
        raise DataError(f"espeak cannot say {text!r} as {voice.name} (error {failed}); choose another voice")
    return np.frombuffer(b"".join(blocks), np.int16), marks


def _phone_name(name: str) -> str:
    """A phone without its stress mark, "" when nothing is left or the mark only switches the language."""
    if name.startswith("_"):
        return PAUSE
    return "" if name.startswith("(") else name.lstrip(_STRESS)


@lru_cache(maxsize=65536)
def _own_phones(word: str, name: str) -> tuple[str, ...]:
    _, marks = _run(word, Voice(engine="espeak", name=name))
    said = (_phone_name(mark.name) for mark in marks if mark.kind == _PHONEME)
    return tuple(name for name in said if name not in ("", PAUSE))


def pronounce(word: str, voice: Voice) -> list[str]:
    """The phones of a word said alone, without stress marks."""
    return list(_own_phones(word, voice.name.partition("+")[0]))


def _even_edges(starts: list[float], end: float) -> list[float]:
    """Edges of the phones in seconds; phones that begin at one moment share the time to the next evenly."""
    edges = [*starts, end]
    i = 0
    while i < len(starts):
        j = i + 1
        while j < len(starts) and edges[j] <= edges[i]:
            j += 1
        edges[i : j + 1] = np.linspace(edges[i], max(edges[i], edges[j]), j - i + 1).tolist()
        i = j
    return edges


def _phones(marks: list[_Mark], text: str, voice: Voice, end: float) -> list[Phone]:
    """The phones with times and words. Words that espeak says as one ("of the") share their phones by alignment."""
    words = words_of(text)
    offsets: list[int] = []
    for word in words:
        offsets.append(text.index(word, offsets[-1] + len(words[len(offsets) - 1]) if offsets else 0))
    starters: list[int] = []  # the word each phone's group begins with
    named: list[tuple[str, float]] = []
    current = 0
    for mark in marks:
        if mark.kind == _WORD:
            # The marks' position can lie before the word where punctuation stands; it never lies behind its end.
            at = mark.text - 1
            current = max(current, next((i for i, o in enumerate(offsets) if at < o + len(words[i])), current))
        elif name := _phone_name(mark.name):
            named.append((name, mark.sample / _NATIVE_RATE))
            starters.append(-1 if name == PAUSE else current)
    edges = _even_edges([start for _, start in named], end)
    owners = list(starters)
    begun = sorted({starter for starter in starters if starter >= 0})
    for starter, following in zip(begun, [*begun[1:], len(words)], strict=True):
        own = [i for i, value in enumerate(starters) if value == starter]
        group = range(0 if starter == begun[0] else starter, following)
        if len(group) > 1:
            alone = [pronounce(words[i], voice) for i in group]
            for i, share in zip(own, share_phones([named[i][0] for i in own], alone), strict=True):
                owners[i] = group[share]
    return [Phone(name, edges[i], edges[i + 1], owners[i]) for i, (name, _) in enumerate(named)]


def speak(text: str, voice: Voice) -> Spoken:
    """Say `text`: lower-case words, perhaps with commas. The same text and voice give the same samples.

    Raises:
        DataError: espeakng-loader is missing, the voice is unknown or nothing audible was said.
    """
    words = words_of(text)
    native, marks = _run(text, voice)
    pcm = soxr.resample(native.astype(np.float32) / 32768, _NATIVE_RATE, RATE)
    return assemble(words, pcm, _phones(marks, text, voice, sound_bounds(pcm)[1] / RATE))
