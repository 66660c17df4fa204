"""Where a thinker's training batches come from: dialogues as text, and scenes as sound, on the same frame grid."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from duologue.data.domain import Exchange
from duologue.data.prepare import LABELS, SceneShards
from duologue.lm.score import SLOTS
from duologue.lm.streams import ABSENT
from duologue.lm.text import END, EOT, PAD, TextTokenizer
from duologue.provenance import digest
from duologue.train.perturb import Perturbation

Batch = dict[str, Tensor]
"""Streams by name: tokens (B, F, books) int64, features (B, F * hops, size). `ABSENT` tokens are not learned."""
FINGERPRINTED = 300
"""Dialogues."""


class Source(ABC):
    """Draws batches of one kind."""

    listens = True
    """Whether which words the user says can be known from the sound, and so is learned."""

    @abstractmethod
    def batch(self, rng: np.random.Generator) -> Batch:
        """A batch that is a pure function of `rng`."""

    @abstractmethod
    def fingerprint(self) -> str:
        """What tells this source's data from others."""


class TextDialogues(Source):
    """Conversations without sound: the user's words, the end of the turn, the answer's words, a piece a frame.

    Empty frames are strewn between the user's words, so that what is learned here carries over to speech, where a word
    lasts several frames. Learning to predict the user's words is left to the scenes.

    Args:
        draw: makes a dialogue from a generator.
        rows, frames: the shape of a batch; dialogues follow one another until a row is full.
        stretches: mean numbers of empty frames between words, one of which is drawn for each dialogue.
    """

    listens = False

    def __init__(
        self,
        draw: Callable[[np.random.Generator], Sequence[Exchange]],
        tokenizer: TextTokenizer,
        rows: int,
        frames: int,
        stretches: Sequence[float] = (0.0, 0.0, 1.0, 3.0),
    ) -> None:
        self.draw, self.tokenizer, self.rows, self.frames = draw, tokenizer, rows, frames
        self.stretches = stretches

    def batch(self, rng: np.random.Generator) -> Batch:
        heard = np.full((self.rows, self.frames), PAD, dtype=np.int64)
        text = np.full((self.rows, self.frames), PAD, dtype=np.int64)
        for row in range(self.rows):
            self._fill(heard[row], text[row], rng)
        return {"heard": torch.from_numpy(heard)[..., None], "text": torch.from_numpy(text)[..., None]}

    def fingerprint(self) -> str:
        """Digest of `FINGERPRINTED` dialogues as pieces and of their pace; nobody can list all that may be drawn."""
        rng = np.random.default_rng(0)
        said = [exchange for _ in range(FINGERPRINTED) for exchange in self.draw(rng)]
        pieces = [self.tokenizer.encode(text) for exchange in said for text in (exchange.user, exchange.reply)]
        return digest([json.dumps([list(self.stretches), pieces]).encode()])

    def _fill(self, heard: np.ndarray, text: np.ndarray, rng: np.random.Generator) -> None:
        place = 0
        while True:
            stretch = rng.choice(self.stretches)
            for exchange in self.draw(rng):
                question: list[int] = []
                for word in exchange.user.split():
                    question += [*self.tokenizer.encode(word), *[PAD] * rng.poisson(stretch)]
                answer = [*self.tokenizer.encode(exchange.reply), END]
                start = place + len(question)
                if start + len(answer) >= len(heard):
                    return
                heard[place:start] = question
                heard[start] = EOT
                text[start : start + len(answer)] = answer
                place = start + len(answer) + rng.poisson(stretch)


class Scenes(Source):
    """Prepared scenes: features of the user's channel, its codes if they were kept, and the labels of every frame.

    Scenes follow one another until a row is full, as if conversation after conversation came in, so no frame of a batch
    is wasted; the last one loses its end.

    Args:
        perturbation: makes each scene sound new whenever it is drawn; None: as it was rendered.
    """

    def __init__(self, shards: SceneShards, rows: int, frames: int, perturbation: Perturbation | None = None) -> None:
        self.shards, self.rows, self.frames = shards, rows, frames
        self.perturbation = perturbation

    def batch(self, rng: np.random.Generator) -> Batch:
        rows: list[list[int]] = []
        for _ in range(self.rows):
            row, filled = [], 0
            while filled < self.frames:
                row.append(int(rng.integers(len(self.shards))))
                filled += len(self.shards[row[-1]][1])
            rows.append(row)
        return self.collate(rows, rng)

    def fingerprint(self) -> str:
        return self.shards.fingerprint()

    def collate(self, rows: Sequence[Sequence[int]], rng: np.random.Generator | None = None) -> Batch:
        """A batch whose rows hold the scenes of these indices, cut or filled up to the source's frames.

        They sound as they were rendered where there is no `rng`.
        """
        features = np.zeros((len(rows), self.frames * SLOTS, 80), dtype=np.float32)
        labels = np.full((len(rows), self.frames, LABELS), ABSENT, dtype=np.int64)
        codes = np.full((len(rows), self.frames, self.shards.books), ABSENT, dtype=np.int64)
        for row, indices in enumerate(rows):
            place = 0
            for index in indices:
                scene_features, scene_labels = self.shards[index]
                if rng is not None and self.perturbation is not None:
                    scene_features = self.perturbation(scene_features, rng)
                part = scene_labels[: self.frames - place]
                end = place + len(part)
                labels[row, place:end] = part
                features[row, place * SLOTS : end * SLOTS] = scene_features[: len(part) * SLOTS]
                if self.shards.books:
                    codes[row, place:end] = self.shards.codes(index)[: len(part)]
                place = end
        tokens = torch.from_numpy(labels)
        heard, text, speaking, known = tokens[..., :4].unbind(-1)
        heard = torch.where(known == 0, ABSENT, heard)  # words without known times are not learned
        streams = {"heard": heard, "text": text, "speaking": speaking}
        user = {"user": torch.from_numpy(features), "phones": tokens[..., 4:]}
        if self.shards.books:
            user["user_codes"] = torch.from_numpy(codes)
        return user | {name: value[..., None] for name, value in streams.items()}


class TextOverSound(Source):
    """Conversations without sound of their own, over the sound of scenes that have nothing to do with them.

    What is to be answered follows from the words alone. Drills that were learned without any sound had three times the
    loss over it, since it adds to the frames in which the words stand. So the words are practised over sound too, of
    which no more need be rendered.
    """

    listens = False

    def __init__(self, text: TextDialogues, scenes: Scenes) -> None:
        self.text, self.scenes = text, scenes

    def batch(self, rng: np.random.Generator) -> Batch:
        text, scenes = self.text.batch(rng), self.scenes.batch(rng)
        return text | {name: scenes[name] for name in ("user", "user_codes", "speaking") if name in scenes}

    def fingerprint(self) -> str:
        return digest([self.text.fingerprint().encode(), self.scenes.fingerprint().encode()])
