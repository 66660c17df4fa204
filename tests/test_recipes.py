"""The tiny recipe takes every step of the curriculum on real synthetic speech, and each part has learned something."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("espeakng_loader", reason="needs the extra synth")

ROOT = Path(__file__).parent.parent


def train(out: Path, *settings: str, recipe: str = "tiny") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "duologue.cli", "train", f"recipes/{recipe}.py", *settings, "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tiny")
    done = train(out)
    assert done.returncode == 0, done.stderr
    (out / "said").write_text(done.stderr)
    return out


def history(run: Path, stage: str, key: str) -> list[float]:
    lines = [json.loads(line) for line in (run / stage / "metrics.jsonl").read_text().splitlines()]
    return [line[key] for line in lines if key in line]


def test_every_stage_has_learned_something(run: Path) -> None:
    text = history(run, "text", "train/text/text")
    assert text[-1] < 0.6 * text[0]
    heard = history(run, "listen", "train/scenes/heard")
    assert heard[-1] < heard[0]
    assert history(run, "finish", "train/loss/model")[-1] < history(run, "listen", "train/loss/model")[0]
    assert history(run, "codec", "validation/stoi/assistant")[-1] > 0.5
    assert history(run, "codec", "validation/usage_0")[-1] > 0.6
    taught = history(run, "codec", "train/semantic")
    assert taught[-1] < 0.9 * taught[0]
    assert history(run, "speak", "validation/speak/codes_right")[-1] > 10 / 64  # of 64 entries a book


def test_every_stage_records_what_it_was_trained_on(run: Path) -> None:
    heard = {"scenes", "dictation", "text", "drills", "text_over_sound", "drills_over_sound"}
    sources = {
        "codec": {"assistant", "synthetic"},
        "decoder": {"assistant", "synthetic"},
        "text": {"text", "drills"},
        "listen": heard,
        "finish": heard,
        "speak": {"utterances", "lexicon"},
    }
    data = {stage: json.loads((run / stage / "run.json").read_text())["data"] for stage in sources}
    assert {stage: set(of) for stage, of in data.items()} == sources
    assert data["listen"] == data["finish"]
    for of in data.values():
        assert all(of.values()) and len(set(of.values())) == len(of)


def test_data_are_made_with_their_speed_and_the_time_left(run: Path) -> None:
    said = (run / "said").read_text()
    for work in (
        r"users (\d+)/\1 lines",
        r"voice (\d+)/\1 lines",
        "scenes-train 24/24 scenes",
        "dictation-train 8/8 scenes",
        "scenes-dev 4/4 scenes",
    ):
        assert re.search(rf"^{work}  [\d.]+ \w+/s  0s left$", said, re.MULTILINE), work


def test_the_packed_model_hears_the_codes_it_was_trained_on(run: Path) -> None:
    from duologue.codec.spectral import SpectralCodec
    from duologue.lm.model import SpeechLM

    model = SpeechLM.load(run / "model")
    assert {stream.name for stream in model.config.thinker_layout.heard} >= {"user", "user_codes"}
    trained = SpectralCodec.load(run / "ears").state_dict()
    for name, tensor in model.codec.state_dict().items():
        assert name.startswith("decoder.") or torch.equal(tensor, trained[name]), name


def test_the_packed_model_talks_by_the_rules(run: Path) -> None:
    from duologue.systems.registry import load

    random = np.random.default_rng(0)
    with load(run / "model").open() as conversation:
        replies = [conversation.step(random.normal(0, 0.1, 1280).astype(np.float32)) for _ in range(40)]
    assert all(np.isfinite(reply.pcm).all() and np.abs(reply.pcm).max() <= 1 for reply in replies)


def test_a_finished_run_is_not_done_again(run: Path) -> None:
    weights = (run / "model" / "model.safetensors").read_bytes()
    lines = len((run / "text" / "metrics.jsonl").read_text().splitlines())
    assert train(run).returncode == 0
    assert (run / "model" / "model.safetensors").read_bytes() == weights
    assert len((run / "text" / "metrics.jsonl").read_text().splitlines()) == lines


def test_a_model_listens_further_and_keeps_all_but_its_thinker(run: Path, tmp_path: Path) -> None:
    from duologue.lm.model import SpeechLM

    settings = ("speech=none", "scenes=4", "dictations=2", "dev_scenes=2", "workers=1", "mix.rows=4", "mix.frames=160")
    voice = ("voice.engine=espeak", "voice.name=en-us", f"model={run / 'model'}", "loop.steps=2")
    done = train(tmp_path, *settings, *voice, recipe="further")
    assert done.returncode == 0, done.stderr
    before, after = (SpeechLM.load(folder / "model").state_dict() for folder in (run, tmp_path))
    changed = {name.partition(".")[0] for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert changed == {"thinker"}


def test_ears_grow_before_a_model_listens_further(run: Path, tmp_path: Path) -> None:
    from duologue.lm.model import SpeechLM

    settings = ("speech=none", "scenes=4", "dictations=2", "dev_scenes=2", "workers=1", "mix.rows=4", "mix.frames=160")
    voice = ("voice.engine=espeak", "voice.name=en-us", f"model={run / 'model'}", "loop.steps=2")
    done = train(tmp_path, *settings, *voice, "ears=[1,2,1]", recipe="further")
    assert done.returncode == 0, done.stderr
    model = SpeechLM.load(tmp_path / "model")
    assert model.config.thinker.ears == (1, 2, 1)
    assert (
        len(model.thinker.encoders["user"].layers)
        == len(SpeechLM.load(run / "model").thinker.encoders["user"].layers) + 1
    )
    done = train(tmp_path / "less", *settings, *voice, "ears=[1,0,1]", recipe="further")
    assert done.returncode == 1
    assert "change ears" in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_a_model_that_speaks_in_another_voice_is_not_taken_further(run: Path, tmp_path: Path) -> None:
    done = train(tmp_path, f"model={run / 'model'}", recipe="further")
    assert done.returncode == 1
    assert "voice.name" in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_a_setting_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = train(tmp_path, "thinker.txet.steps=3")
    assert done.returncode == 1
    assert "thinker.txet" in done.stderr and len(done.stderr.strip().splitlines()) == 1
