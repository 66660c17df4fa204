"""The field's curriculum for one model, step by step: a codec, text, listening, a voice, and the model that ships.

Every step writes its own folder below the run's and is passed over once it is there, so that the same command goes on
where it was stopped. A recipe (`recipes/`) is nothing but the values of a `Curriculum`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from rich.console import Console

from duologue.atomic import write_text
from duologue.codec.spectral import SpectralCodec, SpectralConfig
from duologue.data import domain
from duologue.data.codes import codes_a_frame
from duologue.data.labels import phone_inventory, phone_labels
from duologue.data.manifest import Entry, Manifest, read
from duologue.data.prepare import dictionary_phones, train_tokenizer
from duologue.data.sources import trained_on
from duologue.data.splits import Split, speaker_split, voice_split
from duologue.data.synthesize import Line, Voice, random_voice, synthesize
from duologue.eval.metrics import word_errors
from duologue.eval.recognize import domain_recognizer
from duologue.lm.backbone import Backbone, BackboneConfig
from duologue.lm.model import SpeechLM, SpeechLMConfig, talker_layout, thinker_layout
from duologue.lm.pacer import PacerConfig
from duologue.lm.sampling import Sampling
from duologue.lm.speak import speak
from duologue.lm.speller import SpellerConfig
from duologue.lm.streams import Layout
from duologue.lm.text import TextTokenizer
from duologue.nn.transformer import TransformerConfig
from duologue.train import checkpoint, distributed
from duologue.train.codec import CodecTask, CodecTraining, FrameLabels
from duologue.train.listening import (
    DENSE,
    ListenRecipe,
    ScenesRecipe,
    Settings,
    evaluate_text,
    keep_ears,
    listening,
    text_sources,
)
from duologue.train.loop import LoopConfig, train
from duologue.train.progress import counting
from duologue.train.talker import Example, TalkerTask, TalkerTraining
from duologue.train.task import on_cpu
from duologue.train.thinker import ThinkerTask, ThinkerTraining
from duologue.train.voice import VoiceCorpus, encode_voice, practice_lines, say_lines

SENTENCE = 32_000
"""A recording of more samples than this, two seconds, is taken for a sentence, a shorter one for a word."""
MADE = "made.json"
SAMPLES = ("the answer is forty two", "hello how can i help you")
"""What the voice says to be listened to while it learns."""


class Made(Settings):
    """How a model came to be, left beside it for its card."""

    recipe: str
    seed: int
    voice: str
    trained_on: tuple[str, ...]


class ThinkerRecipe(ListenRecipe):
    """The thinker's size and its stages."""

    size: BackboneConfig
    hears: Literal["features", "codes", "both"] = "features"
    """The user as log-mel features, as the codec's codes, or both."""
    phones: bool = True
    """Whether it also writes down the sounds of the user, which teaches it to hear words that it seldom met."""
    text: LoopConfig
    listen: LoopConfig
    training: ThinkerTraining = ThinkerTraining()
    finish: LoopConfig | None = None
    """Listening once more, at the rates of `finish_training`; None: not."""
    finish_training: ThinkerTraining = ThinkerTraining(lr=5e-4, muon_lr=1e-3)


class CodecRecipe(Settings):
    """The codec's size and its two stages: all of it, then its decoder alone with the codes kept."""

    size: SpectralConfig = SpectralConfig()
    users: int = 3000
    """Utterances in other synthetic voices that it learns beside the assistant's and real people's."""
    whole: LoopConfig
    whole_training: CodecTraining = CodecTraining()
    decoder: LoopConfig
    decoder_training: CodecTraining = CodecTraining(decoder_only=True)


class TalkerRecipe(Settings):
    """The talker's size, and what the voice practises: different replies, and passes over the vocabulary."""

    size: BackboneConfig
    speller: TransformerConfig
    pacer_dim: int = 192
    loop: LoopConfig
    training: TalkerTraining = TalkerTraining()
    replies: int = 4200
    passes: int = 5


class Curriculum(ScenesRecipe):
    """A whole model, from nothing."""

    name: str
    thinker: ThinkerRecipe
    codec: CodecRecipe
    talker: TalkerRecipe
    sampling: dict[str, Sampling] = Field(default_factory=dict)
    """How the streams are sampled while the model talks; those not named take the likeliest token."""


def run(config: Curriculum, folder: Path, console: Console | None) -> dict[str, float]:
    """Take every step of the curriculum and leave the packed model in `folder / "model"`.

    Under torchrun the first process makes the files, while the others wait for them.

    Returns:
        what each stage measured last on the development split, running freely; nothing on processes but the first.
    """
    first = distributed.start(distributed.device_for(config.codec.whole.device)).first
    console = console if first else None
    record = config.model_dump(mode="json")
    path = folder / "tokenizer.json"
    with distributed.first_alone():
        tokenizer = TextTokenizer.load(path) if path.is_file() else train_tokenizer(path)
    sources = trained_on(config.voice, config.speech)
    users, voice = _speakers(config, folder, console)
    codec, resynthesised = _codec(config, users, voice, folder, record, console)
    thinker, heard = _thinker(config, tokenizer, codec, folder, record, console)
    with distributed.first_alone():
        corpus = encode_voice(folder / "voice", codec, tokenizer)
    model = _assemble(config, tokenizer, thinker, codec, corpus)
    said = _talker(config, model, corpus, folder, record, console)
    if first:
        model.save(folder / "model", packed=True)
        made = Made(recipe=config.name, seed=config.seed, voice=config.voice.name, trained_on=sources)
        write_text(folder / "model" / MADE, made.model_dump_json(indent=1) + "\n")
    return resynthesised | heard | said


# ---- the thinker ------------------------------------------------------------------------------------------------


def _layout(config: Curriculum, tokenizer: TextTokenizer, codec: SpectralCodec) -> Layout:
    hears = config.thinker.hears
    codes = None if hears == "features" else (codes_a_frame(codec), codec.card.cardinality)
    phones = len(dictionary_phones(config.voice)) if config.thinker.phones else 0
    return thinker_layout(len(tokenizer), features=hears != "codes", user_codes=codes, phones=phones)


def _thinker(
    config: Curriculum,
    tokenizer: TextTokenizer,
    codec: SpectralCodec,
    folder: Path,
    record: dict[str, Any],
    console: Console | None,
) -> tuple[Backbone, dict[str, float]]:
    """Text alone until the words are right, then scenes of full-duplex conversation."""
    recipe = config.thinker
    torch.manual_seed(config.seed)
    model = Backbone(_layout(config, tokenizer, codec), recipe.size)
    texts = text_sources(recipe, tokenizer, 1.0, DENSE)
    task = ThinkerTask(model, texts, recipe.training, lambda model: evaluate_text(model, tokenizer))
    train(task, recipe.text, folder / "text", console=console, recipe=record)
    checkpoint.load_weights(model, folder / "text")
    ears = None if recipe.hears == "features" else keep_ears(codec, folder)
    sources, evaluate = listening(config, recipe, tokenizer, folder, ears, console)
    task = ThinkerTask(model, sources, recipe.training, evaluate)
    done = train(task, recipe.listen, folder / "listen", console=console, recipe=record)
    checkpoint.load_weights(model, folder / "listen")
    if recipe.finish is not None:
        task = ThinkerTask(model, sources, recipe.finish_training, evaluate)
        done = train(task, recipe.finish, folder / "finish", console=console, recipe=record)
        checkpoint.load_weights(model, folder / "finish")
    return model, done.validation


# ---- the voice --------------------------------------------------------------------------------------------------


def _speakers(config: Curriculum, folder: Path, console: Console | None) -> tuple[Manifest, Manifest]:
    """Say the lines of the codec's synthetic speakers, and those that the assistant's voice practises."""
    rng = np.random.default_rng([config.seed, 1])
    lines = practice_lines(rng, config.codec.users, 0)
    drawn: list[Voice] = []
    while len(drawn) < len(lines):
        voice = random_voice(rng)
        if voice_split(voice.engine, voice.name) == "train":
            drawn.append(voice)
    said = [Line(f"{index:06d}", line, voice) for index, (line, voice) in enumerate(zip(lines, drawn, strict=True))]
    with distributed.first_alone(), counting("users", "lines", console) as report:
        users = synthesize(said, folder / "users", config.workers, report)
    practice = practice_lines(np.random.default_rng([config.seed, 2]), config.talker.replies, config.talker.passes)
    with distributed.first_alone(), counting("voice", "lines", console) as report:
        say_lines(practice, config.voice, folder / "voice", config.workers, report)
    return users, read(folder / "voice" / "manifest.jsonl")


def _real(speech: Path | None, split: Split) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Clips of real people of one split: those long enough for a sentence, and single words."""
    sentences: list[np.ndarray] = []
    words: list[np.ndarray] = []
    for path in sorted(speech.glob("*/manifest.jsonl")) if speech is not None else []:
        manifest = read(path)
        for entry in manifest:
            if entry.speaker and entry.lang == "en" and speaker_split(entry.speaker) == split:
                clip = manifest.pcm(entry)
                (sentences if len(clip) > SENTENCE else words).append(clip)
    return sentences, words


def _phones(said: Mapping[str, Sequence[Entry]], frame: int) -> FrameLabels:
    """What the synthetic voices say in each codec frame of their utterances; nobody knows it of real people."""
    inventory = phone_inventory(entry for entries in said.values() for entry in entries)
    frames = {name: [phone_labels(entry, inventory, frame) for entry in said[name]] for name in said}
    return FrameLabels(len(inventory), frames)


def _codec(
    config: Curriculum, users: Manifest, voice: Manifest, folder: Path, record: dict[str, Any], console: Console | None
) -> tuple[SpectralCodec, dict[str, float]]:
    """Learn the codec on all speakers, then sharpen its decoder; the codes do not change after the first stage."""
    recipe = config.codec
    own = [voice.samples(entry) for entry in voice]
    held = max(1, min(24, len(own) // 20))
    sentences, words = _real(config.speech, "train")
    sources: dict[str, tuple[float, Sequence[np.ndarray]]] = {
        "assistant": (0.3, own[held:]),
        "synthetic": (0.15 if sentences else 0.7, [users.samples(entry) for entry in users]),
    }
    held_out: dict[str, Sequence[np.ndarray]] = {"assistant": own[:held]}
    if sentences:
        sources["sentences"] = (0.4, sentences)
        held_out["sentences"] = _real(config.speech, "dev")[0][:24]
    if words:
        sources["words"] = (0.15, words)
    torch.manual_seed(config.seed)
    codec = SpectralCodec(recipe.size)
    said = {"assistant": voice.entries[held:], "synthetic": users.entries}
    labels = _phones(said, codec.frame) if recipe.whole_training.semantic else None
    task = CodecTask(codec, recipe.whole_training, sources, held_out, labels)
    train(task, recipe.whole, folder / "codec", console=console, recipe=record)
    checkpoint.load_weights(codec, folder / "codec", prefix="codec.")
    task = CodecTask(codec, recipe.decoder_training, sources, held_out)
    done = train(task, recipe.decoder, folder / "decoder", console=console, recipe=record)
    checkpoint.load_weights(codec, folder / "decoder", prefix="codec.")
    return codec.eval(), {f"codec/{name}": value for name, value in done.validation.items()}


def _assemble(
    config: Curriculum, tokenizer: TextTokenizer, thinker: Backbone, codec: SpectralCodec, corpus: VoiceCorpus
) -> SpeechLM:
    """Put the trained parts into one model whose talker, speller and pacer are new."""
    torch.manual_seed(config.seed)
    model = SpeechLM(
        SpeechLMConfig(
            name=config.name,
            thinker_layout=thinker.layout,
            thinker=thinker.config,
            talker_layout=talker_layout(len(corpus.inventory), codec.config),
            talker=config.talker.size,
            speller=SpellerConfig(
                phones=corpus.inventory,
                transformer=config.talker.speller,
                lexicon={word: " ".join(phones) for word, phones in corpus.lexicon},
            ),
            pacer=PacerConfig(phones=len(corpus.inventory), dim=config.talker.pacer_dim),
            codec=codec.config,
            sampling=config.sampling,
        ),
        tokenizer,
    )
    model.thinker.load_state_dict(thinker.state_dict())
    model.codec.load_state_dict(codec.state_dict())
    return model


def evaluate_speaking(model: SpeechLM, held: Sequence[Example], lexicon: VoiceCorpus) -> dict[str, float]:
    """Codes right without any history to lean on, words spelled right, and how many words of its free speech a
    recogniser takes for others."""
    inventory = lexicon.inventory
    task = TalkerTask(model.talker, model.pacer, model.speller, held, lexicon.lexicon, TalkerTraining(), dict)
    batch = task.batch(held, np.random.default_rng(0))
    _, logits = model.talker(batch, {"codes": torch.full_like(batch["codes"], -1)})
    known = batch["codes"] >= 0
    words = lexicon.lexicon[::20]
    spelled = [model.speller.spell_out(word) == [inventory.index(phone) for phone in phones] for word, phones in words]
    rng = np.random.default_rng(0)
    replies = [domain.sample(rng, "dev").reply for _ in range(24)]
    understood = domain_recognizer().transcribe_many([speak(model, reply).numpy() for reply in replies], workers=1)
    return {
        "speak/wer": word_errors(replies, understood).rate,
        "speak/codes_right": float((logits["codes"].argmax(-1) == batch["codes"])[known].float().mean()),
        "speak/words_spelled": float(np.mean(spelled)),
    }


def _talker(
    config: Curriculum,
    model: SpeechLM,
    corpus: VoiceCorpus,
    folder: Path,
    record: dict[str, Any],
    console: Console | None,
) -> dict[str, float]:
    """Teach the voice its score, its pace and its spelling."""
    recipe = config.talker
    held = max(1, min(96, len(corpus.examples) // 20))

    def evaluate() -> dict[str, float]:
        with on_cpu(task.modules):
            return evaluate_speaking(model, corpus.examples[:held], corpus)

    def listen() -> dict[str, np.ndarray]:
        with on_cpu(task.modules):
            return {text: speak(model, text).numpy() for text in SAMPLES}

    task = TalkerTask(
        model.talker,
        model.pacer,
        model.speller,
        corpus.examples[held:],
        corpus.lexicon,
        recipe.training,
        evaluate,
        listen,
    )
    done = train(task, recipe.loop, folder / "speak", console=console, recipe=record)
    checkpoint.load_weights(task.modules, folder / "speak")
    return done.validation
