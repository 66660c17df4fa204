"""Full-Duplex-Bench's definitions on words and spans made by hand, its folders in and out, and its suite."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from duologue.errors import DataError
from duologue.eval.baselines import oracle
from duologue.eval.converse import Record
from duologue.eval.fullduplexbench import (
    BenchmarkFolder,
    divergence,
    latency,
    murmurs,
    respond,
    takes_turn,
    task_of,
)
from duologue.eval.recognize import Recognizer, TimedWord
from duologue.eval.suites.base import Case
from duologue.eval.suites.fdb import FullDuplexBenchSuite, judged
from duologue.systems.floors import AlwaysTalk, Echo, NeverTalk

RATE = 16000


def channel(seconds: float, *sounds: tuple[float, float]) -> np.ndarray:
    pcm = np.zeros(round(seconds * RATE), np.float32)
    for start, end in sounds:
        first, last = round(start * RATE), round(end * RATE)
        pcm[first:last] = 0.3 * np.sin(2 * np.pi * 300 * np.arange(last - first) / RATE)
    return pcm


def said(*starts: float, length: float = 0.2) -> list[TimedWord]:
    return [("word", start, start + length) for start in starts]


def record(user: np.ndarray, system: np.ndarray) -> Record:
    span = (0.0, len(user) / RATE)
    return Record(np.stack([user, system]), [span], [span], [], [])


@pytest.mark.parametrize(
    ("words", "taken"),
    [
        ([], False),
        (said(1.0, 1.3, 1.6), False),  # three words in 0.8 s
        (said(1.0, 1.2, 1.4, 1.6), True),  # four words in 0.8 s
        (said(1.0, 1.8), True),  # two words in 1 s
        (said(1.0), False),
    ],
)
def test_a_turn_is_taken_by_more_than_three_words_or_for_a_second(words: list[TimedWord], taken: bool) -> None:
    assert takes_turn(words) is taken


def test_latency_is_signed_and_there_is_none_without_a_turn() -> None:
    assert latency(said(3.3, 4.0, 4.5), 3.0) == pytest.approx(0.3)
    assert latency(said(2.5, 4.0, 4.5), 3.0) == pytest.approx(-0.5)
    assert latency(said(3.3), 3.0) is None and latency([], 3.0) is None


def test_backchannels_are_short_segments_of_few_words_and_any_other_takes_the_turn() -> None:
    short, long = [(1.0, 1.4), (5.0, 5.9)], [(1.0, 1.4), (5.0, 6.2)]
    assert murmurs(short, said(1.1, 5.1, 5.4)) == (False, short)
    assert murmurs(short, said(1.1, 5.1, 5.3, 5.5)) == (True, short[:1])
    assert murmurs(long, said(1.1)) == (True, long[:1])
    assert murmurs([], []) == (False, [])


def test_divergence_is_0_where_people_murmur_too_and_1_where_no_one_does() -> None:
    truth = np.zeros(51)
    truth[10:12] = 0.5
    assert divergence([(2.0, 2.3)], truth.tolist(), 10.0) == pytest.approx(0.0, abs=1e-3)
    assert divergence([(8.0, 8.3)], truth.tolist(), 10.0) == pytest.approx(1.0, abs=1e-3)
    assert divergence([], truth.tolist(), 10.0) == 1.0


def test_the_right_reply_after_a_held_turn_is_no_takeover() -> None:
    user = channel(8.0, (0.5, 1.5), (2.5, 3.5))
    case = Case("pause", "pause/0", {}, {"task": "pause_handling", "annotation": [{"timestamp": [1.5, 2.5]}]})
    after, inside = said(3.7, 4.5, 5.0), said(1.7, 2.2, 2.8)
    silent = record(user, channel(8.0))
    assert judged(case, silent, after) == {"pause_tor": False, "pause_tor_file": True}
    assert judged(case, silent, inside) == {"pause_tor": True, "pause_tor_file": True}
    assert judged(case, silent, []) == {"pause_tor": False, "pause_tor_file": False}


def test_stopping_is_not_cut_off_at_the_users_end_and_never_stopping_is_no_latency() -> None:
    user = channel(12.0, (0.5, 1.5), (3.0, 4.0))
    case = Case("barge", "barge/0", {}, {"task": "user_interruption", "annotation": [{"timestamp": [3.0, 4.0]}]})
    slow = judged(case, record(user, channel(12.0, (1.7, 4.8), (6.0, 8.0))), said(2.0, 3.5, 4.5, 6.0, 6.5, 7.0))
    assert slow["stopped"] is True and slow["stop_latency"] == pytest.approx(1.8, abs=0.011)
    assert slow["interruption_tor"] is True and slow["interruption_latency"] == pytest.approx(2.0)
    never = judged(case, record(user, channel(12.0, (1.7, 12.0))), said(*np.arange(2.0, 11.5, 0.5).tolist()))
    assert never["stopped"] is False and never["stop_latency"] is None and never["interruption_latency"] is None
    quiet = judged(case, record(user, channel(12.0)), [])
    assert quiet["stopped"] is None and quiet["interruption_tor"] is False


@pytest.fixture(scope="module")
def suite() -> FullDuplexBenchSuite:
    made = FullDuplexBenchSuite("dev")
    replies = [reply for family in made.families() for reply in made.draw(family, 0).facts["replies"] if reply]
    made.recognizer = Recognizer(replies)
    return made


def test_the_oracle_and_the_floors_have_known_figures(suite: FullDuplexBenchSuite) -> None:
    held = {
        system.card.name: {family: suite.hold(suite.draw(family, 0), system).values for family in suite.families()}
        for system in (oracle(), NeverTalk(), AlwaysTalk())
    }
    pause, turn, tale, barge = suite.families()
    best, silent, loud = held["oracle"], held["never-talk"], held["always-talk"]
    assert best[pause]["pause_tor"] is False and best[tale]["backchannel_tor"] is False
    assert best[turn]["turn_tor"] is True and best[turn]["turn_latency"] == pytest.approx(0.2, abs=0.1)
    assert best[barge]["interruption_tor"] is True and best[barge]["stopped"] is True
    assert best[barge]["interruption_latency"] == pytest.approx(0.2, abs=0.1)
    assert 0 <= float(str(best[barge]["stop_latency"])) < 0.16
    assert silent[turn] == {"turn_tor": False, "turn_latency": None, "true_tor": best[turn]["true_tor"]}
    assert best[turn]["true_tor"] is best[barge]["true_tor"] is True  # who hears the oracle would hear true speech
    assert "true_tor" not in best[tale]  # where nothing is to be said
    assert silent[barge]["interruption_tor"] is False and silent[pause]["pause_tor"] is False
    assert loud[tale]["backchannel_tor"] is True and loud[tale]["backchannels"] == 0.0
    assert loud[barge]["stopped"] is False and loud[barge]["interruption_latency"] is None


def test_what_is_exported_is_read_back_and_answered_in_time(suite: FullDuplexBenchSuite, tmp_path: Path) -> None:
    assert suite.write_cases((suite.draw(family, 0) for family in suite.families()), tmp_path) == 4
    source = suite.cases_in(tmp_path)
    assert set(source.families()) == set(suite.families())
    for family in source.families():
        drawn, read = suite.draw(family, 0), source.draw(family, 0)
        assert read.name == drawn.name and read.facts["task"] == drawn.facts["task"]
        assert read.facts.get("annotation") == drawn.facts.get("annotation")
        np.testing.assert_allclose(read.audio["input"], drawn.audio["input"], atol=1e-4)
    assert (tmp_path / "synthetic_user_interruption" / "0" / "context.wav").is_file()
    before = source.fingerprint()
    assert respond(Echo(), source, tmp_path, suite.recognizer) == 4
    assert source.fingerprint() == before
    for family in source.families():
        heard, rate = soundfile.read(tmp_path / family / "0" / "output.wav", dtype="float32")
        asked = source.draw(family, 0).audio["input"]
        assert rate == RATE and len(heard) == len(asked)
        np.testing.assert_allclose(heard[1280:], asked[:-1280], atol=1e-4)  # an echo comes a frame later
        words = json.loads((tmp_path / family / "0" / "output.json").read_text())
        assert words["text"] == " ".join(chunk["text"] for chunk in words["chunks"])


def test_audio_of_another_rate_keeps_its_times(tmp_path: Path) -> None:
    place = tmp_path / "icc_backchannel" / "7"
    place.mkdir(parents=True)
    soundfile.write(place / "input.wav", np.resize(channel(1.0, (0.2, 0.8)), 24000), 24000)
    (tmp_path / "icc_gt_distribution.json").write_text('{"7": [0.5, 0.5]}')
    case = BenchmarkFolder(tmp_path).draw("icc_backchannel", 0)
    assert len(case.audio["input"]) == RATE and case.facts == {"task": "backchannel", "truth": [0.5, 0.5]}


def test_what_is_wrong_with_a_folder_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"input\.wav below"):
        BenchmarkFolder(tmp_path)
    place = tmp_path / "candor_turn_taking" / "1"
    place.mkdir(parents=True)
    soundfile.write(place / "input.wav", channel(1.0, (0.2, 0.8)), RATE)
    with pytest.raises(DataError, match=r"turn_taking\.json is missing or malformed"):
        BenchmarkFolder(tmp_path).draw("candor_turn_taking", 0)
    (place / "turn_taking.json").write_text('[{"text": "[TURN-TAKING]", "timestamp": [1.0]}]')
    with pytest.raises(DataError, match="no timestamp of"):
        BenchmarkFolder(tmp_path).draw("candor_turn_taking", 0)
    assert task_of("candor_turn_taking") == "turn_taking"
    with pytest.raises(DataError, match="names no task"):
        task_of("riddles")
