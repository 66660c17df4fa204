"""Metrics: means over a window that a checkpoint carries, and a log that is cut back on resume."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from duologue.train.metrics import MetricsLog, Window


def test_a_saved_window_goes_on_exactly() -> None:
    whole, first = Window(), Window()
    values = [0.1 * n for n in range(10)]
    for n, value in enumerate(values):
        whole.add({"loss": value, "frames": 8})
        if n == 4:
            first = Window(json.loads(json.dumps(first.save())))
        first.add({"loss": value, "frames": 8})
    whole.seconds = 2.0
    assert whole.means() == first.means() and whole.means().keys() == {"loss"}
    assert whole.means()["loss"] == pytest.approx(sum(values) / 10)
    assert whole.rates()["frames"] == 40


def test_a_window_leaves_out_what_is_not_finite() -> None:
    window = Window()
    for value in (1.0, math.nan, math.inf, 3.0):
        window.add({"loss": value})
    assert window.means() == {"loss": 2.0}


def test_reopening_drops_what_came_after(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, 0)
    for step in (10, 20, 30):
        log.write(step, {"train/loss": 1 / step})
        log.write(step, {"validation/error": math.nan if step == 10 else step / 100})
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 40, "tr')  # torn by a kill
    log = MetricsLog(tmp_path, 20)
    log.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [10, 10, 20, 20]
    assert lines[1]["validation/error"] is None  # JSON has no NaN
    assert log.validation(20) == {"error": 0.2} and log.validation(30) is None
