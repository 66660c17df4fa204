"""A run's folder with rows made by hand, whose figures are known."""

from __future__ import annotations

from pathlib import Path

from duologue.data.splits import Split
from duologue.eval.results import Asked, Settings, Start, Subject, remember, write_rows
from duologue.eval.suites.base import Row, Value
from duologue.systems.base import SystemCard

FAMILIES = {"unseen-voices": "held-out voices", "context": "dialogues"}


def write(
    folder: Path, subject: str, values: dict[str, list[dict[str, Value]]], split: Split = "dev", source: str = ""
) -> Path:
    """A run's folder of the answer suite, its rows made by hand."""
    card = SystemCard(name=subject, hears=("features",))
    remember(
        folder,
        Settings(
            split=split,
            suites={"answers": Asked(source=source, families=dict.fromkeys([*FAMILIES, *values], ""))},
            subjects={subject: Subject(fingerprint=subject, card=card)},
            starts=[Start.now("duologue eval <by hand>")],
        ),
    )
    rows = [
        Row(suite="answers", subject=subject, family=family, case=f"{family}/{index}", values=dict(one))
        for family, several in values.items()
        for index, one in enumerate(several)
    ]
    write_rows(folder, rows)
    return folder


def turns(right: int, of: int, latency: float = 0.4) -> list[dict[str, Value]]:
    return [{"turns": 1, "right": index < right, "latency": latency + 0.001 * index} for index in range(of)]
