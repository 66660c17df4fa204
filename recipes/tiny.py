"""The box's recipe in miniature, for CI: every step of the curriculum, real data, under two minutes on two cores.

    duologue train recipes/tiny.py --out runs/tiny

It learns nothing to be proud of, but each part must have learned something: see `tests/test_recipes.py`. Its voice is
espeak's, which comes with the extra `synth`, so no other program is needed.
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from duologue.codec.spectral import SpectralConfig
from duologue.data.prepare import Shares
from duologue.data.voices import Voice
from duologue.lm.backbone import BackboneConfig
from duologue.nn.transformer import TransformerConfig
from duologue.train import curriculum
from duologue.train.codec import CodecTraining
from duologue.train.curriculum import CodecRecipe, Curriculum, TalkerRecipe, ThinkerRecipe
from duologue.train.loop import LoopConfig
from duologue.train.optim import Schedule
from duologue.train.talker import TalkerTraining

SMALL = BackboneConfig(
    temporal=TransformerConfig(dim=96, layers=2, heads=3, window=128),
    depth=TransformerConfig(dim=64, layers=1, heads=2, window=8),
)
QUICK = Schedule(warmup=10)

config = Curriculum(
    name="tiny",
    voice=Voice(engine="espeak", name="en-us"),
    scenes=24,
    dictations=8,
    dev_scenes=4,
    shares=Shares(drills=0.2),
    workers=1,
    thinker=ThinkerRecipe(
        size=SMALL,
        hears="both",
        text=LoopConfig(steps=40, log_every=10, validate_every=None, schedule=QUICK),
        listen=LoopConfig(steps=20, log_every=10, validate_every=None, schedule=QUICK),
        finish=LoopConfig(steps=5, log_every=5, validate_every=None, schedule=QUICK),
        rows=4,
        frames=160,
    ),
    codec=CodecRecipe(
        size=SpectralConfig(
            name="tiny-codec",
            cardinality=64,
            front_dim=64,
            front_hidden=96,
            front_blocks=1,
            encoder_dim=96,
            encoder_hidden=192,
            encoder_blocks=2,
            latent=32,
            decoder_dim=96,
            decoder_hidden=192,
            decoder_blocks=2,
            back_dim=64,
            back_hidden=128,
            back_blocks=1,
        ),
        users=60,
        whole=LoopConfig(steps=120, log_every=20, validate_every=None, clip=3.0, schedule=QUICK),
        whole_training=CodecTraining(
            rows=6, frames=25, quantize_from=60, fit_batches=6, lr=2e-3, semantic=0.3, teacher="phones"
        ),
        decoder=LoopConfig(steps=10, log_every=5, validate_every=None, clip=3.0, schedule=QUICK),
        decoder_training=CodecTraining(rows=4, frames=25, decoder_only=True, adversary_from=0),
    ),
    talker=TalkerRecipe(
        size=SMALL,
        speller=TransformerConfig(dim=48, layers=1, heads=2, window=64),
        pacer_dim=64,
        loop=LoopConfig(steps=60, log_every=20, validate_every=None, schedule=QUICK),
        training=TalkerTraining(rows=8),
        replies=80,
        passes=0,
    ),
)


def run(config: Curriculum, folder: Path, console: Console | None) -> dict[str, float]:
    """Take the whole curriculum; see `duologue.train.curriculum`."""
    return curriculum.run(config, folder, console)
