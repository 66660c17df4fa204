"""The corpus of the assistant's voice: what it says for practice, said, aligned with its score and encoded once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from duologue.atomic import write_text
from duologue.codec.base import Codec
from duologue.data import domain
from duologue.data.manifest import read
from duologue.data.shards import ShardReader, ShardWriter
from duologue.data.spoken import Spoken
from duologue.data.synthesize import Line, Voice, pronounce, synthesize
from duologue.errors import DataError
from duologue.lm.speller import END, PAUSE
from duologue.lm.text import TextTokenizer
from duologue.train.talker import Example, example_of

LEXICON, EXAMPLES = "lexicon.json", "examples.json"


@dataclass(frozen=True)
class VoiceCorpus:
    """Aligned utterances, the phones they are written in, and how each word is said alone."""

    examples: list[Example]
    inventory: tuple[str, ...]  # phones, `<end>` and `pau` first
    lexicon: list[tuple[str, tuple[str, ...]]]


def practice_lines(rng: np.random.Generator, replies: int, passes: int) -> list[str]:
    """What a voice practises: `replies` different replies of the training split, and the vocabulary in salads of 1 to 6
    words, gone through `passes` times, so that no word is rare."""
    lines: set[str] = set()
    while len(lines) < replies:
        lines |= {exchange.reply for exchange in domain.dialogue(rng, "train", 5) if exchange.reply}
    vocabulary = domain.vocabulary()
    for _ in range(passes):
        order = [vocabulary[index] for index in rng.permutation(len(vocabulary))]
        while order:
            size = int(rng.integers(1, 7))
            lines.add(" ".join(order[:size]))
            del order[:size]
    return [str(line) for line in rng.permutation(sorted(lines))]


def say_lines(
    lines: Iterable[str], voice: Voice, folder: Path, workers: int, report: Callable[[int, int], None] | None = None
) -> None:
    """Synthesise the lines and look up every word in `folder`; what is there already is kept.

    Args:
        report: as `synthesize` calls it.
    """
    said = [Line(f"{index:06d}", line, voice) for index, line in enumerate(lines)]
    synthesize(said, folder, workers, report)
    words = sorted({word for line in said for word in line.text.split()})
    if not (folder / LEXICON).is_file():
        write_text(folder / LEXICON, json.dumps({word: pronounce(word, voice) for word in words}))


def encode_voice(folder: Path, codec: Codec, tokenizer: TextTokenizer) -> VoiceCorpus:
    """Align and encode the utterances that `say_lines` left in `folder`, once; later calls read what was kept.

    Raises:
        DataError: the folder holds no utterances.
    """
    lexicon = {word: tuple(phones) for word, phones in json.loads((folder / LEXICON).read_text()).items()}
    manifest = read(folder / "manifest.jsonl")
    heard = {phone for entry in manifest for phone, _, _ in entry.phones or ()}
    heard |= {phone for phones in lexicon.values() for phone in phones}
    inventory = (END, PAUSE, *sorted(heard - {PAUSE}))
    path = folder / "codes"
    if not (folder / EXAMPLES).is_file():
        scores: list[tuple[Sequence[int], Sequence[int], Sequence[int]]] = []
        with ShardWriter(path, np.int16, _books(codec)) as shard:
            for entry in manifest:
                spoken = Spoken(manifest.pcm(entry), entry.words or [], entry.phones or [])
                example = example_of(spoken, codec, tokenizer, inventory)
                shard.append(example.codes)
                scores.append((example.phones, example.durations, example.arrivals))
        write_text(folder / EXAMPLES, json.dumps(scores))
    kept = json.loads((folder / EXAMPLES).read_text())
    codes = ShardReader(path)
    if len(codes) != len(kept):
        beside = f"{path} holds {len(codes)} utterances, {folder / EXAMPLES} {len(kept)}"
        raise DataError(f"{beside}; delete both and run again")
    examples = [
        Example(tuple(phones), tuple(durations), tuple(arrivals), np.array(codes[index]))
        for index, (phones, durations, arrivals) in enumerate(kept)
    ]
    return VoiceCorpus(examples, inventory, sorted(lexicon.items()))


def _books(codec: Codec) -> int:
    """Codes of one frame of 80 ms."""
    return round(codec.card.books * codec.card.frame_rate * 0.08)
