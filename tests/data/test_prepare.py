"""Preparation: shards are a pure function of the settings, and a stopped run goes on where it stood."""

from __future__ import annotations

import multiprocessing
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from systems.simple import write_tiny_model

from duologue.data import prepare as module
from duologue.data.dialogues import FRAME, HEARD, MASK, SPEAKING, TEXT, SceneConfig, frame_labels, step_at
from duologue.data.domain import Exchange, understand
from duologue.data.domain.drills import DRILLS
from duologue.data.phonetics import SILENCE
from duologue.data.prepare import PrepareConfig, SceneDrawer, SceneShards, Shares, prepare, train_tokenizer
from duologue.data.recordings import Recordings, quiet_cut
from duologue.data.splits import speaker_split, voice_split
from duologue.errors import DataError
from duologue.lm.model import SpeechLM
from duologue.lm.streams import ABSENT
from duologue.lm.text import END, EOT, PAD, UNK, TextTokenizer
from duologue.train.mixtures import Scenes

flite = pytest.importorskip("duologue.data.flite")
pytest.importorskip("espeakng_loader")
pytestmark = pytest.mark.skipif("slt" not in flite.names(), reason="replies need the program flite")

ESPEAK = {"espeak_share": 1.0}  # a user's voice that is quick to make


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    train_tokenizer(path, sentences=2_000)
    return path


def settings(folder: Path, tokenizer: Path, **changes: object) -> PrepareConfig:
    values = {"folder": folder, "tokenizer": tokenizer, "scenes": 4, "seed": 7, "turns": (1, 2), **ESPEAK, **changes}
    return PrepareConfig.model_validate(values)


def drawer(tokenizer: Path, folder: Path, **changes: object) -> SceneDrawer:
    return SceneDrawer(settings(folder, tokenizer, **changes), TextTokenizer.load(tokenizer))


def content(shards: SceneShards) -> list[bytes]:
    return [array.tobytes() for index in range(len(shards)) for array in shards[index]]


def test_a_stopped_run_goes_on_and_gives_what_an_unstopped_one_gives(
    tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", 2)
    whole = prepare(settings(tmp_path / "whole", tokenizer))
    assert len(whole) == 4
    for features, labels in (whole[index] for index in range(4)):
        assert features.dtype == np.float16 and labels.dtype == np.int16
        assert features.shape == (8 * len(labels), 80) and labels.shape[1] == 6
        assert np.isfinite(features).all()
        assert (labels[:, HEARD] == EOT).sum() == (labels[:, TEXT] == END).sum()
    assert whole.frames == sum(len(whole[index][1]) for index in range(4))

    again = settings(tmp_path / "again", tokenizer)

    def stop(ready: int, _total: int) -> None:
        if ready == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(again, stop)
    assert len(SceneShards(again.folder)) == 2
    first = (again.folder / "features-00000.bin").stat().st_mtime_ns
    calls: list[tuple[int, int]] = []
    assert content(prepare(again, lambda *ready: calls.append(ready))) == content(whole)
    assert calls == [(2, 4), (4, 4)]
    assert (again.folder / "features-00000.bin").stat().st_mtime_ns == first
    assert {path.name.partition("-")[0] for path in again.folder.iterdir()} == {"features", "labels", "prepare.json"}


def test_other_settings_do_not_mix_in_one_folder(tokenizer: Path, tmp_path: Path) -> None:
    silence = Shares(dialogue=0, words=0, unknown=0, silence=1)
    shards = prepare(settings(tmp_path, tokenizer, shares=silence))
    assert all((shards[index][1] == [PAD, PAD, 0, 1, SILENCE, SILENCE]).all() for index in range(len(shards)))
    with pytest.raises(DataError, match="other settings"):
        prepare(settings(tmp_path, tokenizer, seed=8, shares=silence))


def test_more_scenes_may_be_asked_for_later_and_fewer_may_not(
    tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", 3)
    silence = Shares(dialogue=0, words=0, unknown=0, silence=1)
    whole = prepare(settings(tmp_path / "whole", tokenizer, scenes=8, shares=silence))
    grown = tmp_path / "grown"
    assert len(prepare(settings(grown, tokenizer, scenes=4, shares=silence))) == 4  # a chunk and a third
    first = (grown / "features-00000.bin").stat().st_mtime_ns
    assert content(prepare(settings(grown, tokenizer, scenes=8, shares=silence))) == content(whole)
    assert (grown / "features-00000.bin").stat().st_mtime_ns == first
    with pytest.raises(DataError, match="holds 8 scenes, not 4"):
        prepare(settings(grown, tokenizer, scenes=4, shares=silence))
    assert len(SceneShards(grown)) == 8


def test_workers_change_nothing(tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    silence = Shares(dialogue=0, words=0, unknown=0, silence=1)
    one = prepare(settings(tmp_path / "one", tokenizer, scenes=66, shares=silence))
    two = prepare(settings(tmp_path / "two", tokenizer, scenes=66, shares=silence, workers=2))
    assert content(one) == content(two)


def test_the_work_of_a_worker_that_died_is_begun_again(tokenizer: Path, tmp_path: Path) -> None:
    silence = Shares(dialogue=0, words=0, unknown=0, silence=1)
    killed: list[int] = []

    def kill(ready: int, total: int) -> None:
        if ready and not killed:
            worker = multiprocessing.active_children()[0]
            killed.append(worker.pid or 0)
            worker.kill()

    one = prepare(settings(tmp_path / "one", tokenizer, scenes=250, shares=silence))
    two = prepare(settings(tmp_path / "two", tokenizer, scenes=250, shares=silence, workers=2), kill)
    assert killed
    assert content(one) == content(two)


def test_the_codes_a_codec_gives_are_kept_beside_the_features(tokenizer: Path, tmp_path: Path) -> None:
    model = SpeechLM.load(write_tiny_model(tmp_path / "model"))
    model.codec.save(tmp_path / "codec")
    config = settings(tmp_path / "scenes", tokenizer, scenes=2, codec=tmp_path / "codec")
    shards = prepare(config)
    draw = SceneDrawer(config, TextTokenizer.load(tokenizer))
    rng = np.random.default_rng([config.seed, 0])
    for index in range(2):
        _, heard = draw.draw(rng)
        codes = shards.codes(index)
        assert codes.dtype == np.int16 and codes.shape == (len(shards[index][1]), shards.books) and shards.books == 4
        encoder = model.codec.init_encoder(1)
        stream = [model.codec.encode_step(frame[None], encoder) for frame in torch.from_numpy(heard).split(FRAME)]
        assert np.array_equal(codes, torch.cat([frame.transpose(1, 2).flatten(1) for frame in stream]))

    batch = Scenes(shards, rows=1, frames=40).collate([[0, 1]])
    both = np.concatenate([shards.codes(0), shards.codes(1)])[:40]
    assert np.array_equal(batch["user_codes"][0, : len(both)], both)

    plain = prepare(settings(tmp_path / "plain", tokenizer, scenes=2))
    assert content(plain) == content(shards) and plain.books == 0
    with pytest.raises(DataError, match="holds no codes"):
        plain.codes(0)

    with torch.no_grad():
        next(model.codec.parameters()).add_(1.0)
    model.codec.save(tmp_path / "codec")
    with pytest.raises(DataError, match="other settings"):
        prepare(config)


def test_a_folder_without_scenes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no prepared scenes"):
        SceneShards(tmp_path)


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_voices_keep_to_their_split(tokenizer: Path, tmp_path: Path, split: str) -> None:
    draw = drawer(tokenizer, tmp_path, split=split, espeak_share=0.5)
    rng = np.random.default_rng(0)
    drawn = [draw.voice(rng) for _ in range(100)]
    assert {voice_split(voice.engine, voice.name) for voice in drawn} == {split}
    assert len({voice.key() for voice in drawn}) > 90


def test_real_words_and_unknown_speech_are_labelled(tokenizer: Path, tmp_path: Path, speech: Path) -> None:
    tokens = TextTokenizer.load(tokenizer)
    rng = np.random.default_rng(0)
    shares = Shares(dialogue=0, words=1, unknown=0, silence=0)
    scene, heard = drawer(tokenizer, tmp_path, speech=speech, shares=shares).draw(rng)
    assert scene.turns
    assert heard.shape == scene.user.shape
    for turn in scene.turns:
        ((_, start, end),) = turn.words
        assert 0.05 < end - start < 1.2
        assert turn.user_start <= start < end <= turn.user_end
    first = scene.turns[0]
    assert first.reply == understand(first.words[0][0]).reply

    shares = Shares(dialogue=0, words=0, unknown=1, silence=0)
    scene, _ = drawer(tokenizer, tmp_path, speech=speech, shares=shares).draw(rng)
    labels = frame_labels(scene, tokens)
    assert {turn.reply for turn in scene.turns} == {understand("").reply}
    assert set(labels[:, HEARD]) == {PAD, UNK, EOT}
    assert 0 < (labels[:, MASK] == 0).sum() < len(labels)
    assert labels[:, SPEAKING].any()


def test_recordings_keep_to_their_split(speech: Path) -> None:
    names = {}
    for split in ("train", "test"):
        recordings = Recordings(speech, split)
        names[split] = {name for speakers in recordings.words.values() for name in speakers}
        assert {speaker_split(name) for name in names[split]} == {split}
        assert recordings.readings and recordings.noises
    assert not names["train"] & names["test"]


def test_a_missing_corpus_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"fsdd.*manifest"):
        Recordings(tmp_path, "train")


def test_a_stretch_of_reading_ends_where_it_is_quiet() -> None:
    rng = np.random.default_rng(0)
    time = np.arange(10 * 16_000) / 16_000
    pcm = (np.sin(2 * np.pi * 200 * time) * (np.sin(2 * np.pi * 2 * time) ** 2)).astype(np.float32)
    for _ in range(20):
        cut = quiet_cut(pcm, rng)
        assert 1.5 <= len(cut) / 16_000 <= 5.5
        assert max(np.abs(cut[:160]).max(), np.abs(cut[-160:]).max()) < 0.1


def test_dictation_tells_words_and_leaves_answers_open(tokenizer: Path, tmp_path: Path) -> None:
    tokens = TextTokenizer.load(tokenizer)
    shares = Shares(dialogue=0, words=0, unknown=0, silence=0, dictation=1)
    draw = drawer(tokenizer, tmp_path, shares=shares)
    scene, _ = draw.draw(np.random.default_rng(1))
    assert len(scene.turns) >= 5 and not scene.system.any()
    labels = frame_labels(scene, tokens)
    assert (labels[:, TEXT] == ABSENT).all() and not labels[:, SPEAKING].any()
    said = tokens.decode(labels[(labels[:, HEARD] > UNK) & (labels[:, MASK] == 1), HEARD].tolist())
    assert said.split() == [word for word, _, _ in scene.words]
    for turn, after in pairwise(scene.turns):
        assert turn.decision * FRAME / 16_000 < after.user_start
        assert labels[turn.decision, MASK] == 0, "nobody knows whether the turn is over"
        assert labels[step_at(after.user_start), MASK] == 1
    spoken = sum(end - start for _, start, end in scene.words)
    assert spoken > 0.5 * len(scene.user) / 16_000


def test_drills_are_nothing_but_drills(tokenizer: Path, tmp_path: Path) -> None:
    shares = Shares(dialogue=0, words=0, unknown=0, silence=0, drills=1)
    draw = drawer(tokenizer, tmp_path, shares=shares)
    said: list[Exchange] = []
    for seed in range(3):
        asked: list[Exchange] = []
        for turn in draw.draw(np.random.default_rng(seed))[0].turns:
            asked.append(understand(" ".join(word for word, _, _ in turn.words), asked))
            assert turn.reply == asked[-1].reply, "also after those before it"
        said += asked
    assert len(said) >= 5
    assert sum(exchange.category in DRILLS for exchange in said) >= len(said) - 1  # one may be what another leans on


def test_side_talk_changes_the_sound_alone(tokenizer: Path, tmp_path: Path) -> None:
    shares = Shares(dialogue=1, words=0, unknown=0, silence=0)
    calm, busy = (
        drawer(tokenizer, tmp_path, shares=shares, clean_share=1.0, scene=SceneConfig(aside_share=share))
        for share in (0.0, 1.0)
    )
    scene, heard = calm.draw(np.random.default_rng(3))
    same, disturbed = busy.draw(np.random.default_rng(3))
    assert scene.events() == same.events()
    first = round(scene.turns[0].user_end * 16_000)
    np.testing.assert_array_equal(heard[:first], disturbed[:first])
    assert np.abs(heard - disturbed).max() > 1e-3
