"""Sources tell their data apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from duologue.data import domain
from duologue.data.domain import Exchange
from duologue.data.prepare import SceneShards
from duologue.data.shards import ShardWriter
from duologue.lm.text import TextTokenizer
from duologue.train.mixtures import Scenes, TextDialogues


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


def test_scenes_are_told_by_all_that_was_prepared(tmp_path: Path) -> None:
    def scenes(name: str, feature: float, label: int) -> Scenes:
        with (
            ShardWriter(tmp_path / name / "features-00000", np.float16, 80) as features,
            ShardWriter(tmp_path / name / "labels-00000", np.int16, 6) as labels,
        ):
            features.append(np.full((8, 80), feature, np.float16))
            labels.append(np.full((1, 6), label, np.int16))
        return Scenes(SceneShards(tmp_path / name), rows=1, frames=8)

    one, same, other, relabelled = (
        scenes(name, *values) for name, values in {"a": (1, 2), "b": (1, 2), "c": (3, 2), "d": (1, 4)}.items()
    )
    assert one.fingerprint() == same.fingerprint()
    assert len({source.fingerprint() for source in (one, other, relabelled)}) == 3
