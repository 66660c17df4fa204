"""What is shown of work that is counted: a bar on a terminal, lines elsewhere, nothing where nobody looks."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from duologue.train.progress import counting


def shown(terminal: bool, *counts: int) -> str:
    out = io.StringIO()
    with counting("scenes-dev", "scenes", Console(file=out, force_terminal=terminal, width=120)) as report:
        for count in counts:
            report(count, 8)
    return out.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_the_count_its_speed_and_the_time_left(terminal: bool) -> None:
    said = shown(terminal, 0, 4, 8)
    assert "scenes-dev" in said and "8/8 scenes" in said and "scenes/s" in said and "0s left" in said


def test_what_was_there_already_needs_no_line() -> None:
    assert shown(False, 8) == ""


def test_the_speed_is_that_of_this_start(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 0.0, 60.0])
    monkeypatch.setattr("duologue.train.progress.time.monotonic", lambda: next(times))
    assert shown(False, 2, 5) == "scenes-dev 5/8 scenes  0.1 scenes/s  1m00s left\n"


def test_without_a_console_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with counting("users", "lines", None) as report:
        report(0, 2)
        report(2, 2)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
