"""From nothing to training shards: scenes are drawn, composed, degraded and turned into features, labels and codes.

A chunk of 64 scenes is a pure function of the settings and its number, and its shards appear whole or not at all. So
any number of workers give the same files, a run that was stopped goes on where it stood, and more scenes may be asked
for later.
"""

from __future__ import annotations

import bisect
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from duologue.atomic import write_text
from duologue.audio.augment import Augmenter
from duologue.audio.features import LogMel
from duologue.codec.spectral import SpectralCodec
from duologue.data import domain
from duologue.data.codes import codec_digest, codes_a_frame, encode_frames
from duologue.data.dialogues import (
    BACKCHANNELS,
    Pcm,
    Scene,
    SceneConfig,
    Turn,
    compose,
    frame_labels,
    with_aside,
    with_echo,
)
from duologue.data.phonetics import PER_FRAME, inventory_of, phone_track
from duologue.data.recordings import Recordings
from duologue.data.revoice import Throat, revoice
from duologue.data.shards import ShardReader, ShardWriter
from duologue.data.splits import ASSISTANT, Split, voice_split
from duologue.data.spoken import Spoken
from duologue.data.synthesize import Voice, pronounce, speak, voices
from duologue.data.workers import in_workers
from duologue.errors import DataError
from duologue.lm.text import TextTokenizer
from duologue.provenance import digest

CHUNK = 64  # scenes
DEATHS = 3  # of workers, one after the other, before the run is given up
LABELS = 4 + PER_FRAME  # columns: heard, text, speaking, mask, and the phones of the user
SETTINGS = "prepare.json"
RATE, PITCH = (110, 240), (20, 80)
FLITE_RATE, FLITE_PITCH = (130, 233), (38, 99)  # durations x .75 to 1.35; about 80 to 165 Hz for a man's voice
VOLUME = (60, 120)
SNR_DB = (0.0, 30.0)
DRILLED = (5, 7)  # questions
DICTATED = 14  # sentences at most; a scene ends when it is full
DICTATED_WORDS, DICTATED_READING = 0.15, 0.2  # shares of the dictations by real people
ASIDE_READING = 0.5  # share of the side talk that is by real people
DICTATION = {
    "stretch_share": 0.0,
    "barge_in_share": 0.0,
    "aside_share": 0.0,
    "lead": (0.1, 0.4),
    "tail": (0.3, 0.4),
    "gap": (0.2, 0.5),
    "pause_share": 0.0,
}

log = logging.getLogger(__name__)


class Shares(BaseModel):
    """How often each kind of scene is drawn; only the proportions count."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dialogue: float = Field(0.72, ge=0)
    words: float = Field(0.20, ge=0)
    unknown: float = Field(0.03, ge=0)
    silence: float = Field(0.05, ge=0)
    dictation: float = Field(0.0, ge=0)
    """One sentence upon another, each in another voice and answered by nobody: as much speech in a minute as can be."""
    drills: float = Field(0.0, ge=0)
    """Arithmetic and what else is worked out, one question upon another."""


class PrepareConfig(BaseModel):
    """What to draw, from whom, and where to put it.

    `speech` is a folder of real recordings; without it all voices are synthetic. `assistant` is the voice of the
    replies, and no user's. A `tokenizer` that is not there yet is trained. `revoiced_share` of the speakers get another
    throat. `clean_share` of the scenes skip the rooms, noises and lines, which spare many others besides. With the
    folder of a `codec` the user's codes are kept as well. `workers` changes nothing but the time it takes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path
    tokenizer: Path
    scenes: int = Field(ge=1)
    seed: int = Field(0, ge=0)
    split: Split = "train"
    speech: Path | None = None
    turns: tuple[int, int] = (1, 5)
    shares: Shares = Shares()
    espeak_share: float = Field(0.75, ge=0, le=1)
    clean_share: float = Field(0.3, ge=0, le=1)
    revoiced_share: float = Field(0.0, ge=0, le=1)
    scene: SceneConfig = SceneConfig()
    assistant: Voice = Voice(engine="flite", name=ASSISTANT)
    codec: Path | None = None
    workers: int = Field(1, ge=1)


class SceneDrawer:
    """Draws scenes of one split: who speaks, what is said, and how it sounds at the microphone.

    Raises:
        DataError: the split has no synthetic voice on this machine, or the assistant's voice is missing.
    """

    def __init__(self, config: PrepareConfig, tokenizer: TextTokenizer) -> None:
        self.config, self.tokenizer = config, tokenizer
        self.recordings = Recordings(config.speech, config.split) if config.speech else None
        sounds = (self.recordings.noises, self.recordings.rooms) if self.recordings else ([], [])
        # The scene has drawn the level already.
        self.inventory = dictionary_phones(config.assistant)
        self.augmenter = Augmenter(*sounds, gain=0.0, snr_db=SNR_DB)
        users = [voice for voice in voices() if voice.speaker != config.assistant.speaker]
        ours = [voice for voice in users if voice_split(voice.engine, voice.name) == config.split]
        self.espeak = [voice for voice in ours if voice.engine == "espeak"]
        self.others = [voice for voice in ours if voice.engine != "espeak"]
        if not ours:
            raise DataError(f"this machine has no synthetic voice of the {config.split} split; install espeakng-loader")
        assistant = config.assistant
        if assistant.speaker not in {voice.speaker for voice in voices()}:
            raise DataError(f"replies need the voice {assistant.speaker}; install the program {assistant.engine}")

    def voice(self, rng: np.random.Generator) -> Voice:
        """A user's voice: any voice of the split, at any everyday rate, pitch and volume."""
        espeak = bool(self.espeak) and (not self.others or rng.random() < self.config.espeak_share)
        group = self.espeak if espeak else self.others
        voice = group[int(rng.integers(len(group)))]
        rate, pitch = (FLITE_RATE, FLITE_PITCH) if voice.engine == "flite" else (RATE, PITCH)
        changes = {
            "rate": int(rng.integers(*rate, endpoint=True)),
            "pitch": int(rng.integers(*pitch, endpoint=True)),
            "pitch_range": int(np.clip(rng.normal(50, 18), 5, 95)),
            "volume": int(rng.integers(*VOLUME)),
            "word_gap": int(rng.integers(1, 6)) if espeak and rng.random() < 0.2 else 0,
        }
        return voice.model_copy(update=changes)

    def speaker(self, rng: np.random.Generator) -> Callable[[Spoken], Spoken]:
        """What is done to all that one person says: perhaps it comes from another throat."""
        if rng.random() >= self.config.revoiced_share:
            return lambda spoken: spoken
        throat = Throat.draw(rng)
        return lambda spoken: revoice(spoken, throat)

    def dialogue(self, rng: np.random.Generator, drilled: bool = False) -> tuple[list[Turn], list[Spoken]]:
        """Turns in one synthetic voice, and a backchannel in it; a conversation, or drills."""
        low, high = DRILLED if drilled else self.config.turns
        voice, change = self.voice(rng), self.speaker(rng)
        draw = domain.drills if drilled else domain.dialogue
        exchanges = draw(rng, self.config.split, int(rng.integers(low, high, endpoint=True)))
        turns = [Turn(said, change(speak(said.user, voice)), self.reply(said)) for said in exchanges]
        if rng.random() >= 2 * self.config.scene.backchannel_share:
            return turns, []
        text = list(BACKCHANNELS)[int(rng.integers(len(BACKCHANNELS)))]
        spoken = change(speak(BACKCHANNELS[text], voice))
        return turns, [Spoken(spoken.pcm, [(text, spoken.words[0][1], spoken.words[-1][2])], [])]

    def pronounce(self, word: str) -> list[str]:
        """The phones of a word as the assistant's synthesiser knows them."""
        return pronounce(word, self.config.assistant)

    def reply(self, exchange: domain.Exchange) -> Spoken | None:
        """What the assistant's voice says."""
        return _reply(exchange.reply, self.config.assistant)

    def words(self, rng: np.random.Generator) -> list[Turn]:
        """Single words by a real person."""
        drawn = self.recordings.draw_words(rng, int(rng.integers(2, 6))) if self.recordings else []
        change = self.speaker(rng)
        turns: list[Turn] = []
        for spoken, bounds in drawn:
            exchange = domain.understand(spoken.words[0][0], [turn.exchange for turn in turns])
            turns.append(Turn(exchange, change(spoken), self.reply(exchange), bounds=bounds))
        return turns

    def unknown(self, rng: np.random.Generator) -> list[Turn]:
        """Stretches of books read aloud, which the system says it does not understand."""
        exchange = domain.understand("")
        drawn = [self.recordings.draw_reading(rng) for _ in range(int(rng.integers(1, 4)))] if self.recordings else []
        readings = [said for said in drawn if said is not None]
        return [Turn(exchange, said, self.reply(exchange), known=False) for said in readings]

    def dictation(self, rng: np.random.Generator) -> list[Turn]:
        """Requests and words in no order, which only their sound tells; or real people's words, or their reading."""
        source = rng.random() if self.recordings is not None else 1.0
        if self.recordings is not None and source < DICTATED_WORDS + DICTATED_READING:
            draw = self.recordings.draw_words if source < DICTATED_WORDS else self.recordings.draw_sentences
            return [
                Turn(
                    _dictated(" ".join(word for word, _, _ in said.words)), self.speaker(rng)(said), None, bounds=bounds
                )
                for said, bounds in draw(rng, DICTATED)
            ]
        texts = [domain.dictation(rng, self.config.split) for _ in range(DICTATED)]
        return [Turn(_dictated(text), self.speaker(rng)(speak(text, self.voice(rng))), None) for text in texts]

    def aside(self, rng: np.random.Generator) -> Pcm:
        """Somebody who talks, but not to the system: a stretch of a book, or any words, in any voice."""
        reading = self.recordings.draw_reading(rng) if self.recordings and rng.random() < ASIDE_READING else None
        return (reading or speak(domain.dictation(rng, self.config.split), self.voice(rng))).pcm

    def draw(self, rng: np.random.Generator) -> tuple[Scene, Pcm]:
        """A scene and what the microphone hears of it, (T,) float32."""
        shares, settings = self.config.shares, self.config.scene
        weights = np.array(
            [shares.dialogue, shares.words, shares.unknown, shares.silence, shares.dictation, shares.drills]
        )
        if self.recordings is None:
            weights[1:3] = 0.0
        turns: list[Turn] = []
        sounds: list[Spoken] = []
        kind = int(rng.choice(len(weights), p=weights / weights.sum()))
        match kind:
            case 0:
                turns, sounds = self.dialogue(rng)
            case 1:
                turns = self.words(rng)
            case 2:
                turns = self.unknown(rng)
            case 4:
                turns, settings = self.dictation(rng), settings.model_copy(update=DICTATION)
            case 5:
                turns, sounds = self.dialogue(rng, drilled=True)
        scene = compose(turns, rng, settings, self.tokenizer, _complete, sounds)
        scene.answered = kind != 4
        heard = with_echo(scene, rng, settings)
        if scene.turns and rng.random() < settings.aside_share:
            heard = with_aside(scene, heard, self.aside(rng), rng, settings)
        return scene, heard if rng.random() < self.config.clean_share else self.augmenter(heard, rng)


def _dictated(text: str) -> domain.Exchange:
    return domain.Exchange(text, reply="", category="dictation", key=f"dictation:{text}", wording="", content="")


def _complete(text: str, said: Sequence[domain.Exchange]) -> bool:
    """Whether a text is a request by itself after the exchanges said."""
    return domain.understand(text, said).category != "unknown"


@lru_cache(maxsize=8192)
def _reply(text: str, assistant: Voice) -> Spoken | None:
    """What the assistant's voice says; None where there is nothing to say. Many replies repeat."""
    return speak(text, assistant) if text else None


def _name(config: PrepareConfig, kind: str, chunk: int) -> Path:
    return config.folder / f"{kind}-{chunk:05d}"


def _size(config: PrepareConfig, chunk: int) -> int:
    """Scenes of a chunk."""
    return min(CHUNK, config.scenes - chunk * CHUNK)


def _done(config: PrepareConfig, chunk: int) -> bool:
    """Whether a chunk is there with all its scenes; the last one of a run that asked for fewer has not all."""
    kinds = ("features", "labels") if config.codec is None else ("features", "labels", "codes")
    names = [_name(config, kind, chunk) for kind in kinds]
    there = all(name.with_suffix(".json").is_file() for name in names)
    return there and len(ShardReader(names[-1])) >= _size(config, chunk)


@lru_cache(maxsize=2)
def dictionary_phones(voice: Voice) -> tuple[str, ...]:
    """The phones that a voice's synthesiser says the domain's words with; every fourth word has them all."""
    return inventory_of(domain.vocabulary()[::4], lambda word: pronounce(word, voice))


_drawer: SceneDrawer | None = None
_codec: SpectralCodec | None = None


def _start(config: PrepareConfig) -> None:
    global _drawer, _codec
    torch.set_num_threads(1)
    _drawer = SceneDrawer(config, TextTokenizer.load(config.tokenizer))
    _codec = None if config.codec is None else SpectralCodec.load(config.codec)


@torch.no_grad()
def _run(config: PrepareConfig, chunk: int) -> None:
    """Write the shards of a chunk."""
    assert _drawer is not None
    mel = LogMel()
    rng = np.random.default_rng([config.seed, chunk])
    with ExitStack() as stack:
        labels = stack.enter_context(ShardWriter(_name(config, "labels", chunk), np.int16, LABELS))
        features = stack.enter_context(ShardWriter(_name(config, "features", chunk), np.float16, 80))
        if _codec is not None:
            codes = stack.enter_context(ShardWriter(_name(config, "codes", chunk), np.int16, codes_a_frame(_codec)))
        for _ in range(_size(config, chunk)):
            scene, heard = _drawer.draw(rng)
            features.append(mel(torch.from_numpy(heard)[None])[0].numpy().astype(np.float16))
            phones = phone_track(scene, _drawer.pronounce, _drawer.inventory)
            labels.append(np.hstack([frame_labels(scene, _drawer.tokenizer), phones]))
            if _codec is not None:
                codes.append(encode_frames(_codec, heard))


def train_tokenizer(path: Path, sentences: int = 40_000) -> TextTokenizer:
    """Train the tokenizer on what the domain says in training, questions and replies, and write it to `path`."""
    rng = np.random.default_rng(0)
    lines: list[str] = []
    while len(lines) < sentences:
        for exchange in domain.dialogue(rng, "train", 4):
            lines += [exchange.user, exchange.reply]
    tokenizer = TextTokenizer.train(lines, domain.vocabulary())
    tokenizer.save(path)
    return tokenizer


def _remember(config: PrepareConfig) -> None:
    """Note the settings in the folder, or compare them with those that are there; there may be more scenes now."""
    values = config.model_dump(mode="json", exclude={"folder", "workers", "codec"})
    if config.codec is not None:
        values["codec"] = codec_digest(config.codec)
    path = config.folder / SETTINGS
    if path.is_file():
        before = json.loads(path.read_text())
        if before | {"scenes": config.scenes} != values:
            raise DataError(f"{config.folder} was begun with other settings ({SETTINGS}); choose another folder")
        if before["scenes"] > config.scenes:
            raise DataError(
                f"{config.folder} holds {before['scenes']} scenes, not {config.scenes}; ask for as many or more, or "
                "choose another folder"
            )
    write_text(path, json.dumps(values, indent=1) + "\n")


def prepare(config: PrepareConfig, report: Callable[[int, int], None] | None = None) -> SceneShards:
    """Write all chunks that are not there yet and open them.

    Args:
        report: called at once and after each chunk with the number of scenes that are there and that there are to be.

    Raises:
        DataError: the folder holds shards of other settings, or voices, recordings or the codec are missing.
    """
    if config.speech is None:
        log.warning("no folder of real speech is given: all voices and rooms are synthetic")
    if not config.tokenizer.is_file():
        train_tokenizer(config.tokenizer)
    _remember(config)
    chunks = range(-(-config.scenes // CHUNK))
    todo = [chunk for chunk in chunks if not _done(config, chunk)]
    ready = config.scenes - sum(_size(config, chunk) for chunk in todo)
    if report is not None:
        report(ready, config.scenes)
    for chunk in _written(config, todo):
        ready += _size(config, chunk)
        if report is not None:
            report(ready, config.scenes)
    return SceneShards(config.folder)


def _written(config: PrepareConfig, chunks: list[int]) -> Iterator[int]:
    """Write chunks, in this process where one worker is enough; yields each as it is done."""
    if config.workers == 1 or len(chunks) < 2:
        if chunks:
            _start(config)
        for chunk in chunks:
            _run(config, chunk)
            yield chunk
        return
    deaths = 0
    while chunks:
        workers = min(config.workers, len(chunks))
        try:
            for chunk, _ in in_workers(partial(_run, config), chunks, workers, partial(_start, config)):
                deaths = 0
                yield chunk
            return
        except BrokenProcessPool as error:
            # A synthesiser's library may bring its process down once in many thousand sentences. Chunks are whole or
            # absent, so what is absent is done by new workers.
            deaths += 1
            if deaths == DEATHS:
                raise DataError(f"{config.folder}: workers die before they finish a chunk; is memory short?") from error
            log.warning("a worker died; the chunks it held are begun again")
            chunks = [chunk for chunk in chunks if not _done(config, chunk)]


class SceneShards:
    """Prepared scenes: `len(shards)` and `shards[i]`, views on the files.

    Raises:
        DataError: the folder holds no prepared scenes, or a shard is damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        names = sorted(path.stem for path in Path(folder).glob("features-*.json"))
        if not names:
            raise DataError(f"no prepared scenes in {folder}; run prepare with this folder first")
        self._folder = Path(folder)
        self.features = self._readers(names, "features")
        self.labels = self._readers(names, "labels")
        self.user_codes = self._readers(names, "codes") if any(self._folder.glob("codes-*.json")) else []
        self.starts = np.cumsum([0, *map(len, self.features)]).tolist()

    def _readers(self, names: Sequence[str], kind: str) -> list[ShardReader]:
        return [ShardReader(self._folder / name.replace("features", kind)) for name in names]

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def frames(self) -> int:
        """Frames of 80 ms in all scenes together."""
        return sum(shard.rows for shard in self.labels)

    @property
    def books(self) -> int:
        """Codes of the user in each frame; 0 where the scenes were prepared without a codec."""
        return self.user_codes[0].width or 0 if self.user_codes else 0

    def fingerprint(self) -> str:
        """Digest of all that the shards hold."""
        shards = (*self.features, *self.labels, *self.user_codes)
        return digest(shard.fingerprint().encode() for shard in shards)

    def __getitem__(self, index: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Features (8F, 80) float16 and labels (F, 6) int16 of a scene."""
        shard, item = self._place(index)
        return self.features[shard][item], self.labels[shard][item]

    def codes(self, index: int) -> NDArray[Any]:
        """The user's codes (F, books) int16 in a scene.

        Raises:
            DataError: the scenes were prepared without a codec.
        """
        if not self.user_codes:
            raise DataError(f"{self._folder} holds no codes of the user; prepare it with a codec")
        shard, item = self._place(index)
        return self.user_codes[shard][item]

    def _place(self, index: int) -> tuple[int, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"scene {index} of {len(self)}")
        shard = bisect.bisect_right(self.starts, index) - 1
        return shard, index - self.starts[shard]
