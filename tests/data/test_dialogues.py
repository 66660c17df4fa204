"""Scenes: the labels agree with the sound, to the frame, whatever is drawn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from duologue.audio.augment import speech_level
from duologue.audio.files import load_channels
from duologue.data.dialogues import (
    FRAME,
    HEARD,
    MASK,
    SPEAKING,
    TEXT,
    WORD_DELAY,
    Scene,
    SceneConfig,
    Turn,
    compose,
    frame_labels,
    insert_pause,
    pause_places,
    step_at,
    with_aside,
    with_echo,
)
from duologue.data.domain import Exchange
from duologue.data.spoken import RATE, Spoken
from duologue.lm.text import CUT, END, EOT, PAD, UNK, TextTokenizer

QUESTION = "what is two plus three"
REPLY = "two plus three is five of course it is"


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return TextTokenizer.train([QUESTION, REPLY, "extraordinary"], QUESTION.split(), size=60)


def tone(text: str, word: float = 0.25, gap: float = 0.02) -> Spoken:
    """Words as tones with a short silence after each, and 50 ms of silence at both ends: bounds are exact."""
    time = np.arange(round(word * RATE)) / RATE
    edge, rest = np.zeros(800, np.float32), np.zeros(round(gap * RATE), np.float32)
    pieces, words, at = [edge], [], 0.05
    for index, name in enumerate(text.split()):
        if index:
            pieces.append(rest)
            at += gap
        pieces.append((0.5 * np.sin(2 * np.pi * 300 * time)).astype(np.float32))
        words.append((name, at, at + word))
        at += word
    return Spoken(np.concatenate([*pieces, edge]), words, [])


def turn(user: str = QUESTION, reply: str = REPLY, **changes: object) -> Turn:
    exchange = Exchange(user=user, reply=reply, category="test", key="test", wording="test", content=reply)
    return Turn(exchange, tone(user), tone(reply) if reply else None, **changes)  # type: ignore[arg-type]


def plain(**changes: object) -> SceneConfig:
    """Nothing but turns and gaps."""
    none = {"stretch_share": 0, "pause_share": 0, "barge_in_share": 0, "backchannel_share": 0, "echo_share": 0}
    return SceneConfig.model_validate({**none, **changes})


def sounding(pcm: np.ndarray) -> tuple[float, float]:
    """Seconds of the first and after the last sample that is not silence."""
    loud = np.flatnonzero(np.abs(pcm) > 1e-4)
    return loud[0] / RATE, (loud[-1] + 1) / RATE


def check(scene: Scene, tokenizer: TextTokenizer, config: SceneConfig) -> np.ndarray:
    """Everything that holds for every scene; returns its labels."""
    labels = frame_labels(scene, tokenizer)
    assert scene.user.dtype == scene.system.dtype == np.float32
    assert len(scene.user) == len(scene.system) == FRAME * len(labels) <= FRAME * config.frames
    assert np.abs(scene.user).max(initial=0) <= 1
    spoken = [tokenizer.encode(word) for word, _, _ in scene.words]
    heard = labels[:, HEARD]
    assert [t for t in heard if t not in (PAD, EOT, UNK)] == [t for ids in spoken for t in ids]
    assert (heard == EOT).sum() == len(scene.turns)
    for number, one in enumerate(scene.turns):
        step = one.decision
        assert heard[step] == EOT
        assert (step + 1) * 0.08 >= one.user_end + config.hold - 1e-6
        # The reply waits for the words' tokens or for the reply before, never for anything else.
        free = step == step_at(one.user_end + config.hold) or heard[step - 1] != PAD or one.kind == "barge_in"
        assert free
        assert one.reply_start == pytest.approx((step + 1) * 0.08)
        tokens = [*tokenizer.encode(one.reply), END]
        if one.cut_at is None:
            assert labels[step : step + len(tokens), TEXT].tolist() == tokens
        else:
            stop = step_at(one.cut_at)
            said = labels[step:stop, TEXT]
            assert said[said != PAD].tolist() == tokens[: stop - step]
            assert labels[stop, TEXT] == CUT
            assert one.cut_at == pytest.approx((stop + 1) * 0.08)
        if number + 1 < len(scene.turns):
            assert scene.turns[number + 1].decision > max(step, 0 if one.cut_at is None else step_at(one.cut_at))
    # The system sounds only in frames that say so, and each such frame has sound.
    for frame in range(scene.frames):
        sound = np.abs(scene.system[frame * FRAME : (frame + 1) * FRAME]).max()
        assert (sound > 0) <= (labels[frame, SPEAKING] == 1)
    assert (labels[:, TEXT] == END).sum() + (labels[:, TEXT] == CUT).sum() >= len(scene.turns)
    return labels


def test_one_turn_is_answered_at_the_first_step_after_the_hold(tokenizer: TextTokenizer) -> None:
    for seed in range(20):
        config = plain()
        scene = compose([turn()], np.random.default_rng(seed), config, tokenizer)
        labels = check(scene, tokenizer, config)
        (one,) = scene.turns
        start, end = sounding(scene.user)
        assert one.user_start == pytest.approx(start, abs=0.012)
        assert one.user_end == pytest.approx(end, abs=0.012)
        first, last = sounding(scene.system)
        assert 0 <= first - one.reply_start <= 0.021
        assert one.reply_end - last <= 0.021
        speaking = np.flatnonzero(labels[:, SPEAKING])
        assert speaking[0] == one.decision + 1
        assert speaking[-1] == int(np.ceil(one.reply_end / 0.08 - 1e-6)) - 1
        assert (np.diff(speaking) == 1).all()
        assert (labels[:, MASK] == 1).all()


def test_words_come_once_they_are_heard(tokenizer: TextTokenizer) -> None:
    scene = compose([turn(QUESTION)], np.random.default_rng(1), plain(), tokenizer)
    heard = frame_labels(scene, tokenizer)[:, HEARD]
    at = 0
    for word, _, end in scene.words:
        first = tokenizer.encode(word)[0]
        at = int(np.flatnonzero(heard[at:] == first)[0]) + at
        assert (at + 1) * 0.08 >= end + WORD_DELAY - 1e-6
        assert at == step_at(end + WORD_DELAY) or heard[at - 1] != PAD
        at += 1


def test_a_long_last_word_moves_the_reply_with_its_end_of_turn(tokenizer: TextTokenizer) -> None:
    word = "extraordinary" * 2
    assert len(tokenizer.encode(word)) > 4
    scene = compose([turn(word)], np.random.default_rng(1), plain(), tokenizer)
    labels = check(scene, tokenizer, plain())
    (one,) = scene.turns
    assert one.decision > step_at(one.user_end + 0.2)
    assert labels[one.decision - 1, HEARD] == tokenizer.encode(word)[-1]


def test_a_pause_holds_the_turn_but_not_a_finished_question(tokenizer: TextTokenizer) -> None:
    config = plain(pause_share=1)
    for seed in range(20):
        scene = compose([turn()], np.random.default_rng(seed), config, tokenizer)
        labels = check(scene, tokenizer, config)
        (one,) = scene.turns
        ((start, end),) = one.pauses
        assert one.kind == "pause"
        assert 0.3 <= end - start <= 1.2
        quiet = scene.user[round(start * RATE) : round(end * RATE)]
        assert np.abs(quiet).max() == 0
        assert (labels[: one.decision, TEXT] == PAD).all()
        before = [word for word, _, stop in one.words if stop <= start + 1e-6]
        after = [word for word, begin, _ in one.words if begin >= end - 1e-6]
        assert before + after == QUESTION.split()
        assert len(before) >= 2


def test_pauses_go_only_where_the_question_is_unfinished() -> None:
    words = QUESTION.split()
    assert pause_places(words, lambda prefix: False) == [2, 3, 4]
    assert pause_places(words, lambda prefix: prefix.endswith("plus")) == [2, 3]
    assert pause_places(words[:3], lambda prefix: False) == []


def test_a_pause_keeps_every_sample_but_those_faded() -> None:
    spoken = tone(QUESTION)
    held, (start, end) = insert_pause(spoken, 3, 0.5)
    cut, back = round(start * RATE), round(end * RATE)
    np.testing.assert_array_equal(held.pcm[: cut - 80], spoken.pcm[: cut - 80])
    np.testing.assert_array_equal(held.pcm[back + 80 :], spoken.pcm[cut + 80 :])
    assert spoken.words[2][2] - 0.021 <= start <= spoken.words[3][1] + 0.021


def test_a_barge_in_fades_the_reply_and_is_answered(tokenizer: TextTokenizer) -> None:
    config = plain(barge_in_share=1)
    cuts = 0
    for seed in range(30):
        scene = compose([turn(), turn()], np.random.default_rng(seed), config, tokenizer)
        labels = check(scene, tokenizer, config)
        first, second = scene.turns
        assert second.kind == "barge_in"
        full = first.reply_start + 9 * 0.25 + 8 * 0.02
        assert first.reply_start + 0.29 < second.user_start < full
        if first.cut_at is None:
            continue
        cuts += 1
        step = step_at(first.cut_at)
        assert step == step_at(second.user_start + 0.4)
        after = scene.system[round(first.reply_end * RATE) : round(second.reply_start * RATE)]
        assert np.abs(after).max(initial=0) == 0
        assert labels[step + 2 : second.decision + 1, SPEAKING].sum() == 0
        assert labels[step + 1, SPEAKING] == 1
    assert cuts > 20


def test_nobody_barges_in_with_what_may_be_a_backchannel(tokenizer: TextTokenizer) -> None:
    config = plain(barge_in_share=1)
    scene = compose([turn(), turn("okay")], np.random.default_rng(0), config, tokenizer)
    assert [one.kind for one in scene.turns] == ["plain", "plain"]


def test_backchannels_are_heard_but_neither_labelled_nor_answered(tokenizer: TextTokenizer) -> None:
    config, quiet = plain(backchannel_share=1), plain()
    found = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        scene = compose([turn(), turn()], rng, config, tokenizer, backchannels=[tone("yeah")])
        labels = check(scene, tokenizer, quiet)
        for one in scene.turns:
            for text, start, end in one.backchannels:
                found += 1
                assert text == "yeah"
                assert one.reply_start < start < end < one.reply_end
                assert np.abs(scene.user[round(start * RATE) : round(end * RATE)]).max() > 0.01
                assert (labels[step_at(start) : step_at(end), SPEAKING] == 1).all()
            assert one.cut_at is None
    assert found >= 30


def test_unknown_speech_is_masked_until_it_ends(tokenizer: TextTokenizer) -> None:
    said = Spoken(tone(QUESTION).pcm, [], [])
    one = turn()
    turns = [Turn(one.exchange, said, one.reply, known=False), turn()]
    scene = compose(turns, np.random.default_rng(3), plain(), tokenizer)
    labels = frame_labels(scene, tokenizer)
    unknown, known = scene.turns
    begin, step = int(unknown.user_start / 0.08), unknown.decision
    assert (labels[begin : step - 1, MASK] == 0).all()
    assert labels[step - 1 : step + 1, HEARD].tolist() == [UNK, EOT]
    assert (labels[begin : step - 1, HEARD] == PAD).all()
    assert (labels[step - 1 :, MASK] == 1).all()
    assert (labels[:begin, MASK] == 1).all()
    assert [word for word, _, _ in scene.words] == QUESTION.split()
    assert known.words


def test_turns_that_do_not_fit_are_left_out(tokenizer: TextTokenizer) -> None:
    config = plain(frames=120)
    scene = compose([turn() for _ in range(9)], np.random.default_rng(0), config, tokenizer)
    check(scene, tokenizer, config)
    assert 1 <= len(scene.turns) < 9
    assert scene.turns[-1].cut_at is None


def test_no_turn_gives_silence(tokenizer: TextTokenizer) -> None:
    scene = compose([], np.random.default_rng(0), plain(), tokenizer)
    labels = check(scene, tokenizer, plain())
    assert 25 <= scene.frames <= 120
    assert not scene.user.any() and not scene.system.any()
    assert (labels == [0, 0, 0, 1]).all()


def test_a_reply_without_sound_ends_at_once(tokenizer: TextTokenizer) -> None:
    scene = compose([turn(reply="")], np.random.default_rng(0), plain(), tokenizer)
    labels = frame_labels(scene, tokenizer)
    assert labels[scene.turns[0].decision, TEXT] == END
    assert labels[:, SPEAKING].sum() == 0


def test_everything_at_once(tokenizer: TextTokenizer) -> None:
    config = SceneConfig(barge_in_share=0.4, pause_share=0.5, backchannel_share=0.4, gap=(0.15, 0.6), lead=(0.1, 0.3))
    kinds = set()
    for seed in range(60):
        rng = np.random.default_rng(seed)
        replies = ("five", REPLY, "", "no")
        turns = [turn(reply=replies[int(rng.integers(len(replies)))]) for _ in range(4)]
        scene = compose(turns, rng, config, tokenizer, backchannels=[tone("right")])
        check(scene, tokenizer, config)
        kinds |= {one.kind for one in scene.turns}
    assert kinds == {"plain", "pause", "barge_in"}


def test_echo_is_late_and_weak(tokenizer: TextTokenizer) -> None:
    config = plain(echo_share=1, echo_db=(-20, -20), echo_delay=(0.05, 0.05))
    scene = compose([turn()], np.random.default_rng(0), config, tokenizer)
    leaked = with_echo(scene, np.random.default_rng(0), config) - scene.user
    np.testing.assert_allclose(leaked[800:], scene.system[:-800] * 0.1, atol=1e-6)
    assert with_echo(scene, np.random.default_rng(0), plain()) is scene.user


def test_side_talk_is_faint_late_and_unlabelled(tokenizer: TextTokenizer) -> None:
    config = plain(aside_db=(-18, -18))
    scene = compose([turn(), turn()], np.random.default_rng(0), config, tokenizer)
    labels = frame_labels(scene, tokenizer)
    aside = np.random.default_rng(1).standard_normal(20_000).astype(np.float32)
    for seed in range(10):
        heard = with_aside(scene, scene.user, aside, np.random.default_rng(seed), config)
        added = heard - scene.user
        begin, _ = sounding(added)
        assert begin >= scene.turns[0].user_end
        assert len(heard) == len(scene.user)
        assert speech_level(added) == pytest.approx(speech_level(scene.user) - 18, abs=1)
    np.testing.assert_array_equal(frame_labels(scene, tokenizer), labels)


def test_a_scene_is_saved_with_its_events(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    scene = compose([turn(), turn()], np.random.default_rng(0), plain(barge_in_share=1), tokenizer)
    scene.save(tmp_path / "scene.wav")
    left, right = load_channels(tmp_path / "scene.wav")
    np.testing.assert_allclose(left, scene.user, atol=1e-4)
    np.testing.assert_allclose(right, scene.system, atol=1e-4)
    events = json.loads((tmp_path / "scene.json").read_text())
    assert [event["time"] for event in events] == sorted(event["time"] for event in events)
    assert [event["text"] for event in events if event["kind"] == "user_end"] == [QUESTION] * 2


def test_another_tokenizer_is_refused(tokenizer: TextTokenizer) -> None:
    whole = TextTokenizer.train(["extraordinary"] * 99)
    scene = compose([turn("extraordinary")], np.random.default_rng(0), plain(), whole)
    with pytest.raises(ValueError, match="another tokenizer"):
        frame_labels(scene, TextTokenizer.train(["abc"], size=32))


def test_a_range_that_runs_backwards_is_refused() -> None:
    with pytest.raises(ValidationError, match="from low to high"):
        SceneConfig(gap=(2.0, 1.0))
