"""Sources tell their data apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from duologue.data import domain
from duologue.data.domain import Exchange
from duologue.data.prepare import SceneShards
from duologue.data.shards import ShardWriter
from duologue.lm.text import TextTokenizer
from duologue.train.mixtures import Scenes, TextDialogues, TextOverSound


def train(rng: np.random.Generator) -> Sequence[Exchange]:
    return domain.dialogue(rng, "train", 2)


def dev(rng: np.random.Generator) -> Sequence[Exchange]:
    return domain.dialogue(rng, "dev", 2)


def test_text_is_told_by_what_is_drawn_its_pieces_and_its_pace() -> None:
    tokenizer, other = (TextTokenizer.train(["what is two plus two"], size=size) for size in (120, 40))
    sources = [
        TextDialogues(train, tokenizer, 2, 40),
        TextDialogues(dev, tokenizer, 2, 40),
        TextDialogues(train, other, 2, 40),
        TextDialogues(train, tokenizer, 2, 40, (0.0,)),
    ]
    found = [source.fingerprint() for source in sources]
    assert len(set(found)) == len(found)
    assert TextDialogues(train, tokenizer, 3, 50).fingerprint() == found[0], "the shape of batches is no data"


def scenes_of(folder: Path, feature: float, label: int, rows: int = 1) -> Scenes:
    """Scenes of one frame each that is all `feature` and `label`."""
    with (
        ShardWriter(folder / "features-00000", np.float16, 80) as features,
        ShardWriter(folder / "labels-00000", np.int16, 6) as labels,
    ):
        features.append(np.full((8, 80), feature, np.float16))
        labels.append(np.full((1, 6), label, np.int16))
    return Scenes(SceneShards(folder), rows=rows, frames=8)


def test_text_over_sound_keeps_its_words_and_takes_nothing_but_the_sound_of_the_scenes(tmp_path: Path) -> None:
    text = TextDialogues(train, TextTokenizer.train(["what is two plus two"], size=120), 2, 8, (0.0,))
    source = TextOverSound(text, scenes_of(tmp_path, 3, 1, rows=2))
    batch, plain = source.batch(np.random.default_rng(5)), text.batch(np.random.default_rng(5))
    assert all(torch.equal(batch[name], tokens) for name, tokens in plain.items())
    assert torch.equal(batch["user"], torch.full((2, 64, 80), 3.0))
    assert torch.equal(batch["speaking"], torch.ones(2, 8, 1, dtype=torch.int64))
    assert "phones" not in batch and not source.listens
    assert source.fingerprint() not in (text.fingerprint(), source.scenes.fingerprint())


def test_scenes_are_told_by_all_that_was_prepared(tmp_path: Path) -> None:
    one, same, other, relabelled = (
        scenes_of(tmp_path / name, *values)
        for name, values in {"a": (1, 2), "b": (1, 2), "c": (3, 2), "d": (1, 4)}.items()
    )
    assert one.fingerprint() == same.fingerprint()
    assert len({source.fingerprint() for source in (one, other, relabelled)}) == 3
