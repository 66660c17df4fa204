"""How easily a codec's tokens can be foretold: the bits a second that a small language model needs for them.

A codec that sounds well may be hard to learn. The same small transformer is trained on the tokens of the same little
speech for every codec, so the figures say which is easier, not how well a large model would do. Bits are of the
model's code for the tokens (its cross-entropy); beside the codec's own bitrate they show what was learned at all.

Of so little speech a model soon knows the few voices by heart and foretells others worse than chance. So it begins from
how often each code occurs, and what it says is mixed with chance (Jelinek and Mercer 1980) as far as clips of voices
that it did not learn from ask for it, book by book: where nothing can be learned, it needs the plain bitrate.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from duologue.errors import DataError
from duologue.lm.backbone import Backbone, BackboneConfig, next_token_loss
from duologue.lm.streams import Layout, Stream
from duologue.nn.transformer import TransformerConfig
from duologue.systems.coders import Tokens

BATCH = 8
SEEN = 16  # times that every code counts as seen beforehand
ROUNDS = 50  # of expectation maximisation
CROP = 1.5  # seconds
_STREAM = "codes"
_CONFIG = BackboneConfig(
    temporal=TransformerConfig(dim=96, layers=2, heads=4, window=128),
    depth=TransformerConfig(dim=48, layers=1, heads=2, window=64),
)

Codes = NDArray[np.int64]


class TokenModel:
    """A small language model over one codec's tokens, trained as it is made; equal seeds, equal models.

    Args:
        tokens: what the codes are.
        corpus: codes (books, frames) of each clip to learn from.
        others: codes of clips of other voices, by which is told how far it is to be trusted with a voice unheard.
        steps: of training.

    Raises:
        DataError: no clip to learn from is as long as a crop, or there is none of another voice.
    """

    def __init__(
        self, tokens: Tokens, corpus: Sequence[Codes], others: Sequence[Codes], steps: int, seed: int = 0
    ) -> None:
        crop = round(CROP * tokens.rate)
        clips = [torch.from_numpy(codes.T) for codes in corpus if codes.shape[1] >= crop]
        if not clips or not others:
            raise DataError(f"tokens are learned from clips of {CROP} s and more, and of other voices; there are none")
        stream = Stream(name=_STREAM, role="predicted", cardinality=tokens.cardinality, books=tokens.books)
        self._layout = Layout(name="tokens", streams=(stream,))
        rng = np.random.default_rng(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._model = Backbone(self._layout, _CONFIG)
        for weight in self._model.heads.parameters():
            torch.nn.init.zeros_(weight)
        together = torch.cat(clips)
        counts = torch.stack([torch.bincount(book, minlength=tokens.cardinality) for book in together.T])
        self._prior = ((counts + SEEN) / (counts + SEEN).sum(1, keepdim=True)).log()  # (books, cardinality)
        optimizer = torch.optim.AdamW(self._model.parameters(), 2e-3, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
        for _ in range(steps):
            chosen = [clips[place] for place in rng.integers(0, len(clips), BATCH)]
            starts = [int(rng.integers(0, len(clip) - crop + 1)) for clip in chosen]
            batch = torch.stack([clip[start : start + crop] for clip, start in zip(chosen, starts, strict=True)])
            loss = next_token_loss(self._layout, {_STREAM: self._logits(batch)}, {_STREAM: batch})[_STREAM]
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        self._model.eval()
        self._chance = 1 / tokens.cardinality
        self._trust = self._trusted(torch.cat([self._likelihoods(codes) for codes in others]))  # (books,)

    def bits(self, codes: Codes) -> float:
        """The bits that codes (books, frames) of an unheard clip take, all of them and from its first frame on."""
        mixed = self._trust * self._likelihoods(codes) + (1 - self._trust) * self._chance
        return -float(mixed.log2().sum())

    def _logits(self, batch: Tensor) -> Tensor:
        """(B, F, books) -> (B, F, books, cardinality)."""
        _, logits = self._model({_STREAM: batch})
        found: Tensor = logits[_STREAM] + self._prior
        return found

    @torch.no_grad()
    def _likelihoods(self, codes: Codes) -> Tensor:
        """How likely the model takes each of the codes (books, frames) to be: (frames, books)."""
        target = torch.from_numpy(codes.T)
        return self._logits(target[None])[0].softmax(-1).gather(-1, target[..., None])[..., 0]

    def _trusted(self, likelihoods: Tensor) -> Tensor:
        """The model's share of the mixture with chance that suits codes best, of their likelihoods (n, books)."""
        share = torch.full((likelihoods.shape[1],), 0.5)
        for _ in range(ROUNDS):
            ours = share * likelihoods
            share = (ours / (ours + (1 - share) * self._chance)).mean(0)
        return share
