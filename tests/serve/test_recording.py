"""Conversations kept on disk: what is in the files, when they appear, and when they go."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from systems.simple import Beeper, BeeperConversation

from duologue.errors import ConfigError
from duologue.serve import recording
from duologue.serve.recording import Recorder, Retention
from duologue.systems.base import EVENT, Pcm, Tool
from duologue.systems.rows import Rows, SingleRows

FOREVER = Retention(age=1e9, size=1 << 30)


def noise(seed: int, frames: int) -> list[Pcm]:
    rng = np.random.default_rng(seed)
    return [(0.2 * rng.uniform(-1, 1, 1280)).astype(np.float32) for _ in range(frames)]


def talk(rows: Rows, row: int, frames: list[Pcm]) -> list[Pcm]:
    replies = []
    for frame in frames:
        reply = rows.step({row: frame})[row]
        assert not isinstance(reply, Exception)
        replies.append(reply.pcm)
    return replies


def read(path: Path) -> np.ndarray:
    pcm, rate = soundfile.read(path, dtype="float32")
    assert rate == 16000
    return np.asarray(pcm.T)


SILENCE = [np.zeros(1280, np.float32)]


def test_both_voices_lie_on_one_time_line_with_the_events_beside(tmp_path: Path) -> None:
    with Recorder(tmp_path / "kept", FOREVER) as recorder:
        rows = recorder.wrap(SingleRows(Beeper(), 2))
        rows.open(0, 0)
        rows.open(1, 0)
        heard = [*noise(1, 5), *SILENCE * 4]
        said = talk(rows, 0, heard)
        other = noise(2, 3)
        talk(rows, 1, other)
        rows.close(0)
        rows.close(1)
    sounds = {len(pcm[0]) // 1280: pcm for path in sorted((tmp_path / "kept").glob("*.flac")) if len(pcm := read(path))}
    assert set(sounds) == {10, 4}
    user, system = sounds[10]
    np.testing.assert_allclose(user, np.concatenate([*heard, *SILENCE]), atol=1e-4)
    np.testing.assert_allclose(system, np.concatenate([*SILENCE, *said]), atol=1e-4)
    np.testing.assert_allclose(sounds[4][0], np.concatenate([*other, *SILENCE]), atol=1e-4)
    assert np.abs(system).max() > 0.2
    longest = max((tmp_path / "kept").glob("*.jsonl"), key=lambda path: path.stat().st_size)
    kinds = [EVENT.validate_json(line).kind for line in longest.read_text().splitlines()]
    assert kinds == ["user_started", "heard", "user_stopped", "text", "reply_started", "spoken"]
    assert oct((tmp_path / "kept").stat().st_mode)[-3:] == "700"


def test_a_resumed_conversation_goes_on_in_a_second_part(tmp_path: Path) -> None:
    with Recorder(tmp_path, FOREVER) as recorder:
        rows = recorder.wrap(SingleRows(Beeper(), 2))
        rows.open(0, 0)
        talk(rows, 0, noise(1, 2))
        saved = rows.save(0)
        rows.restore(1, saved)
        talk(rows, 1, noise(3, 1))
        rows.close(1)
        rows.open(0, 0)
        rows.close(0)  # nothing was said in it
    first, second = sorted(tmp_path.glob("*.flac"), key=lambda path: len(path.name))
    assert second.name == f"{first.stem}-2.flac"
    assert (len(read(first)[0]), len(read(second)[0])) == (3 * 1280, 2 * 1280)


def test_what_is_open_at_the_end_is_kept_and_nothing_half_made_stays(tmp_path: Path) -> None:
    with Recorder(tmp_path, FOREVER) as recorder:
        rows = recorder.wrap(SingleRows(Beeper(), 1))
        rows.open(0, 0)
        talk(rows, 0, noise(1, 2))
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".flac", ".jsonl"]
    assert len(read(next(tmp_path.glob("*.flac")))[0]) == 2 * 1280


def test_the_old_and_the_many_are_deleted_and_nothing_else(tmp_path: Path) -> None:
    names = [f"20260101T00000{index}Z-{index:012x}" for index in range(4)]
    for index, name in enumerate(names):
        for suffix in (".flac", ".jsonl"):
            path = tmp_path / f"{name}{suffix}"
            path.write_bytes(bytes(100))
            os.utime(path, (time.time() - 1000 + 100 * index,) * 2)
    mine = tmp_path / "notes.flac"
    mine.write_bytes(bytes(10_000))
    os.utime(mine, (0, 0))
    Recorder(tmp_path, Retention(age=850, size=450)).prune()
    assert {path.stem for path in tmp_path.iterdir()} == {"notes", *names[2:]}
    assert len(list(tmp_path.iterdir())) == 5
    Recorder(tmp_path, Retention(age=750, size=450)).prune()
    assert {path.stem for path in tmp_path.iterdir()} == {"notes", names[3]}


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot record into"), Recorder(tmp_path / "file" / "deep", FOREVER):
        pass


def test_a_disk_that_fails_stops_the_recording_and_not_the_conversation(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    with Recorder(folder, FOREVER) as recorder:
        rows = recorder.wrap(SingleRows(Beeper(), 1))
        folder.rmdir()
        folder.write_text("in the way")
        rows.open(0, 0)
        assert len(talk(rows, 0, noise(1, 3))) == 3
        rows.close(0)
    assert folder.read_text() == "in the way"


class Calling(Beeper):
    """Notes what it is told of functions."""

    card = Beeper.card.model_copy(update={"calls": True})

    def __init__(self) -> None:
        super().__init__()
        self.told: list[object] = []

    def open(self, seed: int = 0) -> CallingConversation:
        conversation = CallingConversation(self.card, *self.times)
        conversation.told = self.told
        return conversation


class CallingConversation(BeeperConversation):
    told: list[object]

    def offer(self, tools: Sequence[Tool]) -> None:
        self.told.append(tools)

    def give(self, results: Mapping[str, str]) -> None:
        self.told.append(results)

    def go_on(self) -> None:
        self.told.append("go on")


def test_who_is_recorded_calls_functions_as_ever(tmp_path: Path) -> None:
    system = Calling()
    with Recorder(tmp_path, FOREVER) as recorder:
        rows = recorder.wrap(SingleRows(system, 1))
        rows.open(0, 0)
        assert rows.offer(0, [{"name": "weather"}]) and rows.give(0, {"call_1": "rain"}) and rows.go_on(0)
        rows.close(0)
    assert system.told == [[{"name": "weather"}], {"call_1": "rain"}, "go on"]


def test_what_becomes_too_old_is_deleted_though_nobody_talks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "LOOK", 0.05)
    with Recorder(tmp_path, Retention(age=1000, size=1 << 30)):
        path = tmp_path / f"20260101T000000Z-{0:012x}.flac"
        path.touch()
        os.utime(path, (time.time() - 2000,) * 2)
        end = time.monotonic() + 20
        while path.exists():
            assert time.monotonic() < end
            time.sleep(0.02)
