"""Bounds that hold, that do not, and that mean nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from eval.byhand import turns, write

from duologue.errors import ConfigError
from duologue.eval.gate import Bound, gate
from duologue.eval.report.contents import Contents, contents
from duologue.eval.suites.base import Value


def bounded(found: Contents, texts: list[str]) -> list[str]:
    return gate(found, [Bound.parse(text) for text in texts])


def test_the_gate_knows_which_way_is_better(tmp_path: Path) -> None:
    found = contents(write(tmp_path, "me", {"unseen-voices": turns(9, 10), "context": turns(1, 10)}))
    assert bounded(found, ["answers.right=50", "answers.unseen-voices.right=90", "answers.latency_p50=0.5"]) == []
    assert bounded(found, ["answers.right=51"]) == ["me: answers.right is 50.0, below 51 (20 cases)"]
    (slow,) = bounded(found, ["answers.right=1", "answers.context.latency_p50=0.3"])
    assert "answers.context.latency_p50 is 0.40, farther from zero than 0.3" in slow
    early: dict[str, Value] = {"turns": 1, "right": True, "latency": -1.0}
    hasty = contents(write(tmp_path / "hasty", "me", {"context": [early] * 10}))
    (told,) = bounded(hasty, ["answers.latency_p50=0.3"])  # to speak before the user has ended is not to be quick
    assert "is -1.00, farther from zero than 0.3" in told
    held = contents(write(tmp_path / "held", "me", {"noise-0.5": turns(9, 10)}))
    assert bounded(held, ["answers.noise-0.5.right=91"]) == ["me: answers.noise-0.5.right is 90.0, below 91 (10 cases)"]


@pytest.mark.parametrize(
    ("bound", "says"),
    [
        ("answers.right", "is no bound"),
        ("right=3", "is no bound"),
        ("answers.right=much", "is no bound"),
        ("answers.right=nan", "is no bound"),
        ("riddles.right=1", "no suite 'riddles'; there are answers"),
        ("answers.wrong=1", "no figure of 'wrong'; there are right, "),
        ("answers.nowhere.right=1", "no figure of 'nowhere'; there are unseen-voices"),
        ("answers.chance=1", "neither more nor less"),
        ("duplex.yield_rate=1", "no figure of 'duplex'; there are answers"),
    ],
)
def test_a_bound_that_means_nothing_is_refused(bound: str, says: str, tmp_path: Path) -> None:
    values: list[dict[str, Value]] = [{"turns": 1, "right": True, "by_chance": 0}]
    found = contents(write(tmp_path, "me", {"unseen-voices": values}))
    with pytest.raises(ConfigError, match=says):
        bounded(found, [bound])
