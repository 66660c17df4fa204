"""Packs a trained model for shipping: the weights small, with a card for programs and one for people.

    python -m duologue.train.pack runs/box/model --figures runs/box/answers-test --codec runs/box/codec-test

What is measured is put into the card as it stands in the evaluation's files, with the command that gives it again;
nothing on a card is typed in by hand.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from duologue.atomic import atomic, write_text
from duologue.errors import DuologueError, ModelError
from duologue.lm.model import SpeechLM
from duologue.systems.base import Figure, SystemCard
from duologue.train.curriculum import MADE, Made

LIMIT = 48_000_000
"""Largest weights in the package, bytes."""
NAMES = {
    "right": ("answers right, text", "share"),
    "right_spoken": ("answers right, spoken reply through pocketsphinx", "share"),
    "right_true": ("the same judge on true speech of the right replies", "share"),
    "wer_heard": ("word error rate of the user's words", "share"),
    "latency_p50": ("reply after the user's last sound, median", "s"),
    "passed": ("behaves as the scene asks", "share"),
    "delay_p50": ("stops after being spoken over, median", "s"),
}
CODEC_NAMES = {
    "stoi": ("STOI of the resynthesis", ""),
    "pesq": ("PESQ-WB of the resynthesis", "MOS"),
    "wer_domain_original": ("word error rate of the original, domain's language model", "share"),
    "wer_domain_resynthesis": ("word error rate of the resynthesis, domain's language model", "share"),
}


def figures_of(
    summary: dict[str, Any], names: dict[str, tuple[str, str]], split: str, command: str
) -> Iterable[Figure]:
    """The figures of an evaluation's summary.json that `names` names, family by family."""
    for family, figures in summary.items():
        for key, (name, unit) in names.items():
            found = figures.get(key)
            if isinstance(found, dict):
                yield Figure(
                    name=f"{family}: {name}",
                    value=found["value"],
                    unit=unit,
                    interval=(found["low"], found["high"]),
                    split=f"{split}, {found['count']} cases",
                    command=command,
                )


def card_of(model: SpeechLM, made: Made, figures: Iterable[Figure]) -> SystemCard:
    """The card of a model that `duologue.train.curriculum` made."""
    hears = {stream.name for stream in model.config.thinker_layout.heard}
    return SystemCard(
        name=model.config.name,
        summary="A small full-duplex speech-to-speech model: arithmetic, facts, repeat after me, small talk.",
        hears=tuple(kind for stream, kind in (("user", "features"), ("user_codes", "codes")) if stream in hears),
        voices=(made.voice,),
        latency_ms=1000 * model.codec.card.delay_samples / model.codec.card.sample_rate + 80,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        licence="Apache-2.0",
        recipe=f"recipes/{made.recipe}.py",
        seed=made.seed,
        trained_on=made.trained_on,
        measured=tuple(figures),
    )


def read_me(card: SystemCard, note: str = "") -> str:
    """The card for people, in Markdown; `note` says how this copy differs from what its recipe makes."""
    lines = [
        f"# {card.name}",
        "",
        card.summary,
        "",
        f"- {card.parameters:,} parameters, licence {card.licence}",
        f"- made by `duologue train {card.recipe}`, seed {card.seed}",
        f"- hears {', '.join(card.hears)}; says {' and '.join(card.says)}; {card.duplex} duplex",
        f"- languages: {', '.join(card.languages)}",
        f"- one voice: {', '.join(card.voices)}; {card.sample_rate} Hz, {card.frame_rate} frames a second",
        f"- algorithmic delay {card.latency_ms:.0f} ms: one frame, and what the codec's inverse STFT holds back",
        "",
        "## Trained on",
        "",
        *(f"- {source}" for source in card.trained_on),
        "",
        "Held out: speakers and voices by `duologue/data/splits.py`, wordings and operand pairs by",
        "`duologue/data/domain/splits.py`.",
        "",
        *(["## This copy", "", note, ""] if note else []),
        "## Measured",
        "",
        "Always running freely; 95% intervals. There are few recordings of people who were not heard in training, so",
        "the figures on them say little about other microphones.",
        "",
        "| what | on | value | 95% | command |",
        "|---|---|---|---|---|",
    ]
    for figure in card.measured:
        interval = "" if figure.interval is None else f"{figure.interval[0]:.3g} to {figure.interval[1]:.3g}"
        unit = "" if figure.unit == "share" else f" {figure.unit}"
        lines.append(f"| {figure.name} | {figure.split} | {figure.value:.3g}{unit} | {interval} | `{figure.command}` |")
    return "\n".join(lines) + "\n"


def pack(
    model_folder: Path, to: Path, figures: Path | None = None, codec: Path | None = None, note: str = ""
) -> SystemCard:
    """Write the shipped folder of a trained model.

    Args:
        figures: folder of an answer suite's results, for the card.
        codec: folder of the codec evaluation's results, for the card.
        note: how this copy differs from what its recipe makes.

    Raises:
        ModelError: the model is damaged, or too large for the package.
        DuologueError: a file cannot be read or written.
    """
    model = SpeechLM.load(model_folder)
    if not (model_folder / MADE).is_file():
        raise ModelError(f"{model_folder / MADE} is missing; `duologue train` leaves it beside the model that it makes")
    made = Made.model_validate_json((model_folder / MADE).read_bytes())
    measured: list[Figure] = []
    if figures is not None:
        settings = json.loads((figures / "settings.json").read_text())
        command = f"python -m duologue.eval.answers --split {settings['split']}"
        measured += figures_of(_summary(figures), NAMES, settings["split"], command)
    if codec is not None:
        split = "test" if codec.name.endswith("test") else "dev"
        measured += figures_of(_summary(codec), CODEC_NAMES, split, f"python -m duologue.eval.codec --split {split}")
    weights = to / "model.safetensors"
    if model_folder.resolve() != to.resolve():
        size = (model_folder / "model.safetensors").stat().st_size
        if size > LIMIT:
            raise ModelError(f"{model_folder} holds {size:,} bytes of weights; the package takes {LIMIT:,}")
        for name in ("config.json", "tokenizer.json", MADE):
            with atomic(to / name) as temporary:
                shutil.copyfile(model_folder / name, temporary)
        with atomic(weights) as temporary:
            shutil.copyfile(model_folder / "model.safetensors", temporary)
    card = card_of(model, made, measured)
    write_text(to / "card.json", card.model_dump_json(indent=1) + "\n")
    write_text(to / "README.md", read_me(card, note))
    return card


def _summary(folder: Path) -> dict[str, Any]:
    path = folder / "summary.json"
    if not path.is_file():
        raise DuologueError(f"{path} is missing; run the evaluation into {folder} first")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def main(
    model: Annotated[Path, typer.Argument(help="Folder of a trained, packed model.")],
    to: Annotated[Path, typer.Option(help="Folder of the shipped model.")] = Path("duologue/models/box"),
    figures: Annotated[Path | None, typer.Option(help="Folder of the answer suite's results.")] = None,
    codec: Annotated[Path | None, typer.Option(help="Folder of the codec's evaluation.")] = None,
    note: Annotated[str, typer.Option(help="How this copy differs from what its recipe makes.")] = "",
) -> None:
    """Ship a trained model with its card."""
    try:
        card = pack(model, to, figures, codec, note)
    except DuologueError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"{to}: {card.parameters:,} parameters, {len(card.measured)} figures")


if __name__ == "__main__":
    typer.run(main)
