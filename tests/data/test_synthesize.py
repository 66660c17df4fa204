"""Synthesis: times that fit the sound, equal samples for equal arguments, and runs that go on after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from duologue import cli
from duologue.data import espeak
from duologue.data import synthesize as bulk
from duologue.data.spoken import share_phones, words_of
from duologue.data.synthesize import Line, Spoken, Voice, pronounce, random_voice, speak, synthesize, voices
from duologue.data.voices import ENGINES, Engine
from duologue.errors import DataError

ROOT = Path(cli.__file__).parents[1]
_TEXTS = [
    "two",
    "what is twelve plus forty two",
    "the end of the apples, at one o'clock",
    "a a a, the the i of the in the",
    "please repeat after me, purple mountain",
]


def _needs(engine: Engine) -> list[Voice]:
    found = voices(engine)
    if not found:
        pytest.skip(f"{engine} is not installed")
    return found


def _check(spoken: Spoken, text: str) -> None:
    assert spoken.pcm.dtype == np.float32
    assert np.abs(spoken.pcm).max() <= 1
    assert [word for word, _, _ in spoken.words] == words_of(text)
    for spans in (spoken.words, spoken.phones):
        edges = np.array([span[1:] for span in spans])
        assert (edges[:, 1] > edges[:, 0]).all()
        assert (edges[1:, 0] >= edges[:-1, 1]).all()
        assert edges[0, 0] >= 0
        assert edges[-1, 1] <= spoken.duration + 1e-4
    assert spoken.phones[0][1] == 0
    starts, ends = ({span[place] for span in spoken.phones} for place in (1, 2))
    assert all(start in starts and end in ends for _, start, end in spoken.words)
    loudness = np.sqrt(np.convolve(spoken.pcm**2, np.ones(160) / 160, "same"))
    heard = np.flatnonzero(loudness > loudness.max() / 50) / 16000
    assert heard[0] <= 0.12
    assert spoken.duration - heard[-1] <= 0.12
    assert spoken.words[-1][2] == pytest.approx(heard[-1], abs=0.12)


@pytest.mark.parametrize("engine", ENGINES)
def test_words_and_phones_fit_the_sound(engine: Engine) -> None:
    found = _needs(engine)
    rng = np.random.default_rng(1)
    count = {"espeak": 40, "flite": 6, "festival": 1, "pico": 6}[engine]
    plain = [found[0], *(random_voice(rng, engine) for _ in range(count))]
    for index, voice in enumerate(plain):
        text = _TEXTS[index % len(_TEXTS)]
        _check(speak(text, voice), text)


def test_a_phone_that_festival_puts_between_words_is_no_word_of_its_own() -> None:
    _needs("festival")
    for voice in voices("festival"):
        _check(speak("count the numbers up to six", voice), "count the numbers up to six")


def test_variants_that_end_the_process_are_not_offered() -> None:
    _needs("espeak")
    assert not [voice.name for voice in voices("espeak") if voice.name.endswith("+Demonic")]


@pytest.mark.parametrize("engine", ENGINES)
def test_words_lie_where_they_sound(engine: Engine) -> None:
    """The long pause that a comma makes lies between the words beside it and in none."""
    spoken = speak("what is twelve plus, forty two", _needs(engine)[0])
    (_, _, end), (_, start, _) = spoken.words[3:5]
    assert start - end > 0.05
    gap = spoken.pcm[round((end + 0.02) * 16000) : round((start - 0.02) * 16000)]
    assert np.abs(gap).mean() < np.abs(spoken.pcm).mean() / 5


def test_equal_arguments_give_equal_samples_whatever_was_said_before() -> None:
    _needs("espeak")
    for name in ("en-us+f4", "en+whisper", "en-gb-scotland+klatt3", "en-029+croak"):
        voice = Voice(engine="espeak", name=name)
        first = speak("hello there", voice)
        speak("something else that moves the flutter", voice)
        again = speak("hello there", voice)
        np.testing.assert_array_equal(first.pcm, again.pcm)
        assert first.phones == again.phones


@pytest.mark.parametrize("engine", ["espeak", "flite"])
def test_rate_and_pitch_are_heard(engine: Engine) -> None:
    name = {"espeak": "en-us", "flite": "slt"}[engine]
    _needs(engine)
    plain, fast, loud = (
        speak("where are you going", Voice(engine=engine, name=name, **change))
        for change in ({}, {"rate": 250}, {"volume": 50})
    )
    assert fast.duration < 0.85 * plain.duration
    assert np.abs(loud.pcm).max() < 0.8 * np.abs(plain.pcm).max()
    low, high = (speak("where are you going", Voice(engine=engine, name=name, pitch=pitch)) for pitch in (20, 80))
    assert _pitch(high) > 1.2 * _pitch(low)


def _pitch(spoken: Spoken) -> float:
    """Median fundamental frequency in Hz, by autocorrelation."""
    found = []
    for start in range(0, len(spoken.pcm) - 800, 320):
        frame = spoken.pcm[start : start + 800] * np.hanning(800)
        same = np.correlate(frame, frame, "full")[799:]
        lag = 40 + int(same[40:266].argmax())
        if same[lag] > 0.5 * same[0] > 1e-3:
            found.append(16000 / lag)
    return float(np.median(found))


def test_pronounce() -> None:
    if voices("flite"):
        slt = Voice(engine="flite", name="slt")
        assert pronounce("twelve", slt) == ["t", "w", "eh", "l", "v"]
        assert pronounce("o'clock", slt) == ["ax", "k", "l", "aa", "k"]
    if voices("espeak"):
        assert pronounce("twelve", Voice(engine="espeak", name="en-us+f4")) == ["t", "w", "E", "l", "v"]


def test_phones_are_shared_among_words() -> None:
    alone = [["dh", "ax"], ["ae", "p", "ax", "l"], ["ey"], ["t", "uw"]]
    assert share_phones(["dh", "iy", "ae", "p", "ax", "l", "ax", "t", "uw"], alone) == [0, 0, 1, 1, 1, 1, 2, 3, 3]
    assert share_phones(["dh", "ax", "r", "ae", "p", "l", "ey", "t"], alone) == [0, 0, 0, 1, 1, 1, 2, 3]


def test_random_voices_keep_to_what_was_asked() -> None:
    _needs("espeak")
    rng = np.random.default_rng(0)
    drawn = [random_voice(rng, exclude=["espeak/*+f4", "flite/awb"]) for _ in range(300)]
    assert len({voice.key() for voice in drawn}) == 300
    assert not any(voice.speaker.endswith("+f4") or voice.speaker == "flite/awb" for voice in drawn)
    assert {voice.engine for voice in drawn} == {voice.engine for voice in voices()}
    again = np.random.default_rng(0)
    assert [random_voice(again, exclude=["espeak/*+f4", "flite/awb"]) for _ in range(300)] == drawn
    assert {voice.name.partition("+")[2] for voice in voices() if voice.whisper} == {"whisper", "whisperf"}
    with pytest.raises(DataError, match="no synthetic voice"):
        random_voice(rng, exclude=["*"])


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [("", "en-us", "at least one word"), (" , ", "en-us", "at least one word"), ("hi", "en-us+nobody", "no voice")],
)
def test_bad_requests(text: str, name: str, said: str) -> None:
    _needs("espeak")
    with pytest.raises(DataError, match=said):
        speak(text, Voice(engine="espeak", name=name))


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "_CHUNK", 40)


def _lines(count: int) -> list[Line]:
    rng = np.random.default_rng(5)
    digits = ["one", "two", "three", "four", "five", "six"]
    return [
        Line(f"u{i}", " ".join(rng.choice(digits, 1 + i % 2)), random_voice(rng, "espeak"), "digit")
        for i in range(count)
    ]


def _content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_corpus_is_the_same_however_it_was_made(tmp_path: Path) -> None:
    """One process, or two that are killed outright and then go on: the same bytes in the end."""
    _needs("espeak")
    lines = _lines(130)
    whole = synthesize(lines, tmp_path / "whole", workers=1)
    assert [entry.id for entry in whole] == [line.id for line in lines]
    for line, entry in list(zip(lines, whole, strict=True))[::20]:
        spoken = speak(line.text, line.voice)
        np.testing.assert_allclose(whole.pcm(entry), spoken.pcm, atol=1 / 32768)
        assert (entry.words, entry.phones, entry.duration) == (spoken.words, spoken.phones, spoken.duration)
        assert (entry.text, entry.label, entry.speaker) == (line.text, "digit", line.voice.speaker)

    folder = tmp_path / "broken"
    run = _begun(folder, 130, workers=2)
    run.kill()
    run.communicate()
    synthesize(lines, folder, workers=1)
    assert _content(folder) == _content(tmp_path / "whole")


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_is_heeded_and_damages_nothing(tmp_path: Path, workers: int) -> None:
    _needs("espeak")
    run = _begun(tmp_path / "broken", 240, workers)
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does: to the workers too
    _, error = run.communicate()
    assert run.returncode == 130
    assert error.splitlines()[-1] == "stopped"
    assert "Traceback" not in error and "Exception ignored" not in error
    assert not (tmp_path / "broken" / "manifest.jsonl").exists(), "it was interrupted before its end"
    broken, whole = (synthesize(_lines(240), tmp_path / name, workers=1) for name in ("broken", "whole"))
    assert broken.entries == whole.entries
    assert _content(tmp_path / "broken") == _content(tmp_path / "whole")


def test_an_interrupt_within_espeak_is_heeded_once_it_has_spoken(monkeypatch: pytest.MonkeyPatch) -> None:
    """espeak hands its sound to a callback, from which no exception can come out."""
    _needs("espeak")
    voice = Voice(engine="espeak", name="en-us")
    whole = speak("one two", voice)
    mark = espeak._Mark

    def interrupted(*values: object) -> object:
        signal.raise_signal(signal.SIGINT)
        return mark(*values)  # type: ignore[arg-type]

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores Ctrl-C
    try:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(espeak, "_Mark", interrupted)
            speak("one two", voice)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    np.testing.assert_array_equal(speak("one two", voice).pcm, whole.pcm)


def _begun(folder: Path, count: int, workers: int) -> subprocess.Popen[str]:
    """A run of this file as a program, leader of a group of its own, that has finished a shard."""
    command = [sys.executable, __file__, str(folder), str(count), str(workers)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True)
    while not list(folder.glob("[!.]*.jsonl")) and run.poll() is None:
        time.sleep(0.005)
    return run


def test_finished_shards_are_not_made_again_and_changed_lines_are(tmp_path: Path) -> None:
    _needs("espeak")
    lines = _lines(50)
    synthesize(lines, tmp_path, workers=1)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("0000*")}
    changed = [*lines[:-1], lines[-1]._replace(text="seven")]
    corpus = synthesize(changed, tmp_path, workers=1)
    assert all(path.stat().st_mtime_ns == at for path, at in times.items())
    assert corpus.entries[-1].text == "seven"
    assert len(corpus) == 50


def test_flite_lines_have_the_same_times_in_a_corpus_as_alone(tmp_path: Path) -> None:
    voice = _needs("flite")[0]
    line = Line("a", "is it o'clock, or the apple", voice)
    entry = synthesize([line], tmp_path, workers=1).entries[0]
    assert entry.words == speak(line.text, voice).words


def test_a_line_that_cannot_be_said_is_named(tmp_path: Path) -> None:
    _needs("espeak")
    voice = Voice(engine="espeak", name="en-us")
    with pytest.raises(DataError, match="line bad: nothing to say"):
        synthesize([Line("good", "hi", voice), Line("bad", ",", voice)], tmp_path, workers=1)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match="'good' is there twice"):
        synthesize([Line("good", "hi", voice)] * 2, tmp_path)


if __name__ == "__main__":
    bulk._CHUNK = 40
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores Ctrl-C
    cli.app.command("lines")(lambda folder, count, workers: synthesize(_lines(int(count)), folder, int(workers)))
    sys.exit(cli.main(["lines", *sys.argv[1:]]))
