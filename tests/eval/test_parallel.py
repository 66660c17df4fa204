"""Worker processes of a run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from duologue.eval.holder import Setup
from duologue.eval.parallel import _pool


def test_a_worker_computes_with_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many workers as cores, each with as many threads, wait for one another most of the time."""
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with _pool(Setup("dev", None, tmp_path, {}), 1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 1
