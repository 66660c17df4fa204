"""Data parallelism: two processes under torchrun train what one process trains on the combined batch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from duologue.errors import ConfigError, DeviceError
from duologue.train import checkpoint, distributed
from duologue.train.loop import LoopConfig, train

ROOT = Path(__file__).resolve().parents[2]


def test_two_processes_equal_one_with_the_combined_batch(toy: ModuleType, tmp_path: Path) -> None:
    task = {"seed": 3, "dropout": 0.0, "muon": False, "statistics": False}
    loop: dict[str, Any] = {"steps": 6, "seed": 3, "log_every": 3, "validate_every": 4, "ema": 0.9}
    # The second process alone gets a Ctrl-C at step 2: both must stop there and go on from the first's checkpoint.
    starts = [json.dumps({"task": {**task, "signals": s}, "loop": loop}) for s in ({"2": int(signal.SIGINT)}, {})]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launch, str(toy.__file__), str(tmp_path / "two"), *starts],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    assert "toy: stopped at step 3;" in done.stdout
    digests = [(tmp_path / "two" / f"digest-{rank}").read_text() for rank in (0, 1)]
    assert digests[0] == digests[1]

    train(toy.Toy(**task, lanes=(0, 1)), LoopConfig(**loop), tmp_path / "one")
    two, one = toy.Toy(**task), toy.Toy(**task)
    for averaged in (False, True):
        checkpoint.load_weights(two.modules, tmp_path / "two", averaged=averaged)
        checkpoint.load_weights(one.modules, tmp_path / "one", averaged=averaged)
        for a, b in zip(two.modules.parameters(), one.modules.parameters(), strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
    logs = [(tmp_path / run / "metrics.jsonl").read_text().splitlines() for run in ("two", "one")]
    for a, b in zip(*(map(json.loads, log) for log in logs), strict=True):
        assert a["step"] == b["step"] and a.keys() == b.keys()
        for key in a.keys() & {"train/loss/generator", "train/norm/generator", "validation/radius"}:
            assert a[key] == pytest.approx(b[key], rel=1e-4)


def test_the_first_process_makes_the_data_and_the_others_find_them(tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launch, str(Path(__file__).with_name("first.py")), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    assert {path.parent.name: path.name for path in tmp_path.glob("*/made-by-*")} == dict.fromkeys(
        ("users", "voice"), "made-by-0"
    )
    assert len(list(tmp_path.glob("*/made-by-*"))) == 2
    found = [(tmp_path / f"found-by-{rank}").read_text().split() for rank in (0, 1)]
    assert found[0] == found[1]
    assert all(int(count) >= 10 for count in found[0])


def test_alone_every_collective_leaves_things_as_they_are() -> None:
    tensor = torch.arange(3.0)
    assert torch.equal(distributed.mean(tensor.clone()), tensor) and torch.equal(distributed.total(tensor), tensor)
    parameter = torch.nn.Parameter(tensor)
    distributed.average_gradients([parameter])
    assert parameter.grad is None


def test_a_world_that_makes_no_sense_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(ConfigError, match="must be whole numbers"):
        distributed.world()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_one_line() -> None:
    assert distributed.device_for("auto") == torch.device("cpu")
    with pytest.raises(DeviceError, match="sees no GPU"):
        distributed.device_for("cuda")
