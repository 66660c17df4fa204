"""The duplex suite against systems whose manners are known: the floors, the ceiling, and some made for one figure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pytest

from duologue.data import domain
from duologue.data.dialogues import BACKCHANNELS
from duologue.errors import DataError
from duologue.eval.baselines import oracle
from duologue.eval.figures import figure
from duologue.eval.recognize import Recognizer
from duologue.eval.suites.base import Case, Outcome, Row
from duologue.eval.suites.duplex import DuplexSuite
from duologue.eval.suites.scenes import ASIDES, FAMILIES, Scenes
from duologue.systems.base import Conversation, Pcm, Reply, System, SystemCard
from duologue.systems.floors import AlwaysTalk, NeverTalk

RATE, FRAME = 16000, 1280
SOAK = "soak-0.25"  # minutes


def tone(seconds: float) -> Pcm:
    return np.asarray(0.3 * np.sin(2 * np.pi * 300 * np.arange(round(seconds * RATE)) / RATE), np.float32)


class Scripted(System):
    """Sounds in the given seconds of a conversation, whatever it hears, to the sample."""

    card = SystemCard(name="scripted", hears=("features",))

    def __init__(self, *sounds: tuple[float, float], length: float = 40.0) -> None:
        self.line = np.zeros(round(length * RATE), np.float32)
        for start, end in sounds:
            self.line[round(start * RATE) : round(end * RATE)] = tone(end - start)[
                : round(end * RATE) - round(start * RATE)
            ]

    def open(self, seed: int = 0) -> Conversation:
        return _Scripted(self)


class _Scripted(Conversation):
    def __init__(self, system: Scripted) -> None:
        super().__init__(system.card)
        self.line = system.line

    def _answer(self, pcm: Pcm) -> Reply:
        at = round(self.time * RATE)
        return Reply(self.line[at : at + FRAME].copy())


class Yielding(System):
    """Hums three seconds once the user's first sound is over; stops, or not, `frames` after being spoken over."""

    card = SystemCard(name="yielding", hears=("features",))

    def __init__(self, frames: int | None) -> None:
        self.frames = frames

    def open(self, seed: int = 0) -> Conversation:
        return _Yielding(self)


class _Yielding(Conversation):
    def __init__(self, system: Yielding) -> None:
        super().__init__(system.card)
        self.frames = system.frames
        self.asked, self.quiet, self.over = False, 0, 0
        self.left = np.zeros(0, np.float32)

    def _answer(self, pcm: Pcm) -> Reply:
        sound = bool(np.abs(pcm).max() > 0.01)
        self.quiet = 0 if sound else self.quiet + 1
        if sound and len(self.left):
            self.over += 1
            if self.frames is not None and self.over > self.frames:
                self.left = self.left[:0]
        if sound and not self.asked:
            self.asked = True
        elif self.asked and self.quiet == 3:
            self.left = tone(3.0)
        now, self.left = self.left[:FRAME], self.left[FRAME:]
        return Reply(np.pad(now, (0, FRAME - len(now))))


@pytest.fixture(scope="module")
def suite() -> DuplexSuite:
    made = DuplexSuite("dev")
    asked = [made.draw(f"barge-in-{how}", 0).facts["over"]["reply"] for how in ("early", "middle", "late")]
    made.recognizer = Recognizer([*asked, "okay", "sorry i did not understand that"], asked)
    return made


def turn(question: Sequence[float] = (1.0,), pause: float = 0.0) -> Case:
    """A question of tones with pauses between them; the user says it from 0.5 s on."""
    parts: list[Pcm] = []
    for seconds in question:
        parts += [tone(seconds), np.zeros(round(pause * RATE), np.float32)]
    exchange = {
        "user": "a",
        "reply": "b",
        "category": "facts",
        "key": "k",
        "wording": "",
        "content": "b",
        "history": (),
    }
    facts: dict[str, object] = {"exchange": exchange, "voice": "tone"}
    if pause:
        facts["pause"] = [question[0], question[0] + pause]
    return Case("pause-1" if pause else "turn", "turn/0", {"question": np.concatenate(parts[:-1])}, facts)


def over(suite: DuplexSuite, family: str, sound: Pcm) -> Case:
    case = suite.draw(family, 0)
    return Case(case.family, case.name, {"question": tone(0.78), "over": sound}, case.facts)


def test_a_reply_shifted_by_300_ms_measures_300_ms(suite: DuplexSuite) -> None:
    first = suite.hold(turn(), Scripted((1.7, 3.0))).values
    second = suite.hold(turn(), Scripted((2.0, 3.3))).values
    assert first["latency"] == pytest.approx(0.2, abs=0.011)
    assert second["latency"] == pytest.approx(float(str(first["latency"])) + 0.3, abs=1e-6)
    assert first["gap_s"] == pytest.approx(0.2, abs=0.021) and first["overlap_s"] == 0.0
    assert first["responded"] is True and first["early"] is False


def test_a_reply_that_begins_too_early_is_not_clipped(suite: DuplexSuite) -> None:
    values = suite.hold(turn(), Scripted((1.1, 2.5))).values
    assert values["latency"] == pytest.approx(-0.4, abs=0.011) and values["early"] is True
    assert values["overlap_s"] == pytest.approx(0.4, abs=0.021)


def test_only_speech_before_the_end_of_a_held_turn_is_a_false_takeover(suite: DuplexSuite) -> None:
    case = turn((1.0, 1.0), pause=1.0)  # from 0.5 s: sound to 1.5, pause to 2.5, sound to 3.5
    taken = {
        sounds: suite.hold(case, Scripted(sounds, (3.9, 5.0))).values["false_takeover"]
        for sounds in ((1.8, 2.3), (2.6, 3.0), (3.6, 3.8), (1.8, 1.85))
    }
    assert taken == {(1.8, 2.3): True, (2.6, 3.0): True, (3.6, 3.8): False, (1.8, 1.85): False}


@pytest.mark.parametrize(("frames", "latency"), [(2, 0.24), (5, 0.48)])
def test_yield_latency_runs_from_the_first_sound_of_the_interruption(
    suite: DuplexSuite, frames: int, latency: float
) -> None:
    values = suite.hold(over(suite, "barge-in-early", tone(1.5)), Yielding(frames)).values
    assert values["yielded"] is True
    # the interruption begins within a frame; the reply to the frame that made it stop plays a frame later
    assert values["yield_latency"] == pytest.approx(latency, abs=0.081)


@pytest.mark.parametrize(
    ("family", "system"),
    [
        ("barge-in-early", Yielding(None)),
        ("barge-in-middle", Yielding(None)),
        ("barge-in-late", Yielding(None)),
        ("barge-in-late", AlwaysTalk()),
    ],
)
def test_whoever_never_stops_never_yields_and_has_no_short_latency(
    suite: DuplexSuite, family: str, system: System
) -> None:
    values = suite.hold(over(suite, family, tone(1.5)), system).values
    assert values["yielded"] is False
    assert values["yield_latency"] is None and values["recovery_latency"] is None


@pytest.mark.parametrize("family", ["barge-in-middle", "barge-in-late"])
def test_silence_before_an_interruption_makes_nobody_yield(suite: DuplexSuite, family: str) -> None:
    late = np.concatenate([np.zeros(8000, np.float32), tone(1.5)])  # its sound begins half a second into the file
    values = suite.hold(over(suite, family, late), Yielding(None)).values
    assert values.get("yielded") is not True and values.get("yield_latency") is None


def test_a_murmur_that_stops_the_reply_is_a_false_yield(suite: DuplexSuite) -> None:
    case = over(suite, "backchannel", tone(0.5))
    assert suite.hold(case, Yielding(2)).values["false_yield"] is True
    assert suite.hold(case, Yielding(None)).values["false_yield"] is False


def test_there_is_no_yielding_without_a_reply(suite: DuplexSuite) -> None:
    outcome = suite.hold(suite.draw("barge-in-early", 0), NeverTalk())
    assert outcome.values == {"tried": False} and outcome.detail["untried"]
    figures = {one.name: figure([row(outcome)], one) for one in suite.measures}
    tried = figures["tried"]
    assert tried is not None and tried.value == 0.0
    assert figures["yield_rate"] is None and figures["false_yield"] is None and figures["recovery"] is None


def row(outcome: Outcome) -> Row:
    return Row(suite="duplex", subject="x", family="barge-in-early", case="barge-in-early/0", values=outcome.values)


def hold(suite: DuplexSuite, system: System, families: Iterable[str]) -> dict[str, Outcome]:
    return {family: suite.hold(suite.draw(family, 0), system) for family in families}


def test_the_oracle_does_everything_right(suite: DuplexSuite) -> None:
    held = hold(suite, oracle(), [SOAK if family == "soak" else family for family in suite.families()])
    for family, outcome in held.items():
        values = outcome.values
        if family.startswith(("turn", "pause")):
            latency = values["paused_latency" if "pause" in family else "latency"]
            assert values["responded"] is True and latency == pytest.approx(0.2, abs=0.03), family
            assert not values.get("false_takeover"), family
        elif family.startswith("barge-in"):
            assert values["tried"] is values["yielded"] is values["recovered"] is True, (family, outcome.detail)
            assert 0 <= float(str(values["yield_latency"])) < 0.16, family
            assert values["recovery_latency"] == pytest.approx(0.2, abs=0.03), family
        elif family == "backchannel":
            assert values["false_yield"] is False
        elif family == SOAK:
            assert values["responded"] == values["turns"] and values["soak_p90"] == pytest.approx(0.2, abs=0.03)
        else:
            assert values["started"] is False, family
        assert outcome.audio is not None and outcome.audio.shape[0] == 2


def test_the_floors_have_the_figures_that_are_known(suite: DuplexSuite) -> None:
    families = ["turn", "pause-0.5", "pause-1", "pause-2", "side-talk", "noise", "silence", SOAK]
    silent, loud = hold(suite, NeverTalk(), families), hold(suite, AlwaysTalk(), families)
    for family in families[:4]:
        latency = "paused_latency" if "pause" in family else "latency"
        assert silent[family].values["responded"] is False and silent[family].values[latency] is None
        assert float(str(loud[family].values[latency])) < -0.5
    for family in ("pause-0.5", "pause-1", "pause-2"):
        assert silent[family].values["false_takeover"] is False and loud[family].values["false_takeover"] is True
    for family in ("side-talk", "noise", "silence"):
        assert silent[family].values["started"] is False and loud[family].values["started"] is True
    assert silent[SOAK].values["responded"] == 0 and silent[SOAK].values["soak_p50"] is None
    assert loud[SOAK].values["early"] == loud[SOAK].values["turns"]
    assert silent[SOAK].values["overlap_s"] == 0.0 and silent[SOAK].values["gap_s"] == 0.0


def test_a_soak_lasts_as_long_as_it_is_told_and_keeps_its_beginning(suite: DuplexSuite) -> None:
    assert [suite.minutes(family) for family in ("soak", "soak-60", SOAK)] == [2.0, 60.0, 0.25]
    assert not any(suite.minutes(family) for family in ("soak-0", "soak-x", "turn", "pause-1"))
    assert suite.cases_at_most("soak") == suite.cases_at_most("soak-60") == 1 and suite.cases_at_most("turn") is None
    assert "for 60 minutes" in str(suite.variant("soak-60")) and suite.variant("pause-0") is None
    start, end = suite.draw("pause-0.7", 0).facts["pause"]
    assert "0.7 s" in str(suite.variant("pause-0.7")) and end - start == pytest.approx(0.7, abs=0.02)
    outcome = suite.hold(suite.draw(SOAK, 0), NeverTalk())
    assert 0.25 <= float(str(outcome.values["minutes"])) < 0.5
    kept = suite.hold(suite.draw("soak", 0), NeverTalk()).audio
    assert kept is not None and 60.0 <= kept.shape[1] / RATE < 75.0


def test_scenes_are_drawn_by_their_seed_alone_and_hold_what_they_promise() -> None:
    first, again = Scenes("dev"), Scenes("dev")
    for family in FAMILIES:
        one, two = first.draw(family, 1), again.draw(family, 1)
        assert one.facts == two.facts and one.audio.keys() == two.audio.keys()
        assert all(np.array_equal(one.audio[role], two.audio[role]) for role in one.audio)
    held = first.draw("pause-2", 0)
    start, end = held.facts["pause"]
    assert end - start == pytest.approx(2.0)
    silence = held.audio["question"][round(start * RATE) : round(end * RATE)]
    assert not silence.any()
    assert {first.draw("backchannel", index).facts["murmur"] for index in range(5)} == set(BACKCHANNELS)
    assert first.draw("barge-in-early", 3).facts["over"]["key"].startswith("stop")
    aside = first.draw("side-talk", 0)
    assert aside.facts["other"].split("/r")[0] != aside.facts["voice"].split("/r")[0]
    assert np.square(aside.audio["aside"]).mean() < 0.1 * np.square(aside.audio["question"]).mean()
    with pytest.raises(DataError, match="riddle"):
        first.draw("riddle", 0)
    with pytest.raises(DataError, match="training"):
        Scenes("train")


def test_what_people_say_to_each_other_is_nothing_the_domain_answers() -> None:
    assert not set(ASIDES["dev"]) & set(ASIDES["test"])
    for line in (*ASIDES["dev"], *ASIDES["test"]):
        assert domain.understand(line).key.startswith("unknown"), line


def test_what_lacks_audio_or_has_wrong_facts_is_told_in_one_line(suite: DuplexSuite) -> None:
    with pytest.raises(DataError, match="mine/1 has no audio"):
        suite.hold(Case("mine", "mine/1"), NeverTalk())
    with pytest.raises(DataError, match=r"facts\.turn\.reply"):
        suite.hold(Case("mine", "mine/1", {"question": tone(0.5)}, {"turn": {"user": "when"}}), NeverTalk())
