"""The card's list of sources is read off the data: who was heard, under which licence, and nothing that was not."""

from __future__ import annotations

import json
from pathlib import Path

from duologue.data.sources import SYNTHETIC, trained_on
from duologue.data.splits import speaker_split
from duologue.data.voices import Voice, voices

SLT = Voice(engine="flite", name="slt")


def corpus(folder: Path, name: str, entries: list[dict[str, object]]) -> None:
    (folder / name).mkdir()
    lines = [json.dumps({"duration": 1.0, "sample_rate": 16000, "license": "CC BY 4.0"} | entry) for entry in entries]
    (folder / name / "manifest.jsonl").write_text("\n".join(lines) + "\n")


def test_without_recordings_all_is_synthetic() -> None:
    users, own = trained_on(SLT, None)
    assert own == "replies said by flite's slt, the model's own voice"
    for engine, told in SYNTHETIC.items():
        assert (told in users) == bool(voices(engine))


def test_only_what_lies_in_the_training_split_is_counted(tmp_path: Path) -> None:
    names = [f"reader_{index}" for index in range(40)]
    corpus(tmp_path, "readings", [{"path": f"{name}.flac", "speaker": name, "text": "hello"} for name in names])
    corpus(tmp_path, "deutsch", [{"path": "a.flac", "speaker": "emo", "lang": "de"}])
    corpus(tmp_path, "rooms", [{"path": f"{index}.flac", "label": "rir"} for index in range(30)])
    readers = sum(speaker_split(name) == "train" for name in names)
    rooms = sum(speaker_split(f"rooms/{index}.flac") == "train" for index in range(30))
    assert trained_on(SLT, tmp_path)[2:] == (
        f"readings: {readers} of 40 speakers (CC BY 4.0)",
        f"rooms: {rooms} of 30 noises or rooms (CC BY 4.0)",
    )


def test_the_real_corpora_are_told_with_their_licences(speech: Path) -> None:
    lines = trained_on(SLT, speech)
    assert any("librispeech" in line and "CC BY 4.0" in line for line in lines)
    assert not any("emodb" in line for line in lines)
