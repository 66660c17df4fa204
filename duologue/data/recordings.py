"""Real people for scenes: single words and digits, books read aloud, noises and rooms, kept in splits."""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from duologue.audio.augment import speed
from duologue.audio.files import load
from duologue.audio.vad import speech_bounds
from duologue.data.align import align
from duologue.data.manifest import Entry, read
from duologue.data.splits import Split, speaker_split
from duologue.data.spoken import RATE, Spoken
from duologue.errors import DataError

WORDS = {"fsdd": 0.4, "speech_commands_test_v002": 0.6}  # corpora of single words, and how often each is drawn
READING = "librispeech_train_clean"
SPEEDS = (0.88, 1.14)
SENTENCE = (3, 13)  # words

Pcm = NDArray[np.float32]
Span = tuple[float, float]


@lru_cache(maxsize=512)
def _load(path: Path) -> Pcm:
    return load(path)


@lru_cache(maxsize=512)
def _aligned(path: Path, text: str) -> list[tuple[str, float, float]] | None:
    return align(_load(path), text)


def quiet_cut(pcm: Pcm, rng: np.random.Generator, low: float = 2.0, high: float = 5.0) -> Pcm:
    """A stretch of `low`..`high` seconds of `pcm` whose ends lie where it is quietest nearby."""
    want = round(float(rng.uniform(low, high)) * RATE)
    if len(pcm) <= want:
        return pcm
    power = np.convolve(np.square(pcm), np.ones(640) / 640, mode="same")

    def quietest(at: int) -> int:
        first = max(0, at - 4_000)
        return first + int(np.argmin(power[first : at + 4_000]))

    start = quietest(int(rng.integers(0, len(pcm) - want)))
    end = quietest(min(len(pcm) - 1, start + want))
    return pcm[start:end] if end - start >= RATE else pcm[start : start + want]


def _entries(folder: Path, corpus: str) -> list[tuple[Path, Entry]]:
    manifest = folder / corpus / "manifest.jsonl"
    if not manifest.is_file():
        raise DataError(f"no {manifest}; give the folder of real speech that holds {corpus}, or none")
    return [(manifest.parent / entry.path, entry) for entry in read(manifest)]


def _sounds(folder: Path, label: str, split: Split) -> list[Pcm]:
    """The noises or room responses of a split; each recording is split by its own name."""
    corpora = sorted(manifest.parent.name for manifest in folder.glob("*/manifest.jsonl"))
    found = [
        path
        for corpus in corpora
        for path, entry in _entries(folder, corpus)
        if entry.label == label and speaker_split(f"{corpus}/{entry.path}") == split
    ]
    return [_load(path) for path in found]


class Recordings:
    """What of a folder of real speech belongs to one split. Files are read when they are drawn.

    Raises:
        DataError: the folder or one of the corpora it is to hold is missing.
    """

    def __init__(self, folder: Path, split: Split) -> None:
        self.words: dict[str, dict[str, list[tuple[Path, str]]]] = {}
        for corpus in WORDS:
            speakers: dict[str, list[tuple[Path, str]]] = defaultdict(list)
            for path, entry in _entries(folder, corpus):
                if entry.speaker and entry.text and speaker_split(entry.speaker) == split:
                    speakers[entry.speaker].append((path, entry.text))
            self.words[corpus] = dict(speakers)
        reading = _entries(folder, READING)
        self.readings = [
            (path, (entry.text or "").lower())
            for path, entry in reading
            if entry.speaker and speaker_split(entry.speaker) == split
        ]
        self.noises, self.rooms = _sounds(folder, "noise", split), _sounds(folder, "rir", split)

    def draw_words(self, rng: np.random.Generator, count: int) -> list[tuple[Spoken, Span]]:
        """`count` single words with their bounds, by one speaker as far as his recordings go."""
        corpora = [corpus for corpus in WORDS if self.words[corpus]]
        if not corpora:
            return []
        weights = np.array([WORDS[corpus] for corpus in corpora])
        speakers = self.words[corpora[int(rng.choice(len(corpora), p=weights / weights.sum()))]]
        names = list(speakers)
        # A clip is drawn, and its speaker with it, so that each recording is as likely as any other.
        sizes = np.array([len(speakers[name]) for name in names])
        drawn: list[tuple[Path, str]] = []
        while len(drawn) < count:
            clips = speakers[names[int(rng.choice(len(names), p=sizes / sizes.sum()))]]
            drawn += [clips[int(i)] for i in rng.permutation(len(clips))]
        factor = float(rng.uniform(*SPEEDS))
        return [said for path, word in drawn[:count] if (said := self._spoken(path, word, factor)) is not None]

    def _spoken(self, path: Path, word: str, factor: float) -> tuple[Spoken, Span] | None:
        pcm = speed(_load(path), factor)
        bounds = speech_bounds(pcm)
        return None if bounds is None else (Spoken(pcm, [(word, *bounds)], []), bounds)

    def draw_reading(self, rng: np.random.Generator) -> Spoken | None:
        """Two to five seconds of a book read aloud, its words not told."""
        if not self.readings:
            return None
        path, _ = self.readings[int(rng.integers(len(self.readings)))]
        return Spoken(speed(quiet_cut(_load(path), rng), float(rng.uniform(*SPEEDS))), [], [])

    def draw_sentences(self, rng: np.random.Generator, count: int) -> list[tuple[Spoken, Span]]:
        """Pieces of books read aloud, each by another person, with the times of their words and their bounds.

        Fewer than `count` where a recording that was drawn cannot be aligned with its text.
        """
        return [said for _ in range(count if self.readings else 0) if (said := self._sentence(rng)) is not None]

    def _sentence(self, rng: np.random.Generator) -> tuple[Spoken, Span] | None:
        path, text = self.readings[int(rng.integers(len(self.readings)))]
        words = _aligned(path, text)
        if words is None:
            return None
        first = int(rng.integers(len(words)))
        last = min(len(words), first + int(rng.integers(*SENTENCE))) - 1
        # Words follow one another without a gap: what lies between them belongs half to each.
        begin = words[first][1] if first == 0 else (words[first - 1][2] + words[first][1]) / 2
        end = words[last][2] if last + 1 == len(words) else (words[last][2] + words[last + 1][1]) / 2
        factor = float(rng.uniform(*SPEEDS))
        pcm = speed(_load(path)[round(begin * RATE) : round(end * RATE)], factor)
        said = [
            (word, (start - begin) / factor, (stop - begin) / factor) for word, start, stop in words[first : last + 1]
        ]
        return Spoken(pcm, said, []), (said[0][1], said[-1][2])
