"""The recogniser understands clean synthetic speech of the sentences it expects, alone and over processes."""

from __future__ import annotations

import pickle
import random
import shutil
import subprocess
from pathlib import Path

import jiwer
import numpy as np
import pytest

from duologue.audio.files import load
from duologue.data.domain.sequences import DAYS
from duologue.errors import AudioError
from duologue.eval.recognize import Pcm, Recognizer, normalize, pronunciations
from duologue.lm.numbers import spell

NUMBERS = [spell(number) for number in range(60)]


def sentences(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    sums = [f"{rng.choice(NUMBERS)} plus {rng.choice(NUMBERS)} is {rng.choice(NUMBERS)}" for _ in range(count)]
    return sums[::2] + [f"after {rng.choice(DAYS)} comes {rng.choice(DAYS)}" for _ in sums[1::2]]


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer(sentences(600, 0), [*NUMBERS, *DAYS])


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Pcm]]:
    if shutil.which("flite") is None:
        pytest.skip("flite is not installed")
    path: Path = tmp_path_factory.mktemp("flite") / "line.wav"
    clips = []
    for line in sentences(12, 1):
        subprocess.run(["flite", "-voice", "slt", "-t", line, "-o", str(path)], check=True)
        clips.append((line, load(path)))
    return clips


def test_clean_speech_of_the_domain_is_understood(recognizer: Recognizer, spoken: list[tuple[str, Pcm]]) -> None:
    heard = [recognizer.transcribe(pcm) for _, pcm in spoken]
    assert jiwer.wer([line for line, _ in spoken], heard) < 0.05


def test_words_come_with_times_inside_the_clip(recognizer: Recognizer, spoken: list[tuple[str, Pcm]]) -> None:
    line, pcm = spoken[0]
    words = recognizer.transcribe_timed(pcm)
    assert [word for word, _, _ in words] == line.split()
    edges = [edge for _, start, end in words for edge in (start, end)]
    assert edges == sorted(edges) and edges[0] >= 0 and edges[-1] <= len(pcm) / 16000 + 0.01


def test_processes_and_copies_hear_the_same(recognizer: Recognizer, spoken: list[tuple[str, Pcm]]) -> None:
    clips = [pcm for _, pcm in spoken[:4]]
    alone = [recognizer.transcribe(clip) for clip in clips]
    assert recognizer.transcribe_many(clips, workers=2) == alone
    assert pickle.loads(pickle.dumps(recognizer)).transcribe(clips[0]) == alone[0]


def test_no_sound_has_no_words(recognizer: Recognizer) -> None:
    assert recognizer.transcribe(np.zeros(16000, np.float32)) == ""
    assert recognizer.transcribe(np.zeros(0, np.float32)) == ""


def test_unusable_audio_is_an_error(recognizer: Recognizer) -> None:
    with pytest.raises(AudioError, match="one channel"):
        recognizer.transcribe(np.zeros((2, 1600), np.float32))
    with pytest.raises(AudioError, match="finite"):
        recognizer.transcribe(np.full(1600, np.nan, np.float32))


def test_words_outside_the_dictionary_get_rules_or_are_named() -> None:
    assert pronunciations("seven") == ("S EH V AH N",)
    recognizer = Recognizer(["zorblax is here"])
    assert ("zorblax" in recognizer.words) == (shutil.which("flite") is not None)
    assert recognizer.missing == ([] if shutil.which("flite") else ["zorblax"])


def test_normalize() -> None:
    assert normalize("Say: don\u2019t stop, 'kay?  Forty-two!") == "say don't stop 'kay forty two"
    assert normalize("It's 42, not -5.") == "it's forty two not minus five"
    assert normalize("The \u2018new\u2019 word is 'don't'; the dogs' bowl") == "the new word is don't the dogs bowl"
    assert normalize("caf\u00e9 ?!") == "cafe" and normalize("...") == normalize("") == ""
