"""The model in the box: a thinker of 15 M parameters, a talker in one voice, and their codec, on two CPU cores.

    duologue train recipes/box.py --out runs/box          (or `make box`, which also evaluates and packs)

Needs the synthesisers (extra `synth`, and the program flite for the assistant's voice); with `speech=FOLDER` it also
learns from real people. More data, more time or a GPU is a matter of a flag, for example

    duologue train recipes/box.py --out runs/big scenes=40000 thinker.listen.seconds=40000 thinker.listen.device=cuda
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from duologue.codec.spectral import SpectralConfig
from duologue.data.dialogues import SceneConfig
from duologue.data.prepare import Shares
from duologue.data.voices import Voice
from duologue.lm.backbone import BackboneConfig
from duologue.nn.transformer import TransformerConfig
from duologue.train import curriculum
from duologue.train.codec import CodecTraining
from duologue.train.curriculum import CodecRecipe, Curriculum, TalkerRecipe, ThinkerRecipe
from duologue.train.loop import LoopConfig
from duologue.train.optim import Schedule
from duologue.train.thinker import ThinkerTraining

SPEECH = Path("../shared/speech")

config = Curriculum(
    name="box",
    voice=Voice(engine="flite", name="slt"),
    speech=SPEECH if SPEECH.is_dir() else None,
    scenes=30_720,
    dictations=21_504,
    dev_scenes=128,
    # The reply may begin 200 ms after the last sound: less, and closures inside words would look like an end.
    scene=SceneConfig(hold=0.2, aside_share=0.25, pause_share=0.3, pause=(0.3, 2.0), gap=(0.15, 1.8)),
    shares=Shares(drills=0.35),
    espeak_share=0.6,
    revoiced_share=0.3,
    thinker=ThinkerRecipe(
        size=BackboneConfig(
            temporal=TransformerConfig(dim=384, layers=6, heads=6, window=256),
            depth=TransformerConfig(dim=256, layers=1, heads=4, window=8),
            ears=(3, 5, 2),  # most where a block hears 40 ms: two phones lie in a frame of 80
        ),
        text=LoopConfig(seconds=4500, precision="auto", validate_every=250, log_every=25),
        listen=LoopConfig(seconds=8900, precision="auto", validate_every=400, log_every=25, ema=0.995),
        training=ThinkerTraining(muon_lr=4e-3),
        finish=LoopConfig(
            seconds=2000,
            seed=1,  # not the scenes that listening began with, once more
            precision="auto",
            validate_every=400,
            log_every=25,
            ema=0.99,
            schedule=Schedule(shape="cosine", warmup=40),
        ),
        finish_training=ThinkerTraining(lr=5e-4, muon_lr=1e-3),
        dictation_share=0.25,
        text_share=0.4,
    ),
    codec=CodecRecipe(
        size=SpectralConfig(name="box-codec"),
        # No semantic distillation (`semantic` and `teacher` of `CodecTraining`): the box's codec was trained without.
        whole=LoopConfig(seconds=2100, precision="auto", validate_every=500, clip=3.0),
        decoder=LoopConfig(seconds=1200, precision="auto", validate_every=250, clip=3.0),
        decoder_training=CodecTraining(decoder_only=True, lr=4e-4, adversary_from=0),
    ),
    talker=TalkerRecipe(
        size=BackboneConfig(
            temporal=TransformerConfig(dim=320, layers=5, heads=5, window=64),
            depth=TransformerConfig(dim=256, layers=1, heads=4, window=8),
        ),
        speller=TransformerConfig(dim=128, layers=3, heads=4, window=64),
        loop=LoopConfig(seconds=1700, precision="auto", validate_every=300, ema=0.995),
    ),
)


def run(config: Curriculum, folder: Path, console: Console | None) -> dict[str, float]:
    """Take the whole curriculum; see `duologue.train.curriculum`."""
    return curriculum.run(config, folder, console)
