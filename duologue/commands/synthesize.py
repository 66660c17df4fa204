"""`duologue synthesize`: a corpus of synthetic speech from lines of text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from duologue.errors import DataError

if TYPE_CHECKING:
    from duologue.data.voices import Voice


def synthesize(
    lines: Annotated[Path, typer.Argument(help="A text file: an utterance a line, words only, no digits.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder of the corpus.")],
    voice: Annotated[str | None, typer.Option(help='Such as "espeak/en-us+f4"; by default any, varied.')] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    seed: Annotated[int, typer.Option(help="Seed of the choice of voices.")] = 0,
) -> None:
    """Say every line of a text file into a folder, with the times of its words and phones.

    One that was stopped goes on where it stopped.
    """
    import numpy as np
    from rich.console import Console

    from duologue.data.synthesize import Line, random_voice
    from duologue.data.synthesize import synthesize as run
    from duologue.train.progress import counting

    texts = _read(lines)
    fixed = _named(voice) if voice else None
    rng = np.random.default_rng(seed)
    said = [Line(f"{number:06d}", text, fixed or random_voice(rng)) for number, text in texts]
    with counting("synthesize", "lines", Console(stderr=True)) as report:
        manifest = run(said, out, workers, report)
    print(f"wrote {out / 'manifest.jsonl'}: {len(manifest)} utterances, {manifest.duration / 3600:.2f} h")


def _read(path: Path) -> list[tuple[int, str]]:
    """Line numbers (from 1) and texts, blank lines left out."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({error}); give a file of lines") from error
    found = [(number, line.strip().lower()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not found:
        raise DataError(f"{path}: no lines; write an utterance a line")
    for number, line in found:
        if not re.fullmatch(r"[a-z' ,]+", line):
            raise DataError(f"{path}, line {number}: {line!r} has more than words and commas; spell numbers out")
    return found


def _named(name: str) -> Voice:
    from duologue.data.synthesize import voices

    known = {voice.speaker: voice for voice in voices()}
    if name not in known:
        some = ", ".join(list(known)[:3])
        raise DataError(f"no voice {name!r} on this machine; there are {len(known)}, such as {some}")
    return known[name]
