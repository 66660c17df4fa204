"""Systems of known manners take the suite: one that knows the answers, one that never stops, one that never speaks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from duologue.data import domain
from duologue.data.synthesize import speak
from duologue.data.voices import Voice, voices
from duologue.errors import DataError
from duologue.eval.answers import Judge, run
from duologue.eval.cases import FAMILIES, Case, CaseDrawer
from duologue.eval.recognize import Recognizer
from duologue.eval.report import Row, markdown, summarise, tables
from duologue.systems.base import Conversation, Pcm, Reply, System, SystemCard, TextWord

pytestmark = pytest.mark.skipif(not voices("flite") or not voices("espeak"), reason="needs flite and espeakng-loader")

QUIET = 11  # frames: longer than the pause inside a question


class Actor(System):
    """Says the given lines, one after each turn of the user; `stops` when spoken over for that many frames."""

    card = SystemCard(name="actor", hears=("features",))

    def __init__(self, lines: Sequence[str] = (), stops: int | None = None, quiet: int = QUIET) -> None:
        self.lines, self.stops, self.quiet = list(lines), stops, quiet

    def open(self, seed: int = 0) -> ActorConversation:
        return ActorConversation(self)


class ActorConversation(Conversation):
    def __init__(self, actor: Actor) -> None:
        super().__init__(actor.card)
        self.actor, self.lines = actor, list(actor.lines)
        self.quiet, self.over = -1, 0
        self.sound: Pcm = np.zeros(0, np.float32)

    def _answer(self, pcm: Pcm) -> Reply:
        reply = Reply(np.zeros(self.card.frame, np.float32))
        if np.abs(pcm).max() > 0.02:
            self.quiet, self.over = 0, self.over + 1
        elif self.quiet >= 0:
            self.quiet += 1
            if self.quiet == self.actor.quiet and self.lines:
                line = self.lines.pop(0)
                reply.events.extend(TextWord(time=self.time, word=word) for word in line.split())
                self.sound, self.over = speak(line, Voice(engine="flite", name="slt")).pcm, 0
        if self.actor.stops is not None and self.over >= self.actor.stops:
            self.sound = self.sound[:0]
        now, self.sound = self.sound[: self.card.frame], self.sound[self.card.frame :]
        reply.pcm[: len(now)] = now
        return reply


@pytest.fixture(scope="module")
def drawer() -> CaseDrawer:
    return CaseDrawer("dev")


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    rng = np.random.default_rng(1)
    return Recognizer((domain.sample(rng, "train").reply for _ in range(1500)), domain.vocabulary())


def hold(actor: Actor, case: Case, recognizer: Recognizer) -> Row:
    return Judge(actor, recognizer).row(case)


def replies(case: Case) -> list[str]:
    return [exchange.reply for exchange in case.exchanges]


@pytest.mark.parametrize("family", ["unseen-wordings", "unseen-operands", "context", "pause"])
def test_right_answers_are_right_in_text_and_in_sound(family: str, drawer: CaseDrawer, recognizer: Recognizer) -> None:
    case = drawer.draw(family, 3)
    row = hold(Actor(replies(case)), case, recognizer)
    assert [turn.said for turn in row.turns] == replies(case)
    assert all(turn.right and turn.right_spoken == turn.right_true for turn in row.turns)
    assert sum(turn.right_spoken for turn in row.turns) >= len(row.turns) - 1
    assert all(turn.latency is not None and 0.5 < turn.latency < 1.1 for turn in row.turns)
    assert row.passed == (True if family == "pause" else None)
    assert row.compute_ms


def test_wrong_answers_and_silence_are_wrong(drawer: CaseDrawer, recognizer: Recognizer) -> None:
    case = drawer.draw("unseen-operands", 0)
    wrong = hold(Actor(["the answer is nine hundred"]), case, recognizer).turns[0]
    mute = hold(Actor(), case, recognizer).turns[0]
    assert not wrong.right and not wrong.right_spoken and wrong.right_true
    assert not mute.right and not mute.right_spoken and mute.latency is None


def test_starting_inside_a_pause_is_a_false_start(drawer: CaseDrawer, recognizer: Recognizer) -> None:
    case = drawer.draw("pause", 1)
    row = hold(Actor(["okay"], quiet=3), case, recognizer)
    assert row.passed is False and row.turns[0].latency is not None and row.turns[0].latency < 0


def test_yielding_is_told_from_talking_on(drawer: CaseDrawer, recognizer: Recognizer) -> None:
    line = "one two three four five six seven eight nine"
    barge_in, murmur = drawer.draw("barge-in", 2), drawer.draw("backchannel", 0)
    lines = [line, barge_in.exchanges[1].reply]
    polite, stubborn = Actor(lines, stops=3), Actor(lines)
    stopped, went_on = (hold(actor, barge_in, recognizer) for actor in (polite, stubborn))
    assert stopped.passed is True and stopped.delay is not None and 0 < stopped.delay < 1.0
    assert went_on.passed is False and went_on.delay is None
    assert stopped.turns[1].right
    assert hold(Actor([line], stops=3), murmur, recognizer).passed is False
    assert hold(Actor([line]), murmur, recognizer).passed is True
    assert hold(Actor(), barge_in, recognizer).passed is None


def test_cases_are_the_same_when_drawn_again(drawer: CaseDrawer) -> None:
    for family in ("unseen-voices", "silence", "backchannel"):
        first, again = drawer.draw(family, 5), CaseDrawer("dev").draw(family, 5)
        assert first.exchanges == again.exchanges and first.voice == again.voice
        assert all(np.array_equal(a, b) for a, b in zip(first.speech, again.speech, strict=True))
    assert drawer.draw("unseen-voices", 6).voice != drawer.draw("unseen-voices", 7).voice


def test_real_people_are_held_out(speech: Path) -> None:
    case = CaseDrawer("test", speech).draw("real-words", 0)
    assert case.voice.startswith(("sc_", "fsdd_nicolas")) and case.exchanges[0].reply


def test_a_run_resumes_and_sums_up(tmp_path: Path) -> None:
    families = ["unseen-voices", "silence"]
    whole = run(Actor(["okay"]), "dev", tmp_path / "whole", 2, families=families)
    assert whole["silence"]["passed"]["value"] == 1.0 and whole["unseen-voices"]["replied"]["value"] == 1.0
    part = tmp_path / "part"
    run(Actor(["okay"]), "dev", part, 1, families=families)
    results = part / "results.jsonl"
    results.write_text(results.read_text() + '{"case": "unse')
    resumed = run(Actor(["okay"]), "dev", part, 2, families=families)
    assert {name: dict(resumed[name]) for name in families} == {name: dict(whole[name]) for name in families}
    assert len(results.read_text().splitlines()) == 4
    assert "unseen-voices" in (part / "summary.md").read_text()
    with pytest.raises(DataError, match="another model or split"):
        run(Actor(["okay"]), "test", part, 1, families=families)


def test_unknown_families_and_damaged_results_are_errors(tmp_path: Path, drawer: CaseDrawer) -> None:
    with pytest.raises(DataError, match="is unknown"):
        run(Actor(), "dev", tmp_path, 1, families=["riddles"])
    with pytest.raises(DataError, match="riddles"):
        drawer.draw("riddles", 0)
    with pytest.raises(DataError, match="train"):
        CaseDrawer("train")
    run(Actor(), "dev", tmp_path, 1, families=["silence"])
    (tmp_path / "results.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match=r"results\.jsonl:1"):
        run(Actor(), "dev", tmp_path, 1, families=["silence"])


def test_tables_show_every_family_with_its_interval(drawer: CaseDrawer, recognizer: Recognizer) -> None:
    case = drawer.draw("pause", 3)
    summary = summarise([hold(Actor(replies(case)), case, recognizer)])
    page = markdown(summary, "dev")
    assert "| pause | 1 | 100 [21, 100] |" in page and FAMILIES["pause"] in page
    assert [table.title for table in tables(summary)] == ["Answers", "Behaviour"]
