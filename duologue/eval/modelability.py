"""How easily a codec's tokens can be foretold: the bits a second that a small language model needs for them.

A codec that sounds well may be hard to learn. The same small transformer is trained on the tokens of the same little
speech for every codec, so the figures say which is easier, not how well a large model would do. Bits are of the
model's code for the tokens (its cross-entropy); beside the codec's own bitrate they show what was learned at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from duologue.errors import DataError
from duologue.lm.backbone import Backbone, BackboneConfig, next_token_loss
from duologue.lm.streams import Layout, Stream
from duologue.nn.transformer import TransformerConfig
from duologue.systems.coders import Tokens

STEPS = 120
BATCH = 8
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
        steps: of training.

    Raises:
        DataError: no clip is as long as a crop.
    """

    def __init__(self, tokens: Tokens, corpus: Sequence[Codes], steps: int = STEPS, seed: int = 0) -> None:
        crop = round(CROP * tokens.rate)
        clips = [torch.from_numpy(codes.T) for codes in corpus if codes.shape[1] >= crop]
        if not clips:
            raise DataError(f"tokens are learned from clips of {CROP} s and more; there are none")
        stream = Stream(name=_STREAM, role="predicted", cardinality=tokens.cardinality, books=tokens.books)
        self._layout = Layout(name="tokens", streams=(stream,))
        rng = np.random.default_rng(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._model = Backbone(self._layout, _CONFIG)
        optimizer = torch.optim.AdamW(self._model.parameters(), 2e-3, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
        for _ in range(steps):
            chosen = [clips[place] for place in rng.integers(0, len(clips), BATCH)]
            starts = [int(rng.integers(0, len(clip) - crop + 1)) for clip in chosen]
            batch = torch.stack([clip[start : start + crop] for clip, start in zip(chosen, starts, strict=True)])
            _, logits = self._model({_STREAM: batch})
            loss = next_token_loss(self._layout, logits, {_STREAM: batch})[_STREAM]
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        self._model.eval()

    @torch.no_grad()
    def bits(self, codes: Codes) -> float:
        """The bits that codes (books, frames) of an unheard clip take, all of them and from its first frame on."""
        target = torch.from_numpy(codes.T)[None]
        _, logits = self._model({_STREAM: target})
        loss = F.cross_entropy(logits[_STREAM].flatten(0, 2), target.flatten(), reduction="sum")
        return float(loss) / math.log(2)
