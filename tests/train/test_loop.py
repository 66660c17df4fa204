"""The loop: exact resume after every kind of interruption, budgets, broken losses, full disks."""

from __future__ import annotations

import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from rich.console import Console

from duologue.errors import DuologueError, ModelError
from duologue.train import checkpoint
from duologue.train.interrupt import Interrupted
from duologue.train.loop import LoopConfig, train

ROOT = Path(__file__).resolve().parents[2]
LOOP: dict[str, Any] = {"steps": 12, "accumulate": 2, "log_every": 5, "validate_every": 4, "ema": 0.9, "seed": 3}


def contents(run: Path) -> dict[str, Any]:
    """All that two runs must have in common: checkpoints byte for byte, metrics but for the clock."""
    newest = checkpoint.latest(run)
    assert newest is not None
    state = json.loads((newest / "state.json").read_text())
    del state["elapsed"], state["window"]["seconds"]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {
        "weights": (newest / "model.safetensors").read_bytes(),
        "average": (newest / "ema.safetensors").read_bytes(),
        "optimizer": torch.load(newest / "optimizer.pt", weights_only=True),
        "state": state,
        "metrics": [{key: v for key, v in line.items() if not key.startswith("time/")} for line in lines],
    }


def same(a: Any, b: Any) -> bool:
    """Whether two trees hold the same values, tensors bit for bit."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else bool(a == b)


@pytest.fixture(scope="module")
def uninterrupted(toy: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    train(toy.Toy(seed=3), LoopConfig(**LOOP), run)
    return run


def program(toy: ModuleType, run: Path, task: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(toy.__file__), str(run), json.dumps({"task": task, "loop": LOOP})]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("at", [0, 3, 6])  # step 3 ends where a validation is due, 6 in the middle of a log window
def test_stopped_and_resumed_equals_uninterrupted(
    toy: ModuleType, uninterrupted: Path, tmp_path: Path, at: int, number: int
) -> None:
    said = io.StringIO()
    stopped = toy.Toy(seed=3, signals={at: number})
    with pytest.raises(Interrupted) as stop:
        train(stopped, LoopConfig(**LOOP), tmp_path, console=Console(file=said, width=200))
    assert stop.value.code == 130
    assert f"stopped at step {at + 1}" in said.getvalue() and "run the same command again" in said.getvalue()
    resumed = toy.Toy(seed=3)
    summary = train(resumed, LoopConfig(**LOOP), tmp_path)
    assert summary.step == 12
    assert resumed.seen[0][0] == at + 1 and resumed.seen[-1][0] == 11
    assert same(contents(tmp_path), contents(uninterrupted))


def test_killed_between_checkpoints_and_resumed_equals_uninterrupted(
    toy: ModuleType, uninterrupted: Path, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        train(toy.Toy(seed=3, signals={2: signal.SIGINT}), LoopConfig(**LOOP), tmp_path)
    killed = program(toy, tmp_path, {"seed": 3, "signals": {"9": int(signal.SIGKILL)}})
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    torn = tmp_path / "metrics.jsonl"
    assert '"step": 8' in torn.read_text()  # it got beyond its checkpoint and logged that
    torn.write_text(torn.read_text() + '{"step": 9, "train/')
    half = tmp_path / "checkpoints" / ".step-0000009"  # as if killed while it wrote
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"torn")
    train(toy.Toy(seed=3), LoopConfig(**LOOP), tmp_path)
    assert same(contents(tmp_path), contents(uninterrupted))


def test_ctrl_c_of_a_program_exits_with_130_and_one_line(toy: ModuleType, tmp_path: Path) -> None:
    stopped = program(toy, tmp_path, {"signals": {"1": int(signal.SIGINT)}})
    assert stopped.returncode == 130
    assert stopped.stderr == ""
    assert stopped.stdout.splitlines()[-1].startswith("toy: stopped at step 2; run the same command again")


def test_micro_batches_are_one_batch(toy: ModuleType, tmp_path: Path) -> None:
    options = {"seed": 3, "dropout": 0.0, "muon": False, "statistics": False}
    config: dict[str, Any] = {"steps": 6, "seed": 3, "clip": 0.5}
    parts, whole = (toy.Toy(**options, lanes=lanes) for lanes in (None, (0, 1)))
    train(parts, LoopConfig(**config, accumulate=2), tmp_path / "parts")
    train(whole, LoopConfig(**config), tmp_path / "whole")
    for a, b in zip(parts.modules.parameters(), whole.modules.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_ends_on_the_step_that_was_asked_for(toy: ModuleType, uninterrupted: Path) -> None:
    again = toy.Toy(seed=3)
    summary = train(again, LoopConfig(**LOOP), uninterrupted)
    assert (summary.step, again.seen) == (12, [])
    assert summary.validation.keys() == {"radius"}
    assert summary.checkpoint.name == "step-0000012"


def test_more_steps_go_on_from_the_end(toy: ModuleType, uninterrupted: Path, tmp_path: Path) -> None:
    run = shutil.copytree(uninterrupted, tmp_path / "run")
    more, said = toy.Toy(seed=3), io.StringIO()
    config = LoopConfig(**{**LOOP, "steps": 14})
    assert train(more, config, run, console=Console(file=said, width=200)).step == 14
    assert [step for step, _ in more.seen] == [12, 12, 13, 13]
    assert "changed since the last start: recipe.loop.steps" in said.getvalue()
    starts = json.loads((run / "run.json").read_text())["starts"]
    assert [(start["step"], start["changed"]) for start in starts[-1:]] == [(12, ["recipe.loop.steps"])]


def test_wall_clock_budget_counts_across_starts(toy: ModuleType, tmp_path: Path) -> None:
    config = LoopConfig(seconds=1000, validate_every=None)
    with pytest.raises(Interrupted):
        train(toy.Toy(signals={2: signal.SIGINT}), config, tmp_path)
    newest = checkpoint.latest(tmp_path)
    assert newest is not None
    state = newest / "state.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "elapsed": 1000.0}))
    spent = toy.Toy()
    summary = train(spent, config, tmp_path)
    assert spent.seen == [] and summary.step == 3 and summary.validation
    assert train(spent, LoopConfig(seconds=5000, steps=5), tmp_path).step == 5


def test_validation_and_samples_are_kept(uninterrupted: Path) -> None:
    lines = [json.loads(line) for line in (uninterrupted / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "validation/radius" in line] == [4, 8, 12]
    logged = [line for line in lines if "train/loss/generator" in line]
    assert [line["step"] for line in logged] == [5, 10]
    assert all(line["time/frames"] == pytest.approx(16 * line["time/steps"]) for line in logged)
    pcm, rate = soundfile.read(uninterrupted / "samples" / "step-0000012" / "tone.wav")
    assert rate == 16000 and pcm.shape == (1600,)
    np.testing.assert_allclose(pcm, np.sin(np.arange(1600) * 0.2), atol=1e-4)
    assert list((uninterrupted / "tensorboard").iterdir())


def test_an_update_without_a_finite_loss_is_left_out(toy: ModuleType, tmp_path: Path) -> None:
    task = toy.Toy(poison=(3, 4))
    summary = train(task, LoopConfig(steps=8, nonfinite_limit=3), tmp_path)
    assert summary.skipped == 2
    assert all(torch.isfinite(p).all() for p in task.modules.parameters())


def test_too_many_broken_losses_end_the_run(toy: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(DuologueError, match="toy was not finite 3 steps in a row, last at step 7"):
        train(toy.Toy(poison=(1, 4, 5, 6)), LoopConfig(steps=20, nonfinite_limit=3), tmp_path)


def test_a_full_disk_leaves_the_earlier_checkpoint_good(toy: ModuleType, tmp_path: Path) -> None:
    options: dict[str, Any] = {"steps": 8, "ema": 0.9, "validate_every": None}
    with pytest.raises(Interrupted):
        train(toy.Toy(width=128, signals={3: signal.SIGINT}), LoopConfig(**options), tmp_path)
    before = checkpoint.latest(tmp_path)
    assert before is not None and before.name == "step-0000004"
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 15, unlimited[1]))  # writes beyond 32 KiB fail, as on a full disk
    try:
        with pytest.raises(DuologueError, match=r"cannot write checkpoint .*step-0000008.*step-0000004 is untouched"):
            train(toy.Toy(width=128), LoopConfig(**options), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["latest", "step-0000004"]
    assert train(toy.Toy(width=128), LoopConfig(**options), tmp_path).step == 8


def test_never_silently_starts_over(toy: ModuleType, uninterrupted: Path, tmp_path: Path) -> None:
    with pytest.raises(DuologueError, match="already holds a run"):
        train(toy.Toy(), LoopConfig(**LOOP), uninterrupted, resume=False)
    run = shutil.copytree(uninterrupted, tmp_path / "run")
    (run / "checkpoints" / "step-0000012" / "optimizer.pt").write_bytes(b"torn")
    with pytest.raises(ModelError, match=r"cannot read checkpoint .*step-0000012"):
        train(toy.Toy(), LoopConfig(**LOOP), run)
    shutil.rmtree(run / "checkpoints" / "step-0000012")
    with pytest.raises(ModelError, match="names step-0000012, which is not there"):
        train(toy.Toy(), LoopConfig(**LOOP), run)


def test_bf16_keeps_weights_in_fp32_and_learns(toy: ModuleType, tmp_path: Path) -> None:
    task = toy.Toy()
    train(task, LoopConfig(steps=3, precision="bf16"), tmp_path)
    assert {p.dtype for p in task.modules.parameters()} == {torch.float32}


def test_a_run_must_have_an_end() -> None:
    with pytest.raises(ValueError, match="steps or seconds"):
        LoopConfig()
