"""Small real systems for tests: one that beeps when it has heard a turn, and a native model without training."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Literal

import numpy as np

from duologue.systems.base import Conversation, HeardWord, Pcm, Reply, SpokenWord, System, SystemCard, TextWord, Turn

QUIET, BEEP = 2, 5  # frames


def frames(count: int, seed: int = 0) -> list[Pcm]:
    """Noise, 80 ms each."""
    return list(np.random.default_rng(seed).normal(0, 0.1, (count, 1280)).astype(np.float32))


class Beeper(System):
    """Hears "sound" when a turn begins, and after `quiet` frames of quiet answers it with `beep` frames of 440 Hz."""

    card = SystemCard(name="beeper", hears=("features",), duplex="half", licence="Apache-2.0", voices=("beep",))

    def __init__(self, quiet: int = QUIET, beep: int = BEEP) -> None:
        self.times = quiet, beep

    def open(self, seed: int = 0) -> BeeperConversation:
        return BeeperConversation(self.card, *self.times)


class BeeperConversation(Conversation):
    def __init__(self, card: SystemCard, patience: int, beep: int) -> None:
        super().__init__(card)
        self.patience, self.beep = patience, beep
        self.quiet: int | None = None  # frames of quiet since the user's last sound; None: nothing to answer
        self.left = 0  # frames of beep to come

    def _answer(self, pcm: Pcm) -> Reply:
        now = self.time
        reply = Reply(np.zeros(self.card.frame, np.float32))
        if np.abs(pcm).max() > 0.01:
            if self.quiet is None:
                reply.events.extend((Turn(kind="user_started", time=now), HeardWord(time=now, word="sound")))
            self.quiet = 0
            if self.left:
                self.left = 0
                reply.events.append(Turn(kind="interrupted", time=now))
            return reply
        if self.quiet is not None:
            self.quiet += 1
            if self.quiet == self.patience:
                self.quiet, self.left = None, self.beep
                reply.events.extend(
                    (
                        Turn(kind="user_stopped", time=now),
                        TextWord(time=now, word="beep"),
                        Turn(kind="reply_started", time=now),
                        SpokenWord(time=now, word="beep", end=now + self.beep * 0.08),
                    )
                )
        elif self.left == 0:
            return reply
        if self.left:
            beep = 0.3 * np.sin(2 * np.pi * 440 * np.arange(self.card.frame) / self.card.sample_rate)
            self.left -= 1
            reply = Reply(beep.astype(np.float32), reply.events)
            if self.left == 0:
                reply.events.append(Turn(kind="reply_ended", time=now + 0.08))
        return reply


class Holder(Beeper):
    """Beeps on until it is `let` to end its replies."""

    def __init__(self) -> None:
        super().__init__(quiet=10)
        self.let = threading.Event()

    def open(self, seed: int = 0) -> HolderConversation:
        return HolderConversation(self.card, *self.times, self.let)


class HolderConversation(BeeperConversation):
    def __init__(self, card: SystemCard, patience: int, beep: int, let: threading.Event) -> None:
        super().__init__(card, patience, beep)
        self.let = let

    def _answer(self, pcm: Pcm) -> Reply:
        if self.left and not self.let.is_set():
            self.left = 2
        return super()._answer(pcm)


class Reader(Beeper):
    """Also takes text, which it keeps in `texts`, and answers it as if it had been said."""

    def __init__(self, quiet: int = QUIET, beep: int = BEEP) -> None:
        super().__init__(quiet, beep)
        self.texts: list[str] = []

    def open(self, seed: int = 0) -> ReaderConversation:
        return ReaderConversation(self.card, *self.times, self.texts)


class ReaderConversation(BeeperConversation):
    def __init__(self, card: SystemCard, patience: int, beep: int, texts: list[str]) -> None:
        super().__init__(card, patience, beep)
        self.texts = texts

    def read(self, text: str) -> None:
        self.texts.append(text)
        self.quiet = 0


def write_tiny_model(folder: Path, hears: Literal["features", "codes", "both"] = "features") -> Path:
    """A complete native model, tiny and untrained, in a folder; it hears and says words at random."""
    import torch

    from duologue.codec.spectral import SpectralConfig
    from duologue.lm.backbone import BackboneConfig
    from duologue.lm.model import SpeechLM, SpeechLMConfig, talker_layout, thinker_layout
    from duologue.lm.pacer import PacerConfig
    from duologue.lm.speller import SpellerConfig
    from duologue.lm.text import TextTokenizer
    from duologue.nn.transformer import TransformerConfig

    torch.manual_seed(7)
    sentences = ["what is two plus two", "it is four"]
    tokenizer = TextTokenizer.train(sentences, " ".join(sentences).split(), size=120)
    small = TransformerConfig(dim=32, layers=1, heads=2, window=16)
    backbone = BackboneConfig(temporal=small, depth=small)
    widths = dict.fromkeys(("front_dim", "encoder_dim", "decoder_dim", "back_dim"), 16)
    hidden = dict.fromkeys(("front_hidden", "encoder_hidden", "decoder_hidden", "back_hidden"), 32)
    blocks = dict.fromkeys(("front_blocks", "encoder_blocks", "decoder_blocks", "back_blocks"), 1)
    codec = SpectralConfig(name="tiny-codec", latent=8, books=2, cardinality=16, **widths, **hidden, **blocks)
    phones = ("<end>", "pau", "aa", "t", "s")
    config = SpeechLMConfig(
        name="tiny",
        thinker_layout=thinker_layout(
            len(tokenizer),
            features=hears != "codes",
            user_codes=(2 * codec.books, codec.cardinality) if hears != "features" else None,
        ),
        thinker=backbone,
        talker_layout=talker_layout(len(phones), codec),
        talker=backbone,
        speller=SpellerConfig(phones=phones, transformer=small),
        pacer=PacerConfig(phones=len(phones), dim=16),
        codec=codec,
    )
    SpeechLM(config, tokenizer).save(folder)
    return folder
