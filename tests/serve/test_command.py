"""`duologue serve` as a process: it comes up, says where, refuses what is unsafe, does as its options and its
environment say, and ends when it is told to."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2
import numpy as np
import psutil
import pytest
import soundfile
from serve.conftest import tone
from systems.simple import write_tiny_model
from websockets.sync.client import connect

from duologue import cli
from duologue.serve.twilio import signature


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def process(folder: Path, *options: str, **variables: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A tiny model in a server of its own, where it is at home, and the process; it is up."""
    port = free_port()
    model = write_tiny_model(folder / "tiny")
    command = [sys.executable, "-m", "duologue.cli", "serve", "--model", str(model), "--port", str(port), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    served = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        end = time.monotonic() + 180
        while True:
            try:
                assert httpx2.get(f"http://127.0.0.1:{port}/readyz").json() == {"ready": True, "behind": False}
                break
            except httpx2.ConnectError:
                assert served.poll() is None
                assert time.monotonic() < end
                time.sleep(0.1)
        yield f"127.0.0.1:{port}", served
    finally:
        served.kill()


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_stop(sent: signal.Signals, tmp_path: Path) -> None:
    with process(tmp_path) as (home, served):
        served.send_signal(sent)
        _, errors = served.communicate(timeout=30)
    assert served.returncode == 0
    lines = errors.splitlines()
    assert lines[0].startswith(f"http://{home}/ · ws://{home}/v1/realtime ·")
    assert [json.loads(line)["event"] for line in lines[1:]] == ["draining"]


def test_it_says_where_it_is_once_it_is_there() -> None:
    command = [sys.executable, "-m", "duologue.cli", "serve", "--model", "never-talk", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as served:
        try:
            assert served.stderr is not None
            page = served.stderr.readline().split()[0]
            assert "<title>" in httpx2.get(page).text
        finally:
            served.kill()


def test_ctrl_c_while_the_model_loads_leaves_one_line_and_no_process(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "tiny")
    command = [sys.executable, "-m", "duologue.cli", "serve", "--model", str(model), "--port", str(free_port())]
    served = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    whole = psutil.Process(served.pid)
    try:
        while len(loading := whole.children(recursive=True)) < 2:  # the model's, and the one that keeps account of such
            assert served.poll() is None
            time.sleep(0.01)
        os.killpg(served.pid, signal.SIGINT)  # as a terminal does
        _, told = served.communicate(timeout=60)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(served.pid, signal.SIGKILL)
    assert (served.returncode, told) == (130, "stopped\n")
    assert not psutil.wait_procs(loading, timeout=10)[1]


def test_a_server_one_of_whose_models_died_says_so_and_one_without_any_ends(tmp_path: Path) -> None:
    with process(tmp_path, "--model", "never-talk") as (home, served):
        assert httpx2.get(f"http://{home}/healthz").status_code == 200
        children = psutil.Process(served.pid).children()
        first, second = (child for child in children if "resource_tracker" not in " ".join(child.cmdline()))
        first.kill()
        end = time.monotonic() + 30
        while httpx2.get(f"http://{home}/healthz").status_code != 503:
            assert time.monotonic() < end
        assert httpx2.get(f"http://{home}/readyz").json()["ready"] is False
        with connect(f"ws://{home}/v1/realtime") as client:  # for whoever names no model, the one that lives
            assert json.loads(client.recv(timeout=30))["session"]["model"] == "never-talk"
        assert served.poll() is None
        second.kill()
        _, errors = served.communicate(timeout=60)
    assert served.returncode == 1
    assert "the processes of all models have ended (" in errors.splitlines()[-1]
    assert "Traceback" not in errors


def test_a_conversation_is_recorded_where_it_is_asked(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    with process(tmp_path, "--record", str(kept), "--slots", "2") as (home, served):
        with connect(f"ws://{home}/v1/realtime") as client:
            audio = base64.b64encode(tone(1.0)).decode()
            client.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
            # What comes in order is answered in order: the sound was taken in.
            client.send(json.dumps({"type": "session.update", "session": {}}))
            while json.loads(client.recv(timeout=30))["type"] != "session.updated":
                pass
            end = time.monotonic() + 30
            while f'duologue_frames_total{{model="{name_of(home)}"}} 0.0' in metrics(home):
                assert time.monotonic() < end
                time.sleep(0.05)
        served.send_signal(signal.SIGTERM)
        served.communicate(timeout=40)
    sound, rate = soundfile.read(next(kept.glob("*.flac")))
    assert sound.ndim == 2 and rate == 16000
    assert np.abs(sound[:, 0]).max() > 0.1
    assert next(kept.glob("*.jsonl")).stat().st_size > 0


def test_twilio_is_known_by_the_token_in_the_environment(tmp_path: Path) -> None:
    with process(tmp_path, "--api-key", "secret", DUOLOGUE_TWILIO_TOKEN="12345") as (home, _):
        url = f"http://{home}/twilio/voice"
        form = [("CallSid", "CA1")]
        assert httpx2.post(url, data=dict(form)).status_code == 403
        signed = {"X-Twilio-Signature": signature("12345", url, form)}
        answer = httpx2.post(url, data=dict(form), headers=signed)
        assert answer.status_code == 200
        assert f"ws://{home}/twilio" in answer.text


def metrics(home: str) -> str:
    return httpx2.get(f"http://{home}/metrics").text


def name_of(home: str) -> str:
    return str(httpx2.get(f"http://{home}/v1/models").json()["data"][0]["id"])


def test_a_public_address_needs_a_key(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DUOLOGUE_API_KEYS", raising=False)
    assert cli.main(["serve", "--host", "0.0.0.0"]) == 1
    assert "--api-key" in capsys.readouterr().err


def test_a_key_that_is_empty_is_refused_as_anybody_could_show_it(capsys: pytest.CaptureFixture[str]) -> None:
    for empty in ("", " "):
        assert cli.main(["serve", "--host", "0.0.0.0", "--api-key", "good", "--api-key", empty]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert "--api-key is empty" in line


def test_the_extra_brings_what_the_endpoints_need() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[<>=\[]", wanted)[0] for wanted in project["optional-dependencies"]["serve"]}
    assert {"starlette", "uvicorn", "websockets", "prometheus-client", "python-multipart"} <= names


def test_a_wrong_limit_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "limits.json").write_text('{"sessions_per_key": 0}')
    assert cli.main(["serve", "--limits", str(tmp_path / "limits.json")]) == 1
    assert "limits.json: sessions_per_key" in capsys.readouterr().err
