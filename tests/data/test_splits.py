"""The held-out rule is stable, near its shares, and never lets the assistant's voice ask."""

from __future__ import annotations

import pytest

from duologue.data.splits import speaker_split, voice_split
from duologue.errors import DataError


def test_shares_are_near_80_8_12() -> None:
    splits = [speaker_split(f"sc_{number:08x}") for number in range(5000)]
    assert splits.count("train") / 5000 == pytest.approx(0.80, abs=0.02)
    assert splits.count("dev") / 5000 == pytest.approx(0.08, abs=0.015)
    assert splits.count("test") / 5000 == pytest.approx(0.12, abs=0.015)


def test_split_does_not_change_between_runs_and_machines() -> None:
    assert [speaker_split(f"ls_{number}") for number in (1034, 1040, 1069)] == ["train", "test", "train"]
    assert [speaker_split(f"fsdd_{name}") for name in ("jackson", "lucas", "nicolas", "yweweler")].count("test") == 1


@pytest.mark.parametrize(
    ("engine", "name", "split"),
    [
        ("espeak", "en-us", "train"),
        ("espeak", "en-us+f1", "train"),
        ("espeak", "en-us+f4", "test"),
        ("espeak", "gmw/en-GB-scotland", "test"),
        ("espeak", "en-gb-x-gbclan+m1", "dev"),
        ("espeak", "en-gb-x-gbclan+m3", "test"),
        ("flite", "awb", "test"),
        ("flite", "rms", "train"),
        ("flite", "slt", "assistant"),
        ("festival", "cmu_us_slt_arctic_hts", "dev"),
    ],
)
def test_voices(engine: str, name: str, split: str) -> None:
    assert voice_split(engine, name) == split


def test_what_cannot_be_split_is_an_error() -> None:
    with pytest.raises(DataError, match="no speaker"):
        speaker_split("")
    with pytest.raises(DataError, match="festival"):
        voice_split("piper", "amy")
