"""An echo follows in every manner, the oracle in none and is always right, and a codec is judged by what survives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from duologue.audio.augment import speech_level
from duologue.data.voices import voices
from duologue.errors import DataError
from duologue.eval.prosody import prosody
from duologue.eval.suites.base import Case
from duologue.eval.suites.manner import LEVELS, MannerSuite
from duologue.systems.coders import load as load_coder
from duologue.systems.floors import Echo, NeverTalk
from duologue.systems.registry import load

pytestmark = pytest.mark.skipif(not voices("flite") or not voices("espeak"), reason="needs flite and espeakng-loader")


@pytest.mark.parametrize(("family", "feature"), [("pace", "pace"), ("pitch", "f0"), ("level", "level")])
def test_an_echo_follows(family: str, feature: str) -> None:
    suite = MannerSuite("dev")
    values = suite.hold(suite.draw(family, 0), Echo()).values
    assert values[f"{feature}_follows"] > 0.9
    assert values[f"{feature}_by_chance"] < 0.05  # of 120 orders, few follow as well
    assert values["right"] == 0


@pytest.mark.parametrize("index", [0, 1])
def test_the_oracle_is_right_and_follows_nothing(index: int) -> None:
    suite = MannerSuite("dev")
    outcome = suite.hold(suite.draw("level", index), load("oracle"))
    values = outcome.values
    assert values["right"] == values["asked"] == len(LEVELS) and values["right_plain"] is True
    assert values["level_follows"] == 0
    assert outcome.audio is not None and len(outcome.marks) == 2 * len(LEVELS)


def test_a_manner_is_what_it_is_called() -> None:
    suite = MannerSuite("dev")
    pace, pitch, level, whisper = (suite.draw(family, 0).audio for family in ("pace", "pitch", "level", "whisper"))
    assert len(pace["slow"]) > 1.2 * len(pace["plain"]) > 1.2 * len(pace["fast"])
    high, low = prosody(pitch["high"]), prosody(pitch["low"])
    assert high is not None and low is not None and high.f0 is not None and low.f0 is not None
    assert high.f0 > 1.3 * low.f0
    assert speech_level(level["soft"]) == pytest.approx(LEVELS["soft"], abs=0.5)
    aloud, whispered = prosody(whisper["plain"]), prosody(whisper["whispered"])
    assert aloud is not None and whispered is not None and whispered.voicing < aloud.voicing - 0.3


def test_much_of_a_manner_survives_the_telephone() -> None:
    suite = MannerSuite("dev")
    values = suite.hold(suite.draw("pitch", 0), load_coder("g711")).values
    assert values["f0_follows"] > 0.95 and values["f0_rmse"] < 100
    assert 0.5 < values["secs"] <= 1 and "right" not in values


def test_who_says_nothing_follows_nothing_and_is_wrong() -> None:
    suite = MannerSuite("dev")
    values = suite.hold(suite.draw("speakers", 0), NeverTalk()).values
    assert values["right"] == 0 and not any(name.endswith("_follows") for name in values)


def test_models_are_judged_with_their_codecs() -> None:
    assert MannerSuite().subjects(["box", "echo"]) == ["box", "echo", "codec:box"]


def test_people_say_one_word(speech: Path) -> None:
    case = MannerSuite("dev", speech).draw("people", 0)
    assert len(case.audio) == 5 and len(case.facts["turn"]["user"].split()) == 1 and case.facts["turn"]["reply"]


def test_own_cases_need_audio_and_a_turn_that_can_be_read() -> None:
    with pytest.raises(DataError, match="no audio"):
        MannerSuite().hold(Case("own", "own/0"), NeverTalk())
    sound = np.zeros(1600, np.float32)
    with pytest.raises(DataError, match=r"facts\.turn\.answer"):
        MannerSuite().hold(Case("own", "own/0", {"plain": sound}, {"turn": {"reply": "", "answer": ""}}), NeverTalk())
