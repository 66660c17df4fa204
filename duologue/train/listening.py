"""What a thinker listens to while it learns: scenes of conversation, dictation, and text so that it forgets no answers.

And how it is judged meanwhile: always running freely, on held-out voices, wordings and contents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict
from rich.console import Console

from duologue.codec.spectral import SpectralCodec
from duologue.data import domain
from duologue.data.dialogues import SceneConfig
from duologue.data.domain import Exchange
from duologue.data.prepare import PrepareConfig, SceneShards, Shares, prepare
from duologue.data.voices import Voice
from duologue.eval.free_run import free_run, summarise, turns_of
from duologue.lm.backbone import Backbone
from duologue.lm.text import TextTokenizer
from duologue.nn.weights import pack, unpack
from duologue.train import distributed
from duologue.train.mixtures import Scenes, Source, TextDialogues, TextOverSound
from duologue.train.perturb import Perturbation
from duologue.train.progress import counting

Sources = dict[str, tuple[Source, float]]
"""Name -> (source, share of the steps)."""
DENSE = (0.0,)
"""Empty frames between the words of a drill while it is learned,"""
SPOKEN = (0.0, 0.0, 2.0, 5.0)
"""and while listening is: a spoken word takes four or five. Sums that were known in 98 of 100 cases word upon word were
known in 70 at the pace of speech, for nothing but the distance of their words; so what answers is inner speech, word
upon word (`duologue.lm.generate`), and what hears need only know that an answer is due."""
DICTATION = Shares(dialogue=0, words=0, unknown=0, silence=0, dictation=1)


class Settings(BaseModel):
    """Base of a recipe's parts."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ScenesRecipe(Settings):
    """The scenes that are rendered, and who talks in them."""

    seed: int = 0
    voice: Voice
    """The assistant's voice, always the same."""
    speech: Path | None = None
    """A folder of real recordings; without it everything is synthetic."""
    workers: int = 2
    scenes: int
    """Scenes of conversation to listen to,"""
    dictations: int
    """and scenes of dictation."""
    dev_scenes: int
    scene: SceneConfig = SceneConfig()
    shares: Shares = Shares()
    espeak_share: float = 0.75
    """Share of the synthetic speakers in them whom espeak-ng says, where there are other synthesisers,"""
    revoiced_share: float = 0.0
    """and share of all speakers who get another throat."""


class ListenRecipe(Settings):
    """How scenes, dictation and text are mixed, in batches of `rows` times `frames`."""

    perturbation: Perturbation | None = Perturbation()
    """New voices and microphones made of the prepared scenes while it listens."""
    rows: int = 12
    frames: int = 256
    dictation_share: float = 0.4
    """Share of the steps that take down dictation while listening is learned: words that nothing but sound tells."""
    text_share: float = 0.2
    """Share of text-only steps while listening is learned, so that the answers are not forgotten."""
    drill_share: float = 0.6
    """Share of the text-only steps that practise arithmetic and repeating, without conversation around them."""
    over_sound_share: float = 0.3
    """Share of the text-only steps, while listening is learned, over sound that has nothing to do with their words."""


def _drill(rng: np.random.Generator) -> Sequence[Exchange]:
    return domain.drill(rng, "train")


def _draw(rng: np.random.Generator) -> Sequence[Exchange]:
    return domain.dialogue(rng, "train", int(rng.integers(1, 6)))


def text_sources(
    recipe: ListenRecipe, tokenizer: TextTokenizer, share: float, stretches: Sequence[float]
) -> dict[str, tuple[TextDialogues, float]]:
    """Sources of text that together make up `share` of the steps; `stretches` lie between the words of the drills."""
    talk = TextDialogues(_draw, tokenizer, recipe.rows, recipe.frames)
    drills = TextDialogues(_drill, tokenizer, recipe.rows, recipe.frames, stretches)
    return {"text": (talk, share * (1 - recipe.drill_share)), "drills": (drills, share * recipe.drill_share)}


def listening(
    scenes: ScenesRecipe,
    recipe: ListenRecipe,
    tokenizer: TextTokenizer,
    folder: Path,
    ears: Path | None,
    console: Console | None,
) -> tuple[Sources, Callable[[Backbone], dict[str, float]]]:
    """Render the scenes that are not yet in `folder`, with the user's codes where `ears` names a codec's folder.

    Returns:
        what to learn from, and what measures a model on held-out scenes and texts, running freely.
    """
    rendered = _render(scenes, folder, ears, "train", scenes.scenes, scenes.shares, console)
    dictated = _render(scenes, folder, ears, "train", scenes.dictations, DICTATION, console)
    held = _render(scenes, folder, ears, "dev", scenes.dev_scenes, scenes.shares, console)
    held_out = Scenes(held, recipe.rows, recipe.frames)
    heard = Scenes(rendered, recipe.rows, recipe.frames, recipe.perturbation)
    sources: Sources = {
        "scenes": (heard, 1 - recipe.dictation_share - recipe.text_share),
        "dictation": (Scenes(dictated, recipe.rows, recipe.frames, recipe.perturbation), recipe.dictation_share),
    }
    over = recipe.over_sound_share
    for name, (text, share) in text_sources(recipe, tokenizer, recipe.text_share, SPOKEN).items():
        sources |= {name: (text, share * (1 - over)), f"{name}_over_sound": (TextOverSound(text, heard), share * over)}
    return sources, lambda model: evaluate_listening(model, tokenizer, held_out) | evaluate_text(model, tokenizer)


def _render(
    config: ScenesRecipe,
    folder: Path,
    ears: Path | None,
    split: domain.Split,
    count: int,
    shares: Shares,
    console: Console | None,
) -> SceneShards:
    name = f"{'dictation' if shares == DICTATION else 'scenes'}-{split}"
    settings = PrepareConfig(
        folder=folder / name,
        tokenizer=folder / "tokenizer.json",
        scenes=count,
        seed=config.seed,
        split=split,
        speech=config.speech,
        shares=shares,
        scene=config.scene,
        espeak_share=config.espeak_share,
        revoiced_share=config.revoiced_share if split == "train" else 0.0,
        assistant=config.voice,
        codec=ears,
        workers=config.workers,
    )
    with distributed.first_alone(), counting(name, "scenes", console) as report:
        return prepare(settings, report)


def keep_ears(codec: SpectralCodec, folder: Path) -> Path:
    """Write the codec that scenes are encoded with, in the precision of a packed model: it must hear the very codes
    that were trained on."""
    codec.load_state_dict(unpack(pack(codec.state_dict(), ())))
    if distributed.world().first:  # the others wait for the scenes that are made with it
        codec.save(folder / "ears")
    return folder / "ears"


def text_batches(tokenizer: TextTokenizer, split: domain.Split, rows: int, frames: int) -> dict[str, dict[str, Any]]:
    """Fixed batches to judge by: whole conversations, operand pairs and wordings that training never sees."""
    rng = np.random.default_rng(1)
    draws: dict[str, Callable[[np.random.Generator], Sequence[Exchange]]] = {
        "talk": lambda rng: domain.dialogue(rng, split, int(rng.integers(1, 6))),
        "content": lambda rng: [domain.sample(rng, split, held="content")],
        "wording": lambda rng: [domain.sample(rng, split, held="wording")],
    }
    return {name: TextDialogues(draw, tokenizer, rows, frames).batch(rng) for name, draw in draws.items()}


def evaluate_text(model: Backbone, tokenizer: TextTokenizer) -> dict[str, float]:
    """Share of answers that are right, word for word, from given words."""
    return {
        f"text/{name}": summarise(turns_of(batch, free_run(model, batch), tokenizer)).get("replies_right", 0.0)
        for name, batch in text_batches(tokenizer, "dev", 24, 160).items()
    }


def evaluate_listening(model: Backbone, tokenizer: TextTokenizer, scenes: Scenes, count: int = 96) -> dict[str, float]:
    """Words heard and answers right in held-out scenes."""
    batch = scenes.collate([[index] for index in range(min(count, len(scenes.shards)))])
    return summarise(turns_of(batch, free_run(model, batch), tokenizer))
