"""Training the codec: reconstruction first, then against discriminators, then perhaps its decoder alone.

On request the first book also learns what is said: a teacher's semantic labels are distilled into it, after
SpeechTokenizer (Zhang et al., 2024) and Mimi (Défossez et al., 2024). Their teachers are self-supervised models, HuBERT
and WavLM; ours are the phones of the synthesisers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pystoi import stoi
from torch import Tensor, nn
from torch.nn import functional as F

from duologue.codec.spectral import SpectralCodec
from duologue.data.labels import UNKNOWN
from duologue.errors import DataError
from duologue.provenance import digest
from duologue.train.discriminators import Discriminators
from duologue.train.losses import MelLoss, STFTLoss, feature_matching, hinge_discriminator, hinge_generator
from duologue.train.task import Task

Pcm = NDArray[Any]
Clips = Sequence[Pcm]
"""Mono sounds at the codec's rate, (T,) each: float32 in [-1, 1] or int16."""


class CodecTraining(BaseModel):
    """Batch, rates, phases and the weights of the losses."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int = Field(default=16, gt=0)
    frames: int = Field(default=32, gt=1)
    """Length of a crop, in codec frames."""
    gain_db: tuple[float, float] = (-12.0, 4.0)
    """Range of the random gain on a crop; a crop is never driven into clipping."""
    lr: float = Field(default=1e-3, gt=0)
    quantize_from: int = Field(default=400, ge=0)
    """The step at which the books are fitted to the latents; before it latents pass unquantised."""
    fit_batches: int = Field(default=30, gt=0)
    """Batches whose latents the books are fitted to."""
    adversary_from: int | None = None
    """The step from which discriminators judge; None: never."""
    adversary_lr: float = Field(default=3e-4, gt=0)
    decoder_only: bool = False
    """Keep encoder and books, and so every code, as they are: a decoder for one voice, with codes already in use."""
    mel: float = 4.0
    stft: float = 1.5
    commitment: float = 0.25
    adversary: float = 0.5
    features: float = 1.0
    semantic: float = Field(default=0.0, ge=0)
    """Weight of what the first book is to tell of the teacher's labels; 0: it has no teacher."""
    teacher: Literal["phones"] | None = None
    """Whose labels are distilled into the first book: the phones of the synthetic voices."""

    @model_validator(mode="after")
    def _teachable(self) -> Self:
        if self.semantic and self.teacher is None:
            raise ValueError('semantic distillation needs a teacher; set teacher to "phones" or semantic to 0')
        if self.semantic and self.decoder_only:
            raise ValueError("decoder_only keeps the first book as it is, so nothing can teach it; set semantic to 0")
        return self


@dataclass(frozen=True)
class FrameLabels:
    """What is said in each codec frame of the clips of those sources where that is known.

    Attributes:
        classes: how many different labels there are.
        frames: by source, for each of its clips in order (F,) labels from 0, or `UNKNOWN`; label f is of the samples
            [f * frame, (f + 1) * frame) of the clip.
    """

    classes: int
    frames: Mapping[str, Sequence[NDArray[np.int16]]]


class CodecTask(Task):
    """A codec that learns to say again what it heard.

    Args:
        codec: what is trained.
        sources: kinds of sound by name, each a share of the crops and its clips.
        held_out: clips by name that validation resynthesises.
        labels: the teacher's, read only if `config.semantic` asks for them.

    Raises:
        DataError: the first book is to be taught, but there are no labels.
    """

    name = "codec"

    def __init__(
        self,
        codec: SpectralCodec,
        config: CodecTraining,
        sources: Mapping[str, tuple[float, Clips]],
        held_out: Mapping[str, Clips],
        labels: FrameLabels | None = None,
    ) -> None:
        self.codec, self.config, self.held_out = codec, config, held_out
        self.discriminators = Discriminators()
        self.mel, self.stft = MelLoss(codec.card.sample_rate), STFTLoss()
        self.modules = nn.ModuleDict(
            {"codec": codec, "discriminators": self.discriminators, "mel": self.mel, "stft": self.stft}
        )
        self.semantic: nn.Linear | None = None
        self._labels: list[Sequence[NDArray[np.int16]] | None] = [None] * len(sources)
        if config.semantic:
            if labels is None or not labels.classes:
                raise DataError("semantic distillation has no labels to learn from; give the codec synthetic voices")
            self._labels = [labels.frames.get(name) for name in sources]
            # Beside the codec, not in it: what ships has no use for this head.
            self.modules["semantic"] = self.semantic = nn.Linear(codec.config.latent, labels.classes)
        self.metrics: dict[str, float] = {}
        self._names = list(sources)
        self._clips = [clips for _, clips in sources.values()]
        shares = np.array([share for share, _ in sources.values()], float)
        self._shares = shares / shares.sum()
        # A clip is drawn as often as it is long, so that every second of a source is heard alike.
        self._ends = [np.cumsum([len(clip) for clip in clips]) for clips in self._clips]
        if config.decoder_only:
            codec.encoder.requires_grad_(False)
            codec.quantizer.requires_grad_(False)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        trained = [p for p in self.codec.parameters() if p.requires_grad]
        trained += self.semantic.parameters() if self.semantic is not None else ()
        options: dict[str, Any] = {"betas": (0.8, 0.99), "weight_decay": 0.01}
        both: dict[str, torch.optim.Optimizer] = {"generator": torch.optim.AdamW(trained, self.config.lr, **options)}
        if self.config.adversary_from is not None:
            judges = self.discriminators.parameters()
            both["discriminator"] = torch.optim.AdamW(judges, self.config.adversary_lr, **options)
        return both

    def losses(self, step: int, rng: np.random.Generator) -> Iterator[tuple[str, Tensor]]:
        config, codec, quantizer = self.config, self.codec, self.codec.quantizer
        if step >= config.quantize_from and not quantizer.fitted and not config.decoder_only:
            self._fit(rng)
        pcm, labels = self.labelled_batch(rng)
        self.metrics["seconds_of_audio"] = pcm.numel() / codec.card.sample_rate
        if config.decoder_only:
            with torch.no_grad():
                latent = quantizer.decode(quantizer.encode(codec.latents(pcm)))
            output, commitment, first = codec.synthesise(latent), pcm.new_zeros(()), None
        else:
            output, quantized = codec(pcm)
            commitment, first = quantized.loss, quantized.first
        # The decoder is `delay` late; its first frame, mostly from before the crop, is not judged.
        delay, skip = codec.card.delay_samples, codec.frame
        made, real = output[:, skip:], pcm[:, skip - delay : pcm.shape[1] - delay]
        mel = self.mel(made, real, tuple(rng.choice(self.mel.windows, 2, replace=False)))
        stft = self.stft(made, real, (int(rng.choice(self.stft.windows)),))
        loss = config.mel * mel + config.stft * stft + config.commitment * commitment
        self.metrics |= {"mel": mel.item(), "stft": stft.item(), "commitment": commitment.item()}
        if self.semantic is not None and first is not None:
            loss = loss + config.semantic * self._distil(self.semantic(first), labels)
        if config.adversary_from is not None and step >= config.adversary_from:
            scores, features = self.discriminators(real)
            yield "discriminator", hinge_discriminator(scores, self.discriminators(made.detach())[0])
            features = [[f.detach() for f in layers] for layers in features]
            self.discriminators.requires_grad_(False)
            scores, made_features = self.discriminators(made)
            self.discriminators.requires_grad_(True)
            fooled, matched = hinge_generator(scores), feature_matching(features, made_features)
            loss = loss + config.adversary * fooled + config.features * matched
            self.metrics |= {"fooled": fooled.item(), "features": matched.item()}
        if quantizer.fitted:
            self.metrics |= quantizer.statistics()
        yield "generator", loss

    def batch(self, rng: np.random.Generator) -> Tensor:
        """Random crops (rows, frames * hop) with random gain; a clip shorter than a crop is followed by silence."""
        return self.labelled_batch(rng)[0]

    def labelled_batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """A batch and the labels of its frames, (rows, frames) int64, `UNKNOWN` where there are none."""
        frame = self.codec.frame
        length = self.config.frames * frame
        rows = np.zeros((self.config.rows, length), np.float32)
        labels = np.full((self.config.rows, self.config.frames), UNKNOWN, np.int64)
        for row, known in zip(rows, labels, strict=True):
            source = rng.choice(len(self._clips), p=self._shares)
            ends = self._ends[source]
            index = int(np.searchsorted(ends, rng.integers(ends[-1]), side="right"))
            clip, taught = self._clips[source][index], self._labels[source]
            start = int(rng.integers(max(1, len(clip) - length + 1)))
            if taught is not None:
                start -= start % frame  # so that the crop's frames are those of the labels
                own = taught[index][start // frame :][: len(known)]
                known[: len(own)] = own
            crop = _float(clip[start : start + length])
            loudest = 0.99 / max(float(np.abs(crop).max()), 1e-4)
            row[: len(crop)] = crop * min(10 ** (rng.uniform(*self.config.gain_db) / 20), loudest)
        return torch.from_numpy(rows).to(self.device), torch.from_numpy(labels).to(self.device)

    def _distil(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of logits (rows, frames, classes) over the frames that have labels; zero where none has."""
        known = labels != UNKNOWN
        count = known.sum().clamp_min(1)
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=UNKNOWN, reduction="sum") / count
        right = (logits.argmax(-1) == labels)[known].sum() / count
        self.metrics |= {"semantic": loss.item(), "phones_right": right.item()}
        return loss

    @torch.no_grad()
    def _fit(self, rng: np.random.Generator) -> None:
        latents = [self.codec.latents(self.batch(rng)).flatten(0, 1) for _ in range(self.config.fit_batches)]
        with torch.autocast(self.device.type, enabled=False):
            self.codec.quantizer.fit(torch.cat(latents))

    def resynthesise(self, clip: Pcm) -> tuple[Pcm, Pcm]:
        """A clip (T,) -> itself and what the codec makes of it, (T,) float32 each and aligned."""
        delay = self.codec.card.delay_samples
        pcm = _float(clip)
        heard = F.pad(torch.from_numpy(pcm)[None], (0, delay)).to(self.device)
        said = self.codec.decode(self.codec.encode(heard))[0, delay : delay + len(pcm)]
        return pcm, said.float().cpu().numpy()

    def validate(self, step: int) -> dict[str, float]:
        """STOI (Taal et al., 2011) of the resynthesis, and the part of each book's codes that the clips used."""
        figures = {}
        for name, clips in self.held_out.items():
            figures[f"stoi/{name}"] = float(
                np.mean([stoi(*self.resynthesise(clip), self.codec.card.sample_rate) for clip in clips])
            )
        return figures | self.codec.quantizer.statistics()

    def samples(self, step: int) -> dict[str, Pcm]:
        """The first clip of each kind as the codec says it again."""
        return {name: self.resynthesise(clips[0])[1] for name, clips in self.held_out.items()}

    def fingerprints(self) -> dict[str, str]:
        """Digests of all samples, and of the labels where there are any."""
        both = zip(self._names, self._clips, self._labels, strict=True)
        return {name: digest(part.tobytes() for part in (*clips, *(labels or ()))) for name, clips, labels in both}


def _float(pcm: Pcm) -> Pcm:
    return pcm.astype(np.float32) / np.float32(32768) if pcm.dtype == np.int16 else np.asarray(pcm, np.float32)
