"""Packs a trained model for shipping: the weights small, with a card for programs and one for people.

    python -m duologue.train.pack runs/box/model --figures runs/box/report

What is measured is put into the card as it stands in a report of `duologue eval`, with the command that gives it again;
nothing on a card is typed in by hand.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer

from duologue.atomic import atomic, write_text
from duologue.errors import DuologueError, ModelError
from duologue.eval.results import fingerprint_of
from duologue.eval.suites import find
from duologue.lm.model import SpeechLM
from duologue.systems.base import Figure, SystemCard
from duologue.train.curriculum import MADE, Made

LIMIT = 48_000_000
"""Largest weights in the package, bytes."""
MEASURES = {
    "answers": ("right", "right_spoken", "right_true", "wer_heard", "latency_p50"),
    "duplex": ("response_rate", "latency_p50", "false_takeover", "yield_rate", "yield_latency_p50", "false_yield",
               "false_start"),
    "codec": ("pesq", "stoi", "delta_wer_domain", "wer_domain"),
}  # fmt: skip
"""What of each suite stands on a card, family by family."""


def figures_of(report: Path, model: Path) -> Iterator[Figure]:
    """The figures of a model in a report; it is known by its files, whatever it was called there.

    Raises:
        DuologueError: there is no report, or the model is not in it.
    """
    path = report / "summary.json"
    if not path.is_file():
        raise DuologueError(f"{path} is missing; run `duologue eval {model} --out {report}` first")
    summary = json.loads(path.read_text(encoding="utf-8"))
    own = fingerprint_of(str(model))
    names = {name for name, subject in summary["settings"]["subjects"].items() if subject["fingerprint"] == own}
    if not names:
        raise DuologueError(f"{path} is not of the model in {model}; its files have changed or another was measured")
    split = summary["settings"]["split"]
    command = summary["settings"]["starts"][-1]["command"]
    for name in names:
        command = command.replace(f" {name} ", " box ")  # as it is called once it is shipped
    for suite in (name for name in MEASURES if name in summary["figures"]):
        measures = {measure.name: measure for measure in find(suite).measures}
        for subject, families in summary["figures"][suite]["families"].items():
            for family, cell in families.items() if subject.removeprefix("codec:") in names else ():
                for name in MEASURES[suite]:
                    if name in cell["figures"]:
                        found, scale = cell["figures"][name], measures[name].scale
                        yield Figure(
                            name=f"{suite}, {family}: {measures[name].title}",
                            value=found["value"] * scale,
                            unit=measures[name].unit,
                            interval=(found["low"] * scale, found["high"] * scale),
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
    ]
    for command, figures in groupby(card.measured, key=lambda figure: figure.command):
        lines += ["", f"`{command}`", "", "| what | on | value | 95% |", "|---|---|---|---|"]
        for figure in figures:
            interval = "" if figure.interval is None else f"{figure.interval[0]:.3g} to {figure.interval[1]:.3g}"
            unit = f" {figure.unit}" if figure.unit else ""
            lines.append(f"| {figure.name} | {figure.split} | {figure.value:.3g}{unit} | {interval} |")
    return "\n".join(lines) + "\n"


def pack(model_folder: Path, to: Path, figures: Sequence[Path] = (), note: str = "") -> SystemCard:
    """Write the shipped folder of a trained model.

    Args:
        figures: folders of reports on this model, for the card; what stands in two is taken from the first.
        note: how this copy differs from what its recipe makes.

    Raises:
        ModelError: the model is damaged, or too large for the package.
        DuologueError: a file cannot be read or written.
    """
    model = SpeechLM.load(model_folder)
    if not (model_folder / MADE).is_file():
        raise ModelError(f"{model_folder / MADE} is missing; `duologue train` leaves it beside the model that it makes")
    made = Made.model_validate_json((model_folder / MADE).read_bytes())
    measured: dict[str, Figure] = {}
    for report in figures:
        for figure in figures_of(report, model_folder):
            measured.setdefault(figure.name, figure)
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
    card = card_of(model, made, measured.values())
    write_text(to / "card.json", card.model_dump_json(indent=1) + "\n")
    write_text(to / "README.md", read_me(card, note))
    return card


def main(
    model: Annotated[Path, typer.Argument(help="Folder of a trained, packed model.")],
    to: Annotated[Path, typer.Option(help="Folder of the shipped model.")] = Path("duologue/models/box"),
    figures: Annotated[
        list[Path] | None, typer.Option(help="Folder of a report on the model; may be given again.")
    ] = None,
    note: Annotated[str, typer.Option(help="How this copy differs from what its recipe makes.")] = "",
) -> None:
    """Ship a trained model with its card."""
    try:
        card = pack(model, to, figures or (), note)
    except DuologueError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"{to}: {card.parameters:,} parameters, {len(card.measured)} figures")


if __name__ == "__main__":
    typer.run(main)
