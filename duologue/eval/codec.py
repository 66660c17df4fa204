"""What a codec keeps of speech: intelligibility, quality and recognised words of held-out clips, before and after.

    python -m duologue.eval.codec --codec runs/codec --split dev --out runs/codec/eval --clips 40

Clips come in groups: the assistant's voice, other synthetic voices, people reading, and people saying single words.
Two recognisers that are not ours count words: one that knows the domain, which is kind, and one of general English.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console

from duologue.atomic import write_text
from duologue.audio.files import load
from duologue.audio.resample import resample
from duologue.codec.base import Codec
from duologue.data import domain
from duologue.data.manifest import read
from duologue.data.recordings import READING, WORDS
from duologue.data.splits import ASSISTANT, Split, speaker_split, voice_split
from duologue.data.synthesize import speak
from duologue.data.voices import ENGINES, Voice, voices
from duologue.errors import DataError, DuologueError
from duologue.eval.metrics import RATE, Interval, Pcm, bootstrap, codebook_use, pesq, ratio, stoi, word_errors
from duologue.eval.recognize import GeneralRecognizer, Recognizer, domain_recognizer, normalize
from duologue.eval.report.contents import Grid
from duologue.eval.report.text import markdown_table, terminal_table
from duologue.systems.registry import load_codec

Figures = dict[str, Any]
Group = Literal["assistant", "synthetic", "reading", "words"]
GROUPS: dict[Group, str] = {
    "assistant": "the assistant's voice, replies of the domain",
    "synthetic": "held-out synthetic voices, the same kind of replies",
    "reading": "held-out people reading books",
    "words": "held-out people saying single words",
}
SHORTEST = 1.0  # seconds of a clip whose intelligibility and quality can be told


@dataclass(frozen=True)
class Clip:
    """A held-out clip: (T,) float32 at 16 kHz, and what is said in it as the recogniser spells words."""

    group: Group
    pcm: Pcm
    text: str


def held_out(split: Split, count: int, speech: Path | None = None) -> list[Clip]:
    """`count` clips of each group, of as many speakers as possible; without `speech` synthetic ones alone.

    Raises:
        DataError: a corpus or a synthesiser is missing.
    """
    rng = np.random.default_rng(5)
    ours = [[voice for voice in voices(engine) if voice_split(engine, voice.name) == split] for engine in ENGINES]
    ours = [group for group in ours if group]
    if not ours:
        raise DataError(f"this machine has no synthetic voice of the {split} split; install espeakng-loader")
    slt = Voice(engine="flite", name=ASSISTANT)
    clips: list[Clip] = []
    synthetic: tuple[Group, ...] = ("assistant", "synthetic")
    for group in synthetic:
        for _ in range(count):
            text = domain.sample(rng, split).reply
            others = ours[int(rng.integers(len(ours)))]  # the engine first: espeak has hundreds of voices, others few
            voice = slt if group == "assistant" else others[int(rng.integers(len(others)))]
            clips.append(Clip(group, speak(text, voice).pcm, normalize(text)))
    if speech is None:
        return clips
    return [
        *clips,
        *_people("reading", [READING], split, count, speech),
        *_people("words", WORDS, split, count, speech),
    ]


def _people(group: Group, corpora: Iterable[str], split: Split, count: int, speech: Path) -> list[Clip]:
    rng = np.random.default_rng(6)
    found = [
        (speech / corpus / entry.path, normalize(entry.text))
        for corpus in corpora
        for entry in read(speech / corpus / "manifest.jsonl")
        if entry.text and entry.speaker and speaker_split(entry.speaker) == split
    ]
    chosen = [found[place] for place in rng.permutation(len(found))[:count]]
    return [Clip(group, load(path), text) for path, text in chosen]


@torch.inference_mode()
def resynthesise(codec: Codec, pcm: Pcm) -> tuple[Pcm, NDArray[np.int64]]:
    """What (T,) at 16 kHz sounds like after the codec, aligned with it, (T,), and its codes (books, frames)."""
    rate, delay = codec.card.sample_rate, codec.card.delay_samples
    own = resample(pcm, RATE, rate)
    # silence behind the clip pushes its end through the codec's delay
    codes = codec.encode(torch.from_numpy(np.pad(own, (0, delay)))[None])
    out = codec.decode(codes)[0, delay : delay + len(own)].numpy()
    back = resample(out, rate, RATE)
    return np.pad(back, (0, max(0, len(pcm) - len(back))))[: len(pcm)], codes[0].numpy()


def evaluate(
    codec: Codec, clips: Sequence[Clip], recognizers: dict[str, Recognizer] | None = None, workers: int = 1
) -> dict[str, Figures]:
    """Group -> figures, each with its 95% interval over clips; "all" holds the use of the books over all groups.

    Args:
        codec: in evaluation mode.
        clips: what to resynthesise.
        recognizers: by name; "domain" does not listen to people reading, whose words it cannot know. None: no words.
        workers: processes for the recognisers.

    Raises:
        DataError: there are no clips.
    """
    if not clips:
        raise DataError("no clips to evaluate the codec on; give at least one")
    after, codes = zip(*(resynthesise(codec, clip.pcm) for clip in clips), strict=True)
    summary: dict[str, Figures] = {}
    for group in dict.fromkeys(clip.group for clip in clips):
        mine = [place for place, clip in enumerate(clips) if clip.group == group]
        long = [place for place in mine if len(clips[place].pcm) >= SHORTEST * RATE and group != "words"]
        figures: Figures = {"clips": len(mine)}
        if long:
            figures["stoi"] = plain(bootstrap([stoi(clips[place].pcm, after[place]) for place in long]))
            figures["pesq"] = plain(bootstrap([pesq(clips[place].pcm, after[place]) for place in long]))
        for name, recognizer in (recognizers or {}).items():
            if group == "reading" and name == "domain":
                continue
            texts = [clips[place].text for place in mine]
            for kind, sounds in (("original", [clip.pcm for clip in clips]), ("resynthesis", list(after))):
                heard = recognizer.transcribe_many([sounds[place] for place in mine], workers)
                errors = [word_errors([text], [said]) for text, said in zip(texts, heard, strict=True)]
                rate = bootstrap([(one.rate * one.words, one.words) for one in errors], ratio)
                figures[f"wer_{name}_{kind}"] = plain(rate)
        figures |= _books([codes[place] for place in mine], codec.card.cardinality)
        summary[group] = figures
    summary["all"] = {"clips": len(clips), **_books(codes, codec.card.cardinality)}
    return summary


def _books(codes: Sequence[NDArray[np.int64]], size: int) -> Figures:
    joined = np.concatenate(codes, axis=1)
    books = codebook_use(joined, size)
    return {
        "frames": joined.shape[1],
        "use": [round(book.use, 4) for book in books],
        "perplexity": [round(book.perplexity, 1) for book in books],
    }


def run(
    codec: str | os.PathLike[str],
    split: Literal["dev", "test"] = "dev",
    out: str | os.PathLike[str] = "runs/codec-eval",
    clips: int = 40,
    workers: int = 1,
    speech: str | os.PathLike[str] | None = None,
    console: Console | None = None,
) -> dict[str, Figures]:
    """Evaluate a codec's folder, or the codec inside a model, and write summary.json and summary.md into `out`.

    Args:
        clips: of each group.
        speech: the folder of real recordings; without it the voices are synthetic alone.
        console: where to show the tables; silent where None.

    Raises:
        ModelError: the codec cannot be loaded.
        DataError: a corpus or a synthesiser is missing.
        DuologueError: `out` cannot be written.
    """
    model, fingerprint = load_codec(Path(codec) if Path(codec).exists() else str(codec))
    recognizers = {"domain": domain_recognizer(), "general": GeneralRecognizer()}
    found = held_out(split, clips, Path(speech) if speech else None)
    summary = evaluate(model, found, recognizers, workers)
    card = model.card
    title = f"{card.name} ({fingerprint}), {card.bitrate:.0f} bit/s, {card.frame_rate:g} Hz x {card.books} books"
    grids = _grids(summary)
    lines = [f"# Codec {title}, {split} split", "", "Brackets hold 95% intervals over clips."]
    for name, grid in grids:
        lines += ["", f"## {name}", "", *markdown_table(grid)]
    lines += ["", "## Groups", "", *(f"- {name}: {text}" for name, text in GROUPS.items() if name in summary), ""]
    write_text(Path(out) / "summary.json", json.dumps(summary, indent=1) + "\n")
    write_text(Path(out) / "summary.md", "\n".join(lines))
    if console is not None:
        for name, grid in grids:
            console.print(terminal_table(name, grid))
    return summary


def _grids(summary: dict[str, Figures]) -> list[tuple[str, Grid]]:
    columns = {"stoi": ("STOI", 1, 3), "pesq": ("PESQ-WB", 1, 2)}
    for name in ("domain", "general"):
        for kind in ("original", "resynthesis"):
            columns[f"wer_{name}_{kind}"] = (f"WER % {kind}, {name}", 100, 1)
    sound = [["group", "clips", *(title for title, _, _ in columns.values())]]
    books = [["group", "frames", "use % of each book", "perplexity of each book"]]
    for group, figures in summary.items():
        if group != "all":
            cells = [cell(figures, name, scale, digits) for name, (_, scale, digits) in columns.items()]
            sound.append([group, str(figures["clips"]), *cells])
        use, perplexity = (" ".join(f"{x:.0f}" for x in values) for values in _percent(figures))
        books.append([group, str(figures["frames"]), use, perplexity])
    return [("Sound", sound), ("Codebooks", books)]


def plain(interval: Interval) -> dict[str, float]:
    """An interval as it is written to JSON."""
    return {name: round(value, 4) for name, value in vars(interval).items()}


def cell(figures: Figures, name: str, scale: float = 1, digits: int = 0) -> str:
    """A figure as it is printed, with its interval; empty where it was not measured."""
    found = figures.get(name)
    return "" if found is None else Interval(**found).text(scale, digits)


def _percent(figures: Figures) -> tuple[list[float], list[float]]:
    return [100 * use for use in figures["use"]], figures["perplexity"]


def main(
    codec: Annotated[str, typer.Option(help="A codec's folder, a model's folder, or box.")] = "box",
    split: Annotated[str, typer.Option(help="dev to choose by, test once.")] = "dev",
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("runs/codec-eval"),
    clips: Annotated[int, typer.Option(min=1, help="Clips of each group.")] = 40,
    workers: Annotated[int, typer.Option(min=1, help="Processes for the recognisers.")] = 1,
    speech: Annotated[Path | None, typer.Option(envvar="DUOLOGUE_SPEECH", help="Folder of real recordings.")] = None,
) -> None:
    """Measure what a codec keeps of held-out speech."""
    try:
        if split not in ("dev", "test"):
            raise DataError(f"no split {split!r} to evaluate on; there are dev and test")
        run(codec, "test" if split == "test" else "dev", out, clips, workers, speech, Console())
    except DuologueError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from error


if __name__ == "__main__":
    typer.run(main)
