"""The field's curriculum for one model: text, then listening and conversing, and a voice; each step resumes by itself.

Every step writes its own folder below the run's and is skipped once it is there, so `duologue train` on a recipe goes on
where it was stopped. A recipe (`recipes/`) is nothing but the values of a `Curriculum`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from rich.console import Console

from duologue.data import domain
from duologue.data.domain import Exchange
from duologue.data.prepare import PrepareConfig, SceneShards, prepare, train_tokenizer
from duologue.eval.free_run import free_run, summarise, turns_of
from duologue.lm.backbone import Backbone, BackboneConfig
from duologue.lm.model import thinker_layout
from duologue.lm.text import TextTokenizer
from duologue.train.loop import LoopConfig, train
from duologue.train.mixtures import Scenes, Source, TextDialogues
from duologue.train.thinker import ThinkerTask, ThinkerTraining


class ThinkerRecipe(BaseModel):
    """The thinker's size and its two stages."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: BackboneConfig
    text: LoopConfig
    text_training: ThinkerTraining = ThinkerTraining()
    listen: LoopConfig
    listen_training: ThinkerTraining = ThinkerTraining()
    rows: int = 12
    frames: int = 256
    text_share: float = 0.2
    """Share of text-only steps while listening is learned, so that the answers are not forgotten."""


def draw_train(rng: np.random.Generator) -> Sequence[Exchange]:
    return domain.dialogue(rng, "train", int(rng.integers(1, 6)))


def text_batches(tokenizer: TextTokenizer, split: domain.Split, rows: int, frames: int) -> list[dict[str, torch.Tensor]]:
    """Fixed batches for validation, one of whole conversations and one of held-out contents."""
    rng = np.random.default_rng(1)
    draws: list[Callable[[np.random.Generator], Sequence[Exchange]]] = [
        lambda rng: domain.dialogue(rng, split, int(rng.integers(1, 6))),
        lambda rng: [domain.sample(rng, split, held="content")],
        lambda rng: [domain.sample(rng, split, held="wording")],
    ]
    return [TextDialogues(draw, tokenizer, rows, frames).batch(rng) for draw in draws]


def evaluate_text(model: Backbone, tokenizer: TextTokenizer, split: domain.Split = "dev") -> dict[str, float]:
    """Answers right from given words: conversations, unseen operand pairs, unseen wordings."""
    figures: dict[str, float] = {}
    for name, batch in zip(("talk", "content", "wording"), text_batches(tokenizer, split, 24, 160), strict=True):
        figures[f"text_{name}"] = summarise(turns_of(batch, free_run(model, batch), tokenizer))["replies_right"]
    return figures


def evaluate_listening(
    model: Backbone, tokenizer: TextTokenizer, scenes: Scenes, count: int = 96
) -> dict[str, float]:
    """Words heard and answers right in held-out scenes, running freely."""
    batch = scenes.collate(range(min(count, len(scenes.shards))))
    return summarise(turns_of(batch, free_run(model, batch), tokenizer))


def new_thinker(recipe: ThinkerRecipe, tokenizer: TextTokenizer, seed: int) -> Backbone:
    torch.manual_seed(seed)
    return Backbone(thinker_layout(len(tokenizer)), recipe.size)


def text_stage(recipe: ThinkerRecipe, tokenizer: TextTokenizer, folder: Path, console: Console | None) -> Backbone:
    """Teach a new thinker the domain from text alone."""
    model = new_thinker(recipe, tokenizer, recipe.text.seed)
    source = TextDialogues(draw_train, tokenizer, recipe.rows, recipe.frames)
    task = ThinkerTask(
        model, {"text": (source, 1.0)}, recipe.text_training, lambda model: evaluate_text(model, tokenizer)
    )
    train(task, recipe.text, folder / "text", console=console)
    return model


def listen_stage(
    recipe: ThinkerRecipe,
    model: Backbone,
    tokenizer: TextTokenizer,
    train_scenes: SceneShards,
    dev_scenes: SceneShards,
    folder: Path,
    console: Console | None,
) -> Backbone:
    """Teach a thinker that knows the answers to hear the questions, in scenes of full-duplex conversation."""
    sources: dict[str, tuple[Source, float]] = {
        "scenes": (Scenes(train_scenes, recipe.rows, recipe.frames), 1 - recipe.text_share),
        "text": (TextDialogues(draw_train, tokenizer, recipe.rows, recipe.frames), recipe.text_share),
    }
    held_out = Scenes(dev_scenes, 0, recipe.frames)

    def evaluate(model: Backbone) -> dict[str, float]:
        return evaluate_listening(model, tokenizer, held_out) | evaluate_text(model, tokenizer)

    train(ThinkerTask(model, sources, recipe.listen_training, evaluate), recipe.listen, folder / "listen", console=console)
    return model


def tokenizer_stage(path: Path) -> TextTokenizer:
    return TextTokenizer.load(path) if path.is_file() else train_tokenizer(path)


def scenes_stage(config: PrepareConfig, console: Console | None) -> SceneShards:
    return prepare(config)
