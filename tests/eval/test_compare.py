"""Two runs with a known difference, and bounds that hold or do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from duologue.data.splits import Split
from duologue.errors import ConfigError, DataError
from duologue.eval.compare import Change, change_of, compare, gate, grid, told
from duologue.eval.report.contents import contents
from duologue.eval.results import Asked, Settings, Start, Subject, remember, write_rows
from duologue.eval.suites.base import Measure, Row, Value
from duologue.systems.base import SystemCard

FAMILIES = {"unseen-voices": "held-out voices", "context": "dialogues"}
HIT = Measure(name="hit", title="hits", kind="share")
MISS = HIT.model_copy(update={"better": "lower"})
TIME = Measure(name="time", title="time", kind="median", better="lower")


def write(folder: Path, subject: str, values: dict[str, list[dict[str, Value]]], split: Split = "dev") -> Path:
    """A run's folder of the answer suite, its rows made by hand."""
    card = SystemCard(name=subject, hears=("features",))
    remember(
        folder,
        Settings(
            split=split,
            suites={"answers": Asked(source="", families=dict.fromkeys([*FAMILIES, *values], ""))},
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


def pairs(before: list[Value], after: list[Value], name: str = "hit") -> list[tuple[Row, Row]]:
    rows = [
        [Row(suite="s", subject="x", family="f", case=f"f/{n}", values={name: one}) for n, one in enumerate(several)]
        for several in (before, after)
    ]
    return list(zip(*rows, strict=True))


def test_mcnemar_counts_the_cases_that_changed() -> None:
    change = change_of(pairs([False] * 6 + [True] * 14, [True] * 20), HIT)
    assert change is not None and change.p == pytest.approx(2 * 0.5**6)
    assert change.verdict == "better" and (len(change.won), len(change.lost)) == (6, 0)
    assert change.difference.value == pytest.approx(0.3) and change.difference.low > 0
    back = change_of(pairs([True] * 20, [False] * 6 + [True] * 14), HIT)
    assert back is not None and back.verdict == "worse" and len(back.lost) == 6
    fewer = change_of(pairs([True] * 6 + [False] * 4, [False] * 10), MISS)
    assert fewer is not None and fewer.verdict == "better" and len(fewer.won) == 6


def test_nothing_changed_is_unchanged() -> None:
    same = change_of(pairs([True, False, True], [True, False, True]), HIT)
    assert same is not None and (same.p, same.verdict) == (1.0, "unchanged")
    swapped = change_of(pairs([True, False], [False, True]), HIT)
    assert swapped is not None and swapped.verdict == "unchanged"
    assert change_of(pairs([None], [True]), HIT) is None


def test_pairing_finds_what_lies_under_the_spread_of_cases() -> None:
    rng = np.random.default_rng(0)
    before = rng.normal(1.0, 0.5, 40)
    after = before - 0.05 + rng.normal(0, 0.01, 40)
    change = change_of(pairs(list(before), list(after), "time"), TIME)
    assert change is not None and change.verdict == "better"
    assert change.difference.high < 0
    noise: Change | None = change_of(pairs(list(before), list(rng.permutation(before)), "time"), TIME)
    assert noise is not None and noise.verdict == "unchanged"


def test_two_runs_of_systems_by_any_name(tmp_path: Path) -> None:
    before = write(tmp_path / "a", "old", {"unseen-voices": turns(2, 20), "context": turns(3, 10)})
    after = write(tmp_path / "b", "new", {"unseen-voices": turns(20, 20), "context": turns(3, 10)})
    changes = compare(before, after)
    verdicts = {(change.family, change.measure.name): change.verdict for change in changes}
    assert verdicts["unseen-voices", "right"] == "better" and verdicts["all", "right"] == "better"
    assert verdicts["context", "right"] == verdicts["all", "latency_p50"] == "unchanged"
    lines = told(changes)
    assert lines[0] == f"2 better, {len(changes) - 2} unchanged"
    assert any("better: answers right in text: unseen-voices/2, " in line and "and 8 more" in line for line in lines)
    assert grid(changes)[1][1:3] in (["10.0", "100.0"], ["16.7", "76.7"])
    with pytest.raises(DataError, match="split"):
        compare(before, write(tmp_path / "c", "new", {"context": turns(1, 1)}, split="test"))
    with pytest.raises(DataError, match="no case in common"):
        compare(write(tmp_path / "d", "x", {"context": []} | {"unseen-voices": turns(1, 1)}), write_context(tmp_path))
    with pytest.raises(DataError, match="holds no results"):
        compare(before, tmp_path / "nowhere")


def write_context(folder: Path) -> Path:
    return write(folder / "e", "x", {"context": turns(1, 1)})


def test_the_gate_knows_which_way_is_better(tmp_path: Path) -> None:
    found = contents(write(tmp_path, "me", {"unseen-voices": turns(9, 10), "context": turns(1, 10)}))
    assert gate(found, ["answers.right=50", "answers.unseen-voices.right=90", "answers.latency_p50=0.5"]) == []
    assert gate(found, ["answers.right=51"]) == ["me: answers.right is 50.0, below 51 (20 cases)"]
    (slow,) = gate(found, ["answers.right=1", "answers.context.latency_p50=0.3"])
    assert "answers.context.latency_p50 is 0.40, above 0.3" in slow
    held = contents(write(tmp_path / "held", "me", {"noise-0.5": turns(9, 10)}))
    assert gate(held, ["answers.noise-0.5.right=91"]) == ["me: answers.noise-0.5.right is 90.0, below 91 (10 cases)"]


@pytest.mark.parametrize(
    ("bound", "says"),
    [
        ("answers.right", "is no bound"),
        ("right=3", "is no bound"),
        ("answers.right=much", "is no bound"),
        ("riddles.right=1", "no figure of 'riddles'; there are answers"),
        ("answers.wrong=1", "no figure of 'wrong'; there are right, "),
        ("answers.nowhere.right=1", "no figure of 'nowhere'; there are unseen-voices"),
        ("answers.chance=1", "neither more nor less"),
    ],
)
def test_a_bound_that_means_nothing_is_refused(bound: str, says: str, tmp_path: Path) -> None:
    values: list[dict[str, Value]] = [{"turns": 1, "right": True, "by_chance": 0}]
    found = contents(write(tmp_path, "me", {"unseen-voices": values}))
    with pytest.raises(ConfigError, match=says):
        gate(found, [bound])
