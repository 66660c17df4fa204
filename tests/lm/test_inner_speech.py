"""Inner speech, in the model of the box: what is replied follows from the words, whenever and however they are said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from duologue.audio.files import load
from duologue.lm.generate import ConversationState, Generator
from duologue.lm.model import FRAME, SpeechLM
from duologue.lm.text import CUT, END, EOT, PAD
from duologue.systems import registry
from duologue.systems.native import NativeSystem
from duologue.systems.rows import NativeRows

pytestmark = pytest.mark.skipif(not registry.BOX.is_dir(), reason="there is no model in the box")
QUESTION = Path(__file__).parents[2] / "examples" / "question.wav"


@pytest.fixture(scope="module")
def model() -> SpeechLM:
    return SpeechLM.load(registry.BOX)


def talk(generator: Generator, state: ConversationState, pcm: np.ndarray) -> tuple[list[str], list[str]]:
    """The words heard in pcm (T,) and those of the reply."""
    heard: list[str] = []
    text: list[str] = []
    for frame in torch.from_numpy(pcm[: len(pcm) // FRAME * FRAME]).view(-1, 1, FRAME):
        out = generator.step(frame, state)
        heard += out.heard[0]
        text += out.text[0]
    return heard, text


def read(model: SpeechLM, words: list[str]) -> list[str]:
    """What the thinker replies to words alone, a piece a frame and no sound."""
    state = model.thinker.init_state(1)

    def step(piece: int) -> int:
        forced = {"heard": torch.tensor([[piece]])}
        return int(model.thinker.step({}, state, {}, forced=forced)["text"])

    for piece in model.tokenizer.encode(" ".join(words)):
        assert step(piece) == PAD, "it waits for the end of the turn"
    pieces = [step(EOT)]
    while pieces[-1] not in (END, PAD) and len(pieces) < 40:
        pieces.append(step(PAD))
    return model.tokenizer.decode(pieces).split()


@pytest.mark.parametrize("level", [1.0, 0.3])
def test_the_reply_to_a_spoken_question_is_the_reply_to_its_words(model: SpeechLM, level: float) -> None:
    pcm = np.concatenate([level * load(QUESTION), np.zeros(3 * 16_000, np.float32)])
    generator = Generator(model)
    heard, text = talk(generator, generator.init_state(1), pcm)
    assert len(heard) > 2 and len(text) > 2
    assert text == read(model, heard)


def test_no_time_passes_while_nothing_is_said(model: SpeechLM) -> None:
    generator = Generator(model)
    state = generator.init_state(1)
    talk(generator, state, np.zeros(5 * 16_000, np.float32))
    assert state.thinker.temporal.position.tolist() == [62]
    assert state.inner.temporal.position.tolist() == [0]
    generator.tell("what is two plus two", state)
    _, text = talk(generator, state, np.zeros(3 * 16_000, np.float32))
    assert text == read(model, ["what", "is", "two", "plus", "two"])
    assert 5 < state.inner.temporal.position.item() < 20


def test_a_reply_that_is_stopped_is_stopped_in_both(model: SpeechLM) -> None:
    system = NativeSystem(model, registry.read_card(registry.BOX))
    rows = NativeRows(system, 2)
    rows.open(1, 0)
    rows.read(1, "what is two plus two")
    for _ in range(12):
        rows.step({1: np.zeros(FRAME, np.float32)})
    rows.hush(1)
    text = [stream.name for stream, _ in model.thinker.layout.written].index("text")
    for part in (rows._state.thinker, rows._state.inner):
        assert part.written[1, text, 0] == CUT + 1
