"""`duologue serve` as a process: it comes up, says where, refuses what is unsafe, and ends when it is told to."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest
from systems.simple import write_tiny_model

from duologue import cli


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_stop(sent: signal.Signals, tmp_path: Path) -> None:
    port = free_port()
    model = write_tiny_model(tmp_path / "tiny")
    command = [sys.executable, "-m", "duologue.cli", "serve", "--model", str(model), "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        end = time.monotonic() + 90
        while True:
            try:
                answer = httpx2.get(f"http://127.0.0.1:{port}/readyz")
                break
            except httpx2.ConnectError:
                assert process.poll() is None
                assert time.monotonic() < end
                time.sleep(0.1)
        assert answer.json() == {"ready": True}
        process.send_signal(sent)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0
    lines = errors.splitlines()
    assert f"127.0.0.1:{port}" in lines[0]
    assert [json.loads(line)["event"] for line in lines[1:]] == ["draining"]


def test_a_public_address_needs_a_key(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DUOLOGUE_API_KEYS", raising=False)
    assert cli.main(["serve", "--host", "0.0.0.0"]) == 1
    assert "--api-key" in capsys.readouterr().err


def test_a_wrong_limit_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "limits.json").write_text('{"sessions_per_key": 0}')
    assert cli.main(["serve", "--limits", str(tmp_path / "limits.json")]) == 1
    assert "limits.json: sessions_per_key" in capsys.readouterr().err
