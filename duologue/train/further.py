"""A trained model listens further: to more scenes, other voices, rooms and recordings. All but its thinker is kept."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import torch
from rich.console import Console

from duologue.atomic import write_text
from duologue.data.sources import trained_on
from duologue.errors import ModelError
from duologue.lm.model import SpeechLM
from duologue.train import checkpoint, distributed
from duologue.train.curriculum import MADE, Made
from duologue.train.listening import ListenRecipe, ScenesRecipe, keep_ears, listening
from duologue.train.loop import LoopConfig, train
from duologue.train.thinker import ThinkerTask, ThinkerTraining


class Further(ScenesRecipe):
    """Which model goes on, for how long, and what it listens to."""

    model: Path
    """The folder of a trained model."""
    ears: tuple[int, ...] | None = None
    """ConvNeXt blocks that its ears are to have after each halving, no fewer than it has; None: as they are."""
    mix: ListenRecipe
    loop: LoopConfig
    training: ThinkerTraining = ThinkerTraining(lr=1e-3, muon_lr=2e-3)


def run(config: Further, folder: Path, console: Console | None) -> dict[str, float]:
    """Train the thinker of `config.model` and leave the packed model in `folder / "model"`.

    Returns:
        what was measured last on the development split, running freely; nothing on processes but the first.

    Raises:
        ModelError: the model is damaged, it is not one that `duologue train` made, or its ears have more blocks.
    """
    first = distributed.start(distributed.device_for(config.loop.device)).first
    console = console if first else None
    model = SpeechLM.load(config.model, trainable=True)
    if not (config.model / MADE).is_file():
        raise ModelError(f"{config.model / MADE} is missing; `duologue train` leaves it beside the model that it makes")
    made = Made.model_validate_json((config.model / MADE).read_bytes())
    if made.voice != config.voice.name:
        raise ModelError(f"{config.model} speaks as {made.voice}, not as {config.voice.name}; set voice.name to that")
    if config.ears is not None:
        torch.manual_seed(config.seed)
        try:
            model.grow_ears(config.ears)
        except ValueError as error:
            raise ModelError(f"{config.model}: {error}; change ears") from error
    with distributed.first_alone():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(config.model / "tokenizer.json", folder / "tokenizer.json")
    heard = trained_on(config.voice, config.speech)
    hears_codes = any(stream.name == "user_codes" for stream in model.thinker.layout.heard)
    ears = keep_ears(model.codec, folder) if hears_codes else None
    lessons, evaluate = listening(config, config.mix, model.tokenizer, folder, ears, console)
    task = ThinkerTask(model.thinker, lessons, config.training, evaluate)
    done = train(task, config.loop, folder / "listen", console=console, recipe=config.model_dump(mode="json"))
    checkpoint.load_weights(model.thinker, folder / "listen")
    if first:
        model.save(folder / "model", packed=True)
        # A source that it heard before and hears again is told as it is now.
        sources = {re.split(":| said by ", line)[0]: line for line in (*made.trained_on, *heard)}
        made = made.model_copy(update={"trained_on": tuple(sources.values())})
        write_text(folder / "model" / MADE, made.model_dump_json(indent=1) + "\n")
    return done.validation
