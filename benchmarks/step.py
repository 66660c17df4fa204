"""What one frame of conversation costs, part by part, and what the codec costs beside its peers', on this machine.

    python benchmarks/step.py --out runs/step

The model is the one in the box, or where there is none, one of its sizes with random weights; a frame costs the same.
The peers' codecs, Mimi and EnCodec 24 kHz of `transformers`, have random weights of their published configurations and
run at their rates nearest to 1 kbps. All codecs take turns on the same audio, so that a busy moment hits each alike.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

from duologue.atomic import atomic, write_text
from duologue.audio.files import stream
from duologue.audio.resample import resample
from duologue.codec.spectral import SpectralCodec
from duologue.data import domain
from duologue.data.prepare import train_tokenizer
from duologue.lm.generate import ConversationState, Generator
from duologue.lm.model import FRAME, RATE, SpeechLM, SpeechLMConfig, talker_layout, thinker_layout
from duologue.lm.pacer import PacerConfig
from duologue.lm.reader import Reader, ReaderState
from duologue.lm.speller import END, PAUSE, SpellerConfig
from duologue.systems import registry
from duologue.systems.punctual import settle
from duologue.train.curriculum import Curriculum
from duologue.train.recipe import load_recipe

ROOT = Path(__file__).parents[1]
QUESTION = ROOT / "examples" / "question.wav"
WARMUP = 10  # calls of each part before it is timed
PHONES = 41  # of the assistant's voice, `<end>` and `pau` among them
REPLY = 8  # words of a reply that is forced on the model

LISTENING = ("log-mel", "feature encoder", "codec encode", "thinker", "thinker's depth")
"""What every frame runs, as far as the layout asks for it; a frame that speaks runs the others too."""

Milliseconds = np.ndarray


def stand_in() -> SpeechLM:
    """A model of the box's sizes, as its recipe gives them, that has learned nothing."""
    recipe = cast(Curriculum, load_recipe(ROOT / "recipes" / "box.py").config)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = train_tokenizer(Path(folder) / "tokenizer.json")
    torch.manual_seed(0)
    codec, talker = recipe.codec.size, recipe.talker
    phones = (END, PAUSE, *(f"p{number}" for number in range(PHONES - 2)))
    config = SpeechLMConfig(
        name="stand-in",
        thinker_layout=thinker_layout(len(tokenizer)),
        thinker=recipe.thinker.size,
        talker_layout=talker_layout(PHONES, codec),
        talker=talker.size,
        speller=SpellerConfig(phones=phones, transformer=talker.speller),
        pacer=PacerConfig(phones=PHONES, dim=talker.pacer_dim),
        codec=codec,
    )
    model = SpeechLM(config, tokenizer).eval().requires_grad_(False)
    for head in model.thinker.heads.parameters():
        head.zero_()  # all pieces are equally likely, so the first is taken, which says nothing: it speaks when told to
    return model


def clock(call: Callable[[], Any], count: int, before: Callable[[], Any] = lambda: None) -> Milliseconds:
    """Milliseconds of each of `count` calls, (count,); `before` prepares each and is not counted."""
    taken = np.empty(count)
    for index in range(-WARMUP, count):
        before()
        begin = time.perf_counter()
        call()
        if index >= 0:
            taken[index] = 1000 * (time.perf_counter() - begin)
    return taken


class Words:
    """The words of replies that are held out from training, one after the other without an end."""

    def __init__(self, model: SpeechLM, replies: int = 500) -> None:
        self.tokenizer = model.tokenizer
        rng = np.random.default_rng(0)
        # All at once, for thinking them up takes longer than many a part that is timed.
        self._next = cycle([word for _ in range(replies) for word in domain.sample(rng, "dev").reply.split()])

    def __next__(self) -> str:
        return next(self._next)

    def put(self, reader: Reader, state: ReaderState) -> None:
        """Decide one more word of the reply."""
        for piece in self.tokenizer.encode(next(self)):
            reader.put(piece, state, 0)


def parts(model: SpeechLM, frames: list[Tensor], count: int) -> dict[str, Milliseconds]:
    """Milliseconds of each part of a step, run alone; frames (1, 1280)."""
    pcm = cycle(frames)
    codec, words = model.codec, Words(model)
    taken: dict[str, Milliseconds] = {}
    heard = {stream.name for stream in model.config.thinker_layout.heard}
    if "user" in heard:
        mel_state = model.log_mel.init_state(1)
        taken["log-mel"] = clock(lambda: model.log_mel.step(next(pcm), mel_state), count)
        mel = model.log_mel(frames[0])
        encoder: Any = model.thinker.encoders["user"]
        encoder_state = encoder.init_state(1)
        taken["feature encoder"] = clock(lambda: encoder.step(mel, encoder_state), count)
    encode_state = codec.init_encoder(1)
    encode = clock(lambda: codec.encode_step(next(pcm), encode_state), count)
    taken["codec encode" if "user_codes" in heard else "codec encode (not in this model's step)"] = encode
    for name, backbone in (("thinker", model.thinker), ("talker", model.talker)):
        state = backbone.init_state(1)
        x = torch.randn(1, 1, backbone.config.temporal.dim)
        taken[name] = clock(partial(backbone.temporal.step, x, state.temporal), count)
        taken[f"{name}'s depth"] = clock(partial(backbone._write, x[:, 0], state, {}, {}), count)
    reader = Reader(model.tokenizer, model.speller, model.pacer)
    reader_state = reader.init_state(1)

    def supply() -> None:
        if reader.waiting(reader_state, 0) < 2 * REPLY:
            for _ in range(REPLY):
                words.put(reader, reader_state)

    taken["reader"] = clock(lambda: reader.read(reader_state, 0), count, before=supply)
    taken["speller, a word not in its lexicon"] = clock(lambda: model.speller.spell_out(next(words)), count)
    codes = codec.encode(frames[0])
    decode_state = codec.init_decoder(1)
    taken["codec decode"] = clock(lambda: codec.decode_step(codes, decode_state), count)
    return taken


def steps(model: SpeechLM, frames: list[Tensor], count: int) -> dict[str, Milliseconds]:
    """Milliseconds of whole steps: while the user speaks, and while a reply sounds, its words decided one a frame."""
    generator, words = Generator(model), Words(model)
    pcm, silence = cycle(frames), torch.zeros(1, FRAME)
    state = generator.init_state(1)
    listening: list[float] = []
    while len(listening) < count + WARMUP:
        state.reader.reset()  # whatever it has begun to say is left unsaid
        begin = time.perf_counter()
        out = generator.step(next(pcm), state)
        if not out.speaking[0]:
            listening.append(1000 * (time.perf_counter() - begin))
    speaking: list[float] = []
    said = 0
    while len(speaking) < count + WARMUP:
        begin = time.perf_counter()
        said = _reply_on(generator, words, state, said)
        out = generator.step(silence, state)
        if out.speaking[0]:
            speaking.append(1000 * (time.perf_counter() - begin))
    return {"listening": np.array(listening[WARMUP:]), "speaking": np.array(speaking[WARMUP:])}


def _reply_on(generator: Generator, words: Words, state: ConversationState, said: int) -> int:
    """Decide one more word of a reply of `REPLY` words, or begin another once it has been spoken; words said so far."""
    if not generator.reader.busy(state.reader, 0):
        said = 0
    if said < REPLY:
        words.put(generator.reader, state.reader)
    elif said == REPLY:
        generator.reader.finish(state.reader, 0)
    return said + 1


@dataclass(frozen=True)
class Contender:
    """A codec as the comparison sees it: (1, T) at its rate to its codes, and codes to sound."""

    name: str
    rate: int
    kbps: float
    parameters: int
    encode: Callable[[Tensor], Any]
    decode: Callable[[Any], Any]


def contenders(codec: SpectralCodec) -> list[Contender]:
    """Our codec and the peers' with random weights."""
    from transformers import EncodecConfig, EncodecModel, MimiConfig, MimiModel

    torch.manual_seed(0)
    mimi: Any = MimiModel(MimiConfig()).train(False)
    encodec: Any = EncodecModel(EncodecConfig()).train(False)

    def size(module: torch.nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    def mimi_encode(pcm: Tensor) -> Any:
        return mimi.encode(pcm[None], num_quantizers=8).audio_codes

    def mimi_decode(codes: Any) -> Any:
        return mimi.decode(codes).audio_values

    def encodec_encode(pcm: Tensor) -> Any:
        return encodec.encode(pcm[None], bandwidth=1.5)

    def encodec_decode(encoded: Any) -> Any:
        return encodec.decode(encoded.audio_codes, encoded.audio_scales).audio_values

    card = codec.card
    return [
        Contender(card.name, card.sample_rate, card.bitrate / 1000, card.parameters, codec.encode, codec.decode),
        Contender("Mimi", 24_000, 1.1, size(mimi), mimi_encode, mimi_decode),
        Contender("EnCodec", 24_000, 1.5, size(encodec), encodec_encode, encodec_decode),
    ]


def race(codecs: list[Contender], pcm: np.ndarray, repeats: int) -> dict[str, dict[str, float]]:
    """Real-time factors of coding pcm (T,) at 16 kHz whole, the median of `repeats` rounds in which all take turns."""
    seconds = len(pcm) / RATE
    sounds = {codec.name: torch.from_numpy(resample(pcm, RATE, codec.rate))[None] for codec in codecs}
    coded = {codec.name: codec.encode(sounds[codec.name]) for codec in codecs}
    for codec in codecs:
        codec.decode(coded[codec.name])
    taken: dict[tuple[str, str], list[float]] = {}
    for _ in range(repeats):
        for codec in codecs:
            for way, call, given in (
                ("encode", codec.encode, sounds[codec.name]),
                ("decode", codec.decode, coded[codec.name]),
            ):
                begin = time.perf_counter()
                call(given)
                taken.setdefault((codec.name, way), []).append(time.perf_counter() - begin)
    return {
        codec.name: {way: float(np.median(taken[codec.name, way])) / seconds for way in ("encode", "decode")}
        for codec in codecs
    }


def summary(taken: dict[str, Milliseconds]) -> dict[str, dict[str, float]]:
    """Median and 99th percentile of each, in milliseconds."""
    return {name: {"p50": float(np.median(ms)), "p99": float(np.percentile(ms, 99))} for name, ms in taken.items()}


def machine() -> dict[str, Any]:
    """What the figures were taken on, and how busy it was."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    cpu = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())
    return {"cpu": cpu, "cores": os.cpu_count(), "load": os.getloadavg()[0], "torch": torch.__version__}


def show(console: Console, result: dict[str, Any]) -> None:
    """Print the tables and the ratios."""
    threads = list(result["threads"])
    table = Table(box=None, pad_edge=False, title=f"one frame of {1000 * FRAME / RATE:g} ms, {result['model']}")
    table.add_column("ms, p50 (p99)")
    for count in threads:
        table.add_column(f"{count} thread{'s' * (int(count) > 1)}", justify="right")
    first = result["threads"][threads[0]]
    for group, title in (("parts", ""), ("step", "whole step, ")):
        for name in first[group]:
            cells = [result["threads"][count][group].get(name) for count in threads]
            table.add_row(title + name, *(f"{cell['p50']:.2f} ({cell['p99']:.2f})" if cell else "" for cell in cells))
    console.print(table)
    table = Table(box=None, pad_edge=False, title="codecs, offline: real-time factor (times ours)")
    for column in ("codec", "threads", "kbps", "M parameters", "encode", "decode"):
        table.add_column(column, justify="left" if column == "codec" else "right")
    for count in threads:
        factors = result["threads"][count]["codecs"]
        ours = next(iter(factors.values()))
        for name, factor in factors.items():
            facts = result["codecs"][name]
            ways = [f"{factor[way]:.4f} ({factor[way] / ours[way]:.1f}x)" for way in ("encode", "decode")]
            table.add_row(name, count, f"{facts['kbps']:g}", f"{facts['parameters'] / 1e6:.1f}", *ways)
    console.print(table)


def plot(result: dict[str, Any], path: Path) -> None:
    """Draw the parts of a frame as stacked bars and the codecs' real-time factors beside them."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
    bars = {}
    for count, taken in result["threads"].items():
        path_parts = {name: cell["p50"] for name, cell in taken["parts"].items() if "not in" not in name}
        bars[f"{count} speaking"] = path_parts
        bars[f"{count} listening"] = {name: ms for name, ms in path_parts.items() if name in LISTENING}
    colours = pyplot.get_cmap("tab10")
    names = list(next(iter(bars.values())))
    for place, stack in enumerate(bars.values()):
        start = 0.0
        for name, ms in stack.items():
            label = name if place == 0 else None
            left.barh(place, ms, left=start, color=colours(names.index(name) % 10), label=label)
            start += ms
    left.set_yticks(range(len(bars)), list(bars))
    left.set_xlabel("ms a frame of 80 ms (threads, median)")
    left.legend(fontsize=6)
    width = 0.8 / (2 * len(result["threads"]))
    codecs = list(result["codecs"])
    series = [(count, way) for count in result["threads"] for way in ("encode", "decode")]
    for index, (count, way) in enumerate(series):
        factors = [result["threads"][count]["codecs"][name][way] for name in codecs]
        right.bar(np.arange(len(codecs)) + index * width, factors, width, label=f"{way}, {count} thr.")
    right.set_xticks(np.arange(len(codecs)) + 0.4 - width / 2, codecs)
    right.set_yscale("log")
    right.set_ylabel("real-time factor, offline")
    right.legend(fontsize=6)
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def main(
    out: Annotated[Path, typer.Option(help="Where step.json and step.png go.")] = Path("runs/step"),
    model: Annotated[str, typer.Option(help='"box" or a model folder.')] = "box",
    threads: Annotated[list[int] | None, typer.Option(help="Numbers of threads; 1 and 2 by default.")] = None,
    count: Annotated[int, typer.Option(min=10, help="Frames to time for each figure.")] = 300,
    seconds: Annotated[float, typer.Option(min=1, help="Length of the audio that the codecs are given.")] = 4.0,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds of the codecs.")] = 7,
) -> None:
    """Time a step and its parts, and the codec beside its peers."""
    console = Console(highlight=False)
    boxed = model != "box" or registry.BOX.is_dir()
    speech_lm = SpeechLM.load(registry.locate(model)) if boxed else stand_in()
    blocks = list(stream(QUESTION, RATE, FRAME))
    frames = [torch.from_numpy(block)[None] for block in blocks]
    pcm = np.concatenate(list(islice(cycle(blocks), int(seconds * RATE / FRAME))))
    codecs = contenders(speech_lm.codec)
    settle()
    result: dict[str, Any] = {
        "model": speech_lm.config.name if boxed else "random weights of the box's sizes",
        "machine": machine(),
        "count": count,
        "seconds": seconds,
        "repeats": repeats,
        "codecs": {c.name: {"rate": c.rate, "kbps": c.kbps, "parameters": c.parameters} for c in codecs},
        "threads": {},
    }
    if result["machine"]["load"] > 0.5:
        console.print(
            f"note: the machine is busy (load {result['machine']['load']:.1f}); quiet, it is faster than this"
        )
    for number in threads or [1, 2]:
        torch.set_num_threads(number)
        with torch.inference_mode():
            result["threads"][str(number)] = {
                "parts": summary(parts(speech_lm, frames, count)),
                "step": summary(steps(speech_lm, frames, count)),
                "codecs": race(codecs, pcm, repeats),
            }
    show(console, result)
    write_text(out / "step.json", json.dumps(result, indent=1) + "\n")
    plot(result, out / "step.png")
    console.print(f"wrote {out}/step.json and step.png", soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
