"""The generator on an untrained model: the path of a frame, rows of any age, replies that begin, end and are cut."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from systems.simple import write_tiny_model

from duologue.errors import ModelError, TextError
from duologue.lm.generate import FADE, TOLD, ConversationState, Generator, StepOutput
from duologue.lm.model import FRAME, SpeechLM
from duologue.lm.text import CUT, END, EOT, PAD

Script = Mapping[int, tuple[str, str]]  # frame -> pieces of (heard, text), by word or control token


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SpeechLM:
    return SpeechLM.load(write_tiny_model(tmp_path_factory.mktemp("tiny")))


def sound(frames: int, rows: int = 1, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(frames, rows, FRAME, generator=torch.Generator().manual_seed(seed))


class Scripted(Generator):
    """The real generator, whose thinker's words are dictated frame by frame so that the outcome is known."""

    def __init__(self, model: SpeechLM, script: Script) -> None:
        super().__init__(model)
        self.script, self.frame = script, 0
        self.controls = {"": PAD, "<eot>": EOT, "<end>": END, "<cut>": CUT}

    def _piece(self, word: str) -> int:
        return self.controls[word] if word in self.controls else self.model.tokenizer.encode(word)[0]

    def _think(self, pcm: torch.Tensor, state: ConversationState, rows: list[int], told: list[int]) -> dict[str, Any]:
        said = super()._think(pcm, state, rows, told)
        heard, text = self.script.get(self.frame, ("", ""))
        self.frame += 1
        return {
            "heard": torch.full_like(said["heard"], self._piece(heard)),
            "text": torch.full_like(said["text"], self._piece(text)),
        }


def test_a_stream_is_sampled_as_the_model_says_and_by_the_seed_of_the_conversation(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path) / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "sampling": {"codes": {"temperature": 1.0, "top_k": 8}}}))
    script = {0: ("two", ""), 1: ("<eot>", "it"), 2: ("", "<end>")}
    sounds = []
    for seed in (1, 1, 2):
        generator = Scripted(SpeechLM.load(tmp_path), script)
        state = generator.init_state(1, seed)
        sounds.append(torch.cat([generator.step(pcm, state).pcm for pcm in sound(12)], dim=1))
    assert torch.equal(sounds[0], sounds[1]) and not torch.equal(sounds[0], sounds[2])
    path.write_text(json.dumps({**config, "sampling": {"tune": {}}}))
    with pytest.raises(ModelError, match="sampling of tune, but what is predicted is codes, heard, text"):
        SpeechLM.load(tmp_path)


def run(generator: Generator, frames: int) -> list[StepOutput]:
    state = generator.init_state(1)
    return [generator.step(pcm, state) for pcm in sound(frames)]


def test_a_reply_begins_in_the_frame_of_its_first_word_and_ends_after_its_last(model: SpeechLM) -> None:
    outs = run(Scripted(model, {3: ("two", ""), 4: ("<eot>", "it"), 5: ("", "is"), 6: ("", "<end>")}), 400)
    assert [out.heard[0] for out in outs[:5]] == [[], [], [], ["two"], []]
    assert [out.turn_end[0] for out in outs[:6]] == [False] * 4 + [True, False]
    assert [word for out in outs for word in out.text[0]] == ["it", "is"]
    speaking = [index for index, out in enumerate(outs) if out.speaking[0]]
    assert speaking[0] == 4
    assert speaking == list(range(4, speaking[-1] + 1))
    assert [index for index, out in enumerate(outs) if out.ended[0]] == [speaking[-1]]
    assert [word for out in outs for word, _, _ in out.spoken[0]] == ["it", "is"]
    for index, out in enumerate(outs):
        assert bool(out.pcm.abs().sum() > 0) == (index in speaking)


def test_a_cut_reply_dies_away_in_its_frame_and_the_next_begins_afresh(model: SpeechLM) -> None:
    script = {2: ("", "it"), 3: ("", "is"), 4: ("", "four"), 5: ("", "<cut>"), 20: ("", "it"), 21: ("", "<end>")}
    outs = run(Scripted(model, script), 40)
    assert outs[5].cut[0] and outs[5].ended[0]
    assert outs[5].pcm[0, FADE:].abs().sum() == 0
    assert not any(out.speaking[0] for out in outs[6:20])
    alone = run(Scripted(model, {20: ("", "it"), 21: ("", "<end>")}), 400)
    assert torch.equal(outs[20].pcm, alone[20].pcm)  # nothing of the first reply is left in the second


def test_a_cut_while_silent_is_nothing(model: SpeechLM) -> None:
    outs = run(Scripted(model, {3: ("", "<cut>")}), 8)
    assert not any(out.cut[0] or out.speaking[0] for out in outs)


@pytest.mark.parametrize("hears", ["features", "codes", "both"])
def test_rows_of_a_batch_equal_conversations_alone(hears: Literal["features", "codes", "both"], tmp_path: Path) -> None:
    generator = Generator(SpeechLM.load(write_tiny_model(tmp_path, hears)))
    assert (generator.hears_features, generator.hears_codes) == (hears != "codes", hears != "features")
    frames = sound(24, rows=3, seed=5)
    alone: list[torch.Tensor] = []
    for row in range(3):
        state = generator.init_state(1)
        alone.append(torch.cat([generator.step(pcm[row : row + 1], state).pcm for pcm in frames]))
    state = generator.init_state(3)
    places = [0, 0, 0]
    together: list[list[torch.Tensor]] = [[], [], []]
    random = torch.Generator().manual_seed(1)
    while min(places) < 24:
        active = torch.tensor([place < 24 for place in places]) & (torch.rand(3, generator=random) < 0.7)
        pcm = torch.stack([frames[min(place, 23), row] for row, place in enumerate(places)])
        out = generator.step(pcm, state, active)
        for row in range(3):
            if active[row]:
                together[row].append(out.pcm[row])
                places[row] += 1
    for row in range(3):
        assert torch.allclose(torch.stack(together[row]), alone[row], atol=1e-5)


def test_a_conversation_is_saved_and_goes_on_elsewhere(model: SpeechLM) -> None:
    generator = Generator(model)
    frames = sound(20, seed=9)
    state = generator.init_state(1)
    whole = [generator.step(pcm, state).pcm[0] for pcm in frames]
    state = generator.init_state(1)
    for pcm in frames[:11]:
        generator.step(pcm, state)
    other = generator.init_state(2)
    other.restore(1, state.save(0))
    only = torch.tensor([False, True])
    for index in range(11, 20):
        out = generator.step(frames[index].expand(2, -1), other, only)
        assert torch.allclose(out.pcm[1], whole[index], atol=1e-5)


def test_packed_weights_load_close_to_the_originals(model: SpeechLM, tmp_path: Path) -> None:
    model.save(tmp_path, packed=True)
    again = SpeechLM.load(tmp_path)
    for name, tensor in model.state_dict().items():
        expected, got = tensor.float(), again.state_dict()[name].float()
        assert torch.allclose(got, expected, atol=0.01 * float(expected.abs().max()) + 1e-6)


def test_what_a_row_is_told_is_read_a_piece_a_frame_and_not_heard(model: SpeechLM) -> None:
    generator, seen = Generator(model), []
    step = model.thinker.step

    def spy(heard: Any, state: Any, sampling: Any, active: Any = None, forced: Any = None) -> dict[str, torch.Tensor]:
        out = step(heard, state, sampling, active, forced)
        if heard:  # and not in inner speech
            seen.append(out["heard"][:, 0].tolist())
        return out

    alone, pair = generator.init_state(1), generator.init_state(2)
    generator.tell("Two, plus\n2!", pair, row=1)
    model.thinker.step = spy  # type: ignore[method-assign]
    try:
        pieces = [*model.tokenizer.encode("two plus two"), EOT]
        for frame in sound(len(pieces) + 3):
            single = generator.step(frame, alone)
            both = generator.step(frame.expand(2, -1), pair)
            torch.testing.assert_close(both.pcm[0], single.pcm[0], atol=1e-5, rtol=1e-4)
            assert (both.heard[0], both.text[0], both.turn_end[0]) == (
                single.heard[0],
                single.text[0],
                single.turn_end[0],
            )
            if len(seen) // 2 <= len(pieces):
                assert not both.heard[1] and not both.turn_end[1]
    finally:
        model.thinker.step = step  # type: ignore[method-assign]
    lone, read = [row for (row,) in seen[::2]], seen[1::2]
    assert [row for row, _ in read] == lone, "the other row hears what it would hear alone"
    assert [row for _, row in read][: len(pieces)] == pieces
    assert not pair.told_ids.any()


def test_more_than_can_wait_is_refused_in_words_and_what_waits_is_still_read(model: SpeechLM) -> None:
    generator = Generator(model)
    state = generator.init_state(1)
    generator.tell("two plus two", state)
    waiting = state.told_ids.clone()
    for text in ("two " * 300, "two " * (TOLD - 3)):  # more than ever, and more than now
        with pytest.raises(TextError, match="too long"):
            generator.tell(text, state)
        assert (state.told_ids == waiting).all()
