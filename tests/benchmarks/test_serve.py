"""The benchmark of the server: its arithmetic, and each of its commands in small, with a real server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from serve.conftest import KEY, Served, serving
from systems.simple import Beeper

from benchmarks.serving.purity import PURE, purity
from benchmarks.serving.served import percentile, read_counters, since
from benchmarks.serving.talker import Reply, Taken

pytest.importorskip("psutil", reason="no psutil: install duologue[eval]")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def beeper() -> Iterator[Served]:
    with serving(Beeper()) as served:
        yield served


def run(command: str, out: Path, *options: str, status: int | None = 0, **environment: str) -> dict[str, Any]:
    """Run a command of the benchmark, which ends with `status` (None: any); what it has written."""
    line = [sys.executable, "benchmarks/serve.py", command, "--out", str(out), *options]
    done = subprocess.run(
        line, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1", **environment}
    )
    assert status in (None, done.returncode), done.stdout + done.stderr
    assert f"wrote {out}/{command}.json" in done.stdout
    result: dict[str, Any] = json.loads((out / f"{command}.json").read_text())
    return result


def test_what_comes_after_it_was_to_be_played_is_late() -> None:
    paced = [(10 + 0.08 * index, 0.08) for index in range(10)]
    assert Reply(paced).played(0, 100) == (10, 0)
    assert Reply([(10.0, 0.8)]).played(0, 100) == (10, 0)  # all at once, as many servers send it
    jittered = [(came + 0.07 * (index % 2), seconds) for index, (came, seconds) in enumerate(paced)]
    assert Reply(jittered).played(0, 100) == (10, 0)  # less than what the player lets gather
    stalled = [(came + 0.3 * (index >= 5), seconds) for index, (came, seconds) in enumerate(paced)]
    assert Reply(stalled).played(0, 100) == (10, 1)  # one gap, and the player goes on from there
    assert Reply(stalled).played(10.75, 100) == (4, 0)


def test_latency_is_from_the_frame_that_was_sent_to_the_one_that_answers_it() -> None:
    sent = [0.02 * index for index in range(400)]  # frame n is whole with message 4n + 3, at 0.08 n + 0.06
    waits = [0.01, 0.02, 0.11, 0.03, 0.01]
    pieces = [(0.06 + 0.08 * (20 + index) + wait, 0.08) for index, wait in enumerate(waits)]
    taken = Taken(sent, [Reply([*pieces, (pieces[-1][0], 0.02)])])
    assert taken.added(0, 100) == pytest.approx(waits)
    assert taken.added(0, 1.8) == pytest.approx(waits[:2])


def test_counters_are_read_and_percentiles_estimated() -> None:
    text = "# HELP x y\n" + "".join(
        f'waited_bucket{{le="{bound}"}} {count}.0\n' for bound, count in (("0.01", 50), ("0.02", 100), ("+Inf", 100))
    )
    counters = read_counters(text + 'sessions{protocol="a"} 2.0\nsessions{protocol="b"} 3.0\n')
    assert counters["sessions"] == 5
    assert percentile(counters, "waited", 0.5) == pytest.approx(0.01)
    assert percentile(counters, "waited", 0.99) == pytest.approx(0.0198)
    assert percentile(since(counters, counters), "waited", 0.5) is None


def test_load_gives_late_frames_latency_and_memory(tmp_path: Path) -> None:
    loads = ("--conversations", "2", "--conversations", "1")
    result = run("load", tmp_path, "--model", "always-talk", *loads, "--seconds", "2", "--warm", "0.5")
    first = result["levels"][0]
    assert first["conversations"] == 1 and first["refused"] == 0 and not first["errors"]
    for level in result["levels"]:
        frames = level["conversations"] * 2 / 0.08
        assert 0.5 * frames < level["reply_frames"] < 1.5 * frames  # it never stops talking
        assert level["added_ms"]["p50"] > 0 and level["memory_mib"] > 10 and level["step_frames"] > 0
    assert (tmp_path / "load.png").read_bytes().startswith(b"\x89PNG")


def test_load_runs_against_any_realtime_server(beeper: Served, tmp_path: Path) -> None:
    tone = 0.3 * np.sin(2 * np.pi * 300 * np.arange(8000) / 16000)
    soundfile.write(tmp_path / "tone.wav", tone, 16000)
    url = f"{beeper.ws}/v1/realtime?model=beeper"
    options = ("--url", url, "--conversations", "2", "--seconds", "7", "--question", str(tmp_path / "tone.wav"))
    result = run("load", tmp_path, *options, OPENAI_API_KEY=KEY)
    (level,) = result["levels"]
    assert level["refused"] == 0 and level["reply_frames"] > 0
    assert level["answer_ms"]["p50"] > 0 and "memory_mib" not in level and "half" not in result


def test_who_is_not_let_in_is_no_load_that_is_held(beeper: Served, tmp_path: Path) -> None:
    options = ("--url", f"{beeper.ws}/v1/realtime", "--conversations", "1", "--seconds", "1", "--warm", "0")
    result = run("load", tmp_path, *options, OPENAI_API_KEY="wrong")
    assert result["capacity"] == 0 and result["levels"][0]["refused"] == 1


def test_fuzz_reaches_every_endpoint_and_a_healthy_conversation_goes_on_beside_it(tmp_path: Path) -> None:
    result = run("fuzz", tmp_path, "--model", "always-talk", "--count", "400", status=None)
    assert sum(result["sent"].values()) >= 400
    kinds = {"/v1/realtime", "/v1/live/sessions", "/twilio", "http", "bytes"}
    if find_spec("aiortc") is not None:
        kinds |= {"oai-events"}
        assert any(name.startswith("oai-events ") for name in result["answers"])
    assert set(result["sent"]) == kinds
    assert result["alive"] and not result["failed"]
    assert result["healthy"]["frames"] > 0 and not result["healthy"]["lost"]
    assert '"event": "opened"' in (tmp_path / "server.log").read_text()


def test_soak_looks_at_memory_files_slots_and_whether_sound_reaches_another(tmp_path: Path) -> None:
    result = run("soak", tmp_path, "--model", "always-talk", "--minutes", "0.15", "--talkers", "2", status=None)
    assert result["alive"] and not result["healthy"]["lost"] and not result["healthy"]["foreign_replies"]
    assert not any(result["left"].values())
    assert result["healthy"]["conversations"] == 6 and result["healthy"]["checked_replies"] > 3
    assert {name.partition(",")[0] for name in result["others"]} >= {"vanishes", "floods", "talks_nonsense"}
    assert (tmp_path / "soak.png").read_bytes().startswith(b"\x89PNG")


def test_anothers_sound_in_a_reply_is_found() -> None:
    time = np.arange(24000) / 24000
    own, foreign = (0.3 * np.sin(2 * np.pi * hertz * time) for hertz in (370, 2000))
    pcm = [(32767 * sound).astype("<i2").tobytes() for sound in (own, own + 0.5 * foreign)]
    gap = pcm[0][:9600] + bytes(3840) + pcm[0][9600:]  # a frame of silence for one that came late
    assert min(purity(pcm[0], 370, 24000), purity(gap, 370, 24000)) > PURE > purity(pcm[1], 370, 24000)
