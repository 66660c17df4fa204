"""A whole speech-to-speech model: the thinker that hears and decides the words, the talker that makes sound of them.

    user pcm ─ log-mel ──┐
    (and/or user codes) ─┼─ thinker ─ heard, text ─ reader (speller, pacer) ─ score ─ talker ─ codes ─ codec ─ pcm
    speaking? ───────────┘

The thinker sees the user and its own words, never the sound of its reply: a deterministic voice would give the words
away in training and leave the model lost in conversation. All it knows of the talker is whether it still speaks.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from torch import nn

from duologue.atomic import write_text
from duologue.audio.features import BANDS, LogMel
from duologue.codec.spectral import SpectralCodec, SpectralConfig
from duologue.errors import ModelError
from duologue.lm.backbone import Backbone, BackboneConfig
from duologue.lm.pacer import Pacer, PacerConfig
from duologue.lm.sampling import Sampling
from duologue.lm.score import SLOTS, score_streams
from duologue.lm.speller import Speller, SpellerConfig
from duologue.lm.streams import Layout, Stream
from duologue.lm.text import PAD, TextTokenizer
from duologue.nn.conv import ConvNeXtBlock, lay_out_for_steps
from duologue.nn.int8 import keep_int8
from duologue.nn.weights import holds_int8, pack, read_weights, write_weights

RATE = 16_000
FRAME = 1_280  # samples: 80 ms
FRAME_RATE = RATE / FRAME
SMALL = ("thinker.", "talker.", "codec.decoder.")
"""Parts of a packed model whose matrices are int8. The encoder's are not: a codec that errs writes other codes."""


class SpeechLMConfig(BaseModel):
    """Layouts and sizes of every part."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    thinker_layout: Layout
    thinker: BackboneConfig
    talker_layout: Layout
    talker: BackboneConfig
    speller: SpellerConfig
    pacer: PacerConfig
    codec: SpectralConfig
    sampling: dict[str, Sampling] = {}
    """How predicted streams are sampled while the model talks; those not named take the likeliest token."""

    @model_validator(mode="after")
    def _samples_what_it_predicts(self) -> Self:
        known = {stream.name for layout in (self.thinker_layout, self.talker_layout) for stream in layout.predicted}
        if unknown := sorted(self.sampling.keys() - known):
            raise ValueError(f"sampling of {', '.join(unknown)}, but what is predicted is {', '.join(sorted(known))}")
        return self


def thinker_layout(
    vocabulary: int, *, features: bool = True, user_codes: tuple[int, int] | None = None, phones: int = 0
) -> Layout:
    """The duplex conversation: hears log-mel `features`, `user_codes` (books a frame, cardinality), or both.

    `heard`, the user's words, is predicted and fed back; `text` follows it within the frame. With an inventory of
    `phones` the sounds that the user makes are taught beside them: so it learns to hear words that it seldom met.
    """
    streams: list[Stream] = []
    if features:
        streams.append(Stream(name="user", role="heard", kind="features", size=BANDS, hops=SLOTS))
    if user_codes is not None:
        streams.append(Stream(name="user_codes", role="heard", books=user_codes[0], cardinality=user_codes[1]))
    streams += [
        Stream(name="speaking", role="heard", cardinality=2),
        *([phone_stream(phones)] if phones else []),
        Stream(name="heard", role="predicted", cardinality=vocabulary, pad=PAD, pad_weight=0.3, tied=True),
        Stream(name="text", role="predicted", cardinality=vocabulary, pad=PAD, pad_weight=0.3, shares="heard"),
    ]
    return Layout(name="converse", streams=tuple(streams))


def phone_stream(phones: int) -> Stream:
    """The user's sounds, two labels a frame, silence the first of `phones` + 1; see `duologue.data.phonetics`."""
    return Stream(name="phones", role="taught", cardinality=phones + 1, books=2, weight=0.5, pad=0, pad_weight=0.5)


def talker_layout(phones: int, codec: SpectralConfig) -> Layout:
    """Text to speech: the score of phones is heard, the codes of each frame are predicted."""
    repeats = FRAME // (codec.hop * codec.stride)
    codes = Stream(
        name="codes", role="predicted", cardinality=codec.cardinality, books=repeats * codec.books, tables=codec.books
    )
    return Layout(name="speak", streams=(*score_streams(phones), codes))


class SpeechLM(nn.Module):
    """The model in memory; `duologue.lm.generate.Generator` holds a conversation with it."""

    def __init__(self, config: SpeechLMConfig, tokenizer: TextTokenizer) -> None:
        super().__init__()
        vocabulary = config.thinker_layout["text"].cardinality
        if len(tokenizer) != vocabulary:
            raise ModelError(f"the tokeniser has {len(tokenizer)} pieces, config.json expects {vocabulary}")
        self.config = config
        self.tokenizer = tokenizer
        self.log_mel = LogMel()
        self.thinker = Backbone(config.thinker_layout, config.thinker)
        self.speller = Speller(config.speller)
        self.pacer = Pacer(config.pacer)
        self.talker = Backbone(config.talker_layout, config.talker)
        self.codec = SpectralCodec(config.codec)

    @property
    def codec_frames(self) -> int:
        """Codec frames in one frame of the model."""
        return FRAME // self.codec.frame

    def grow_ears(self, ears: tuple[int, ...]) -> None:
        """Let the thinker hear through more blocks; see `Backbone.grow_ears`."""
        self.thinker.grow_ears(ears)
        self.config = self.config.model_copy(update={"thinker": self.thinker.config})

    def save(self, folder: str | os.PathLike[str], *, packed: bool = False) -> None:
        """Write config.json, model.safetensors and tokenizer.json; `packed`: small, as models are shipped.

        Raises:
            DuologueError: the folder cannot be written.
        """
        folder = Path(folder)
        weights = self.state_dict()
        write_weights(folder / "model.safetensors", pack(weights, SMALL) if packed else weights)
        self.tokenizer.save(folder / "tokenizer.json")
        write_text(folder / "config.json", self.config.model_dump_json(indent=1, exclude_defaults=True) + "\n")

    @classmethod
    def load(cls, folder: str | os.PathLike[str], *, trainable: bool = False) -> SpeechLM:
        """The model in `folder`, in evaluation mode: what was packed as int8 stays so, all else is float32.

        Where it is to be `trainable` all of it is float32.

        Raises:
            ModelError: a file is missing, truncated, or does not fit the others.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise ModelError(f"no model folder at {folder}; it holds config.json, model.safetensors, tokenizer.json")
        path = folder / "config.json"
        if not path.is_file():
            raise ModelError(f"{path} is missing; a model folder holds config.json, model.safetensors, tokenizer.json")
        try:
            config = SpeechLMConfig.model_validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "file"
            raise ModelError(f"{path} is no speech model's configuration: {field}: {first['msg']}") from error
        model = cls(config, TextTokenizer.load(folder / "tokenizer.json"))
        weights = folder / "model.safetensors"
        read_weights(weights, model)
        model.eval()
        if trainable:
            return model
        model.requires_grad_(False)
        if holds_int8(weights):
            for part in (model.thinker, model.talker, model.codec.decoder):
                keep_int8(part)
        lay_out_for_steps(model)
        for module in model.modules():
            if isinstance(module, ConvNeXtBlock):
                module.fuse()
        model.thinker.settle()
        model.talker.settle()
        return model
