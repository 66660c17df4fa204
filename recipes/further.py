"""The model in the box, or any other, goes on listening: with more scenes, or with recordings of your own.

    duologue train recipes/further.py --out runs/further speech=FOLDER model=duologue/models/box

Needs the synthesisers (extra `synth`, and the program flite for the assistant's voice). What it says and how it sounds
stays; what it hears and decides is learned further.
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from duologue.data.dialogues import SceneConfig
from duologue.data.prepare import Shares
from duologue.data.voices import Voice
from duologue.train import further
from duologue.train.further import Further
from duologue.train.listening import ListenRecipe
from duologue.train.loop import LoopConfig
from duologue.train.optim import Schedule
from duologue.train.thinker import ThinkerTraining

SPEECH = Path("../shared/speech")

config = Further(
    model=Path("duologue/models/box"),
    seed=21,  # not the scenes that the box was made with
    voice=Voice(engine="flite", name="slt"),
    speech=SPEECH if SPEECH.is_dir() else None,
    scenes=12_800,
    dictations=9_600,
    dev_scenes=128,
    scene=SceneConfig(hold=0.2, aside_share=0.25, pause_share=0.3, pause=(0.3, 2.0), gap=(0.15, 1.8)),
    shares=Shares(drills=0.35),
    espeak_share=0.6,
    revoiced_share=0.3,
    mix=ListenRecipe(rows=16, dictation_share=0.25, text_share=0.4),
    loop=LoopConfig(
        seconds=4800,
        precision="auto",
        validate_every=350,
        log_every=10,
        ema=0.98,
        schedule=Schedule(shape="cosine", warmup=10),
    ),
    training=ThinkerTraining(muon_lr=4e-4, lr=2e-4),  # at three times these rates the box heard worse than before
)


def run(config: Further, folder: Path, console: Console | None) -> dict[str, float]:
    """Go on; see `duologue.train.further`."""
    return further.run(config, folder, console)
