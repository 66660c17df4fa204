"""The command line: what it writes and prints, and one line for whatever a user can get wrong."""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
from systems.simple import BEEP, QUIET, Beeper, write_tiny_model

from duologue import cli
from duologue.systems import registry

Run = Callable[..., tuple[int, str, str]]
ROOT = Path(cli.__file__).parents[1]
START = 1.2 + QUIET * 0.08  # the questions here last 1.2 s; this is when the beeper begins


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command with the beeper as the model in the box: exit code, standard output, standard error."""
    load = registry.load
    monkeypatch.setattr(registry, "load", lambda name="box": Beeper() if str(name) == "box" else load(name))

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        code = cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def tone(seconds: float = 1.2, rate: int = 16000, level: float = 0.2) -> np.ndarray:
    return (level * np.sin(2 * np.pi * 300 * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write(path: Path, pcm: np.ndarray, rate: int = 16000, subtype: str | None = None) -> Path:
    soundfile.write(path, pcm, rate, subtype=subtype)
    return path


def process(*arguments: str | Path, **options: object) -> subprocess.Popen[bytes]:
    """The command line as a process of its own, with the beeper as the model in the box."""
    program = (
        # a job in the background ignores Ctrl-C, and so would its child
        "import sys, signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from systems.simple import Beeper; from duologue.systems import registry;"
        "registry.load = lambda name: Beeper(); from duologue.cli import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", program, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(command, env=environment, **{**pipes, **options})  # type: ignore[call-overload,no-any-return]


@contextmanager
def small_files(limit: int = 4096) -> Iterator[None]:
    """No file may outgrow `limit` bytes; writing on fails as it does on a full disk."""
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1][1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before[1])
        signal.signal(signal.SIGXFSZ, before[0])


def assert_one_line(code: int, error: str, *parts: str) -> None:
    assert code == 1
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    for part in parts:
        assert part in error


class TestTalk:
    def test_a_question_is_answered(self, run: Run, folder: Path) -> None:
        write(folder / "ask.wav", tone())
        code, out, _ = run("talk", "ask.wav")
        assert code == 0
        assert "sound" in out
        assert "beep" in out
        assert f"{START:.2f}" in out
        assert f"{QUIET * 0.08:+.2f} s after" in out
        assert "real-time factor" in out
        pcm, rate = soundfile.read(folder / "ask.reply.wav")
        assert rate == 16000
        loud = np.flatnonzero(np.abs(pcm) > 0.01) / rate
        assert loud[0] == pytest.approx(START, abs=0.01)
        assert loud[-1] == pytest.approx(START + BEEP * 0.08, abs=0.01)

    def test_stereo_has_both_voices_on_one_time_line(self, run: Run, folder: Path) -> None:
        question = tone()
        write(folder / "ask.wav", question)
        run("talk", "ask.wav", "--stereo", "-o", "both.flac")
        pcm, _ = soundfile.read(folder / "both.flac", dtype="float32")
        np.testing.assert_allclose(pcm[: len(question), 0], question, atol=1e-4)
        assert not pcm[len(question) :, 0].any()
        assert np.flatnonzero(np.abs(pcm[:, 1]) > 0.01)[0] / 16000 == pytest.approx(START, abs=0.01)

    def test_text_prints_the_reply_alone(self, run: Run, folder: Path) -> None:
        turn = np.concatenate((tone(), np.zeros(16000, np.float32)))
        write(folder / "ask.wav", np.concatenate((turn, turn)))
        assert run("talk", "ask.wav", "--text")[:2] == (0, "beep\nbeep\n")

    def test_events_are_lines_of_json(self, run: Run, folder: Path) -> None:
        write(folder / "ask.wav", tone())
        run("talk", "ask.wav", "--events", "events.jsonl")
        events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
        kinds = [event["kind"] for event in events if event["kind"] != "timing"]
        assert kinds == ["user_started", "heard", "user_stopped", "text", "reply_started", "spoken", "reply_ended"]

    def test_it_stops_listening_when_nothing_more_is_to_come(self, run: Run, folder: Path) -> None:
        write(folder / "ask.wav", tone())
        run("talk", "ask.wav", "--tail", "30")
        assert soundfile.info(folder / "ask.reply.wav").duration < START + BEEP * 0.08 + 1

    def test_a_question_that_draws_no_reply_ends_after_the_tail(self, run: Run, folder: Path) -> None:
        write(folder / "quiet.wav", tone(level=0.005))
        code, out, _ = run("talk", "quiet.wav", "--tail", "0.8")
        assert code == 0
        assert "no reply" in out
        assert soundfile.info(folder / "quiet.reply.wav").duration == pytest.approx(1.2 + 0.8, abs=0.17)

    @pytest.mark.parametrize(
        ("name", "rate", "channels"),
        [("a.flac", 44100, 1), ("a.ogg", 48000, 2), ("a.wav", 8000, 1), ("a.aiff", 22050, 2)],
    )
    def test_any_format_rate_and_channels(self, run: Run, folder: Path, name: str, rate: int, channels: int) -> None:
        write(folder / name, np.stack([tone(rate=rate)] * channels, axis=1), rate)
        code, out, error = run("talk", name, "--text")
        assert (code, out, error) == (0, "beep\n", "")

    def test_a_long_recording_runs_in_constant_memory(self, run: Run, folder: Path) -> None:
        peaks = []
        for turns in (16, 40):  # both long enough for the progress bar
            write(folder / "long.wav", np.tile(np.r_[tone(1, 8000), np.zeros(8000)], turns), 8000, "PCM_U8")
            tracemalloc.start()
            code, out, _ = run("talk", "long.wav", "--text", "--stereo")
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
            assert code == 0
            assert out == "beep\n" * turns
        assert peaks[1] - peaks[0] < 2_000_000  # both voices of 48 s more are 6 MB

    def test_the_native_model_talks(self, run: Run, folder: Path, tiny: Path, question: np.ndarray) -> None:
        write(folder / "ask.wav", question)
        code, out, _ = run("talk", "ask.wav", "--model", tiny, "--tail", "0.5")
        assert code == 0
        assert "wrote ask.reply.wav" in out


class TestBadQuestions:
    @pytest.mark.parametrize(
        ("make", "part"),
        [
            (lambda path: None, "No such file"),
            (lambda path: path.write_bytes(b""), "empty"),
            (lambda path: path.write_bytes(b"hello " * 100), "not audio"),
            (lambda path: path.mkdir(), "folder"),
            (lambda path: write(path, np.zeros(16000)), "silent"),
            (lambda path: write(path, np.zeros(1)), "too short"),
            (lambda path: write(path, tone(0.05)), "too short"),
            (lambda path: write(path, np.r_[tone(), np.nan], subtype="FLOAT"), "NaN"),
            (lambda path: (write(path, tone()), os.truncate(path, 20000)), "cut short"),
        ],
        ids=["missing", "empty", "not-audio", "folder", "silent", "one-sample", "short", "nan", "truncated"],
    )
    def test_one_line_and_nothing_written(
        self, run: Run, folder: Path, make: Callable[[Path], object], part: str
    ) -> None:
        make(folder / "ask.wav")
        code, out, error = run("talk", "ask.wav", "--events", "events.jsonl")
        assert_one_line(code, error, "ask.wav", part)
        assert out == ""
        assert {path.name for path in folder.iterdir()} <= {"ask.wav"}

    def test_nan_far_into_the_file_is_found_before_anything_is_said(self, run: Run, folder: Path) -> None:
        pcm = np.tile(tone(), 20)
        pcm[-100] = np.nan
        write(folder / "ask.wav", pcm, subtype="FLOAT")
        code, _, error = run("talk", "ask.wav")
        assert_one_line(code, error, "NaN")
        assert [path.name for path in folder.iterdir()] == ["ask.wav"]

    def test_clipped_is_a_warning(self, run: Run, folder: Path) -> None:
        write(folder / "ask.wav", np.clip(tone(level=3), -1, 1))
        code, out, error = run("talk", "ask.wav", "--text")
        assert (code, out) == (0, "beep\n")
        assert error.startswith("warning: ask.wav: clipped")

    def test_eight_channels_are_mixed_down_with_a_note(self, run: Run, folder: Path) -> None:
        write(folder / "ask.wav", np.stack([tone()] * 8, axis=1))
        code, out, error = run("talk", "ask.wav", "--text")
        assert (code, out) == (0, "beep\n")
        assert "8 channels" in error

    @pytest.mark.parametrize(
        ("arguments", "part"),
        [
            (["ask.wav", "--rate", "8000"], "--rate"),
            (["--mic", "--rate", "8000"], "--rate"),
            (["-", "--text"], "--text"),
            (["--mic", "--stereo"], "-o"),
            (["ask.wav", "-o", "both.wav", "--events", "./both.wav"], "written twice"),
            (["-", "-o", "both.wav", "--events", "both.wav"], "written twice"),
            (["ask.wav", "--events", "there"], "it is a folder"),
            (["ask.wav", "-o", "there.wav"], "it is a folder"),
        ],
    )
    def test_what_cannot_be_done_is_said_before_anyone_talks(
        self, run: Run, folder: Path, arguments: list[str], part: str
    ) -> None:
        write(folder / "ask.wav", tone())
        for name in ("there", "there.wav"):
            (folder / name).mkdir()
        code, out, error = run("talk", *arguments)
        assert_one_line(code, error, part)
        assert out == ""
        assert {path.name for path in folder.iterdir()} == {"ask.wav", "there", "there.wav"}

    def test_channels_that_cancel_each_other(self, run: Run, folder: Path) -> None:
        write(folder / "ask.wav", np.stack((tone(), -tone()), axis=1))
        code, _, error = run("talk", "ask.wav")
        assert_one_line(code, error, "silent once its 2 channels are mixed down")

    @pytest.mark.parametrize("option", ["-o", "--events"])
    def test_the_question_is_never_overwritten(self, run: Run, folder: Path, option: str) -> None:
        before = write(folder / "ask.wav", tone()).read_bytes()
        (folder / "link.wav").symlink_to("ask.wav")
        code, _, error = run("talk", "ask.wav", option, "link.wav")
        assert_one_line(code, error, "link.wav")
        assert (folder / "ask.wav").read_bytes() == before

    def test_a_format_that_cannot_be_written(self, run: Run, folder: Path) -> None:
        write(folder / "ask.wav", tone())
        code, _, error = run("talk", "ask.wav", "-o", "reply.mp3")
        assert_one_line(code, error, "reply.mp3", ".wav")

    def test_nothing_or_two_things_to_listen_to(self, run: Run) -> None:
        for arguments in (["talk"], ["talk", "ask.wav", "--mic"]):
            code, _, error = run(*arguments)
            assert_one_line(code, error, "--mic")

    def test_a_pipe_as_a_file_is_sent_to_the_raw_mode(self, run: Run, folder: Path) -> None:
        write(folder / "ask.wav", tone())
        os.mkfifo(folder / "pipe")
        feeder = subprocess.Popen(["sh", "-c", "cat ask.wav > pipe"], cwd=folder)
        code, _, error = run("talk", "pipe")
        feeder.kill()
        feeder.wait()
        assert code == 1
        assert error.count("\n") == 1

    @pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
    @pytest.mark.parametrize("carded", [False, True])
    def test_a_broken_model_is_one_line(self, run: Run, folder: Path, tiny: Path, name: str, carded: bool) -> None:
        write(folder / "ask.wav", tone())
        broken = folder / "broken"
        broken.mkdir()
        for path in tiny.iterdir():
            (broken / path.name).write_bytes(path.read_bytes()[: None if path.name != name else 100])
        if carded:
            (broken / "card.json").write_text(json.dumps({"name": "small", "hears": ["features"]}))
        for arguments in (["talk", "ask.wav", "--model", broken], ["info", broken]):
            code, out, error = run(*arguments)
            assert_one_line(code, error, name)
            assert out == ""
        assert not (folder / "ask.reply.wav").exists()

    def test_verbose_shows_the_trace(self, run: Run) -> None:
        code, _, error = run("talk", "nothing.wav", "--verbose")
        assert code == 1
        assert "Traceback" in error
        assert error.splitlines()[-1].startswith("error: ")


class TestPipe:
    @pytest.fixture
    def talk(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, bytes, str]]:
        """`talk -` with bytes on standard input: exit code, bytes on standard output, standard error."""

        def call(data: bytes, *options: str) -> tuple[int, bytes, str]:
            out = io.BytesIO()
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
            monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out))
            code, _, error = run("talk", "-", *options)
            return code, out.getvalue(), error

        return call

    def test_pcm_in_pcm_out(self, talk: Callable[..., tuple[int, bytes, str]], folder: Path) -> None:
        pcm = (tone() * 32767).astype("<i2").tobytes()
        code, out, error = talk(pcm, "-o", "r.wav", "--stereo")
        assert code == 0
        assert "you: sound" in error
        assert "reply: beep" in error
        recorded, _ = soundfile.read(folder / "r.wav", dtype="int16")
        said = np.frombuffer(out, "<i2")
        assert recorded.shape == (len(said) + 1280, 2)
        assert np.abs(recorded[1280:, 1].astype(int) - said).max() <= 1
        assert np.flatnonzero(np.abs(said) > 300)[0] / 16000 == pytest.approx(START - 0.08, abs=0.01)

    @pytest.mark.parametrize("rate", [8000, 44100, 48000])
    def test_another_rate(self, talk: Callable[..., tuple[int, bytes, str]], rate: int) -> None:
        pcm = (tone(rate=rate) * 32767).astype("<i2").tobytes()
        code, out, _ = talk(pcm, "--rate", str(rate))
        assert code == 0
        said = np.frombuffer(out, "<i2")
        assert np.flatnonzero(np.abs(said) > 300)[0] / rate == pytest.approx(START - 0.08, abs=0.1)
        assert len(said) / rate == pytest.approx(START + BEEP * 0.08 + 0.4, abs=0.2)

    @pytest.mark.parametrize("data", [b"", b"\x00"])
    def test_nothing_comes_in(self, talk: Callable[..., tuple[int, bytes, str]], folder: Path, data: bytes) -> None:
        code, out, error = talk(data, "-o", "r.wav")
        assert code == 1
        assert "error: standard input" in error.splitlines()[-1]
        assert out == b""
        assert not list(folder.iterdir())

    def test_replies_come_as_the_question_goes_in_until_the_listener_leaves(self, folder: Path) -> None:
        child = process("talk", "-", "-o", "r.wav", cwd=folder)
        assert child.stdin
        assert child.stdout
        assert child.stderr
        for _ in range(5):
            child.stdin.write(bytes(2560))
            child.stdin.flush()
            assert len(child.stdout.read(2560)) == 2560
        child.stdout.close()
        child.stdin.write(bytes(2560 * 10))
        child.stdin.close()
        assert child.wait(60) == 0
        assert "error" not in child.stderr.read().decode().lower()
        assert (folder / "r.wav").exists()


class TestInterrupts:
    def test_ctrl_c_leaves_nothing(self, folder: Path) -> None:
        write(folder / "long.wav", np.tile(tone(2, 8000), 1800), 8000)
        child = process("talk", "long.wav", cwd=folder)
        while not list(folder.glob(".long.reply-*")) and child.poll() is None:
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        out, error = child.communicate(timeout=60)
        assert child.returncode == 130
        assert out == b""
        assert error.decode().strip() == "stopped"
        assert [path.name for path in folder.iterdir()] == ["long.wav"]


class TestFullDisk:
    @pytest.mark.parametrize("target", [("-o", "r.wav"), ("-o", "r.flac"), ("--events", "e.jsonl")])
    def test_one_line_and_nothing_left(self, run: Run, folder: Path, target: tuple[str, str]) -> None:
        write(folder / "ask.wav", np.tile(np.r_[tone(), np.zeros(16000)], 10))
        with small_files():
            code, out, error = run("talk", "ask.wav", *target)
        assert_one_line(code, error, "cannot write", target[1] if target[0] == "-o" else "")
        assert out == ""
        assert [path.name for path in folder.iterdir()] == ["ask.wav"]

    @pytest.mark.parametrize("command", ["encode", "roundtrip"])
    def test_a_codec_leaves_nothing(self, run: Run, folder: Path, tiny: Path, command: str) -> None:
        write(folder / "ask.wav", tone(60))
        with small_files():
            code, _, error = run("codec", command, "ask.wav", "--codec", tiny)
        assert_one_line(code, error, "cannot write")
        assert [path.name for path in folder.iterdir()] == ["ask.wav"]

    def test_standard_output_is_full(self, folder: Path, tiny: Path) -> None:
        with Path("/dev/full").open("wb") as full:
            child = process("info", tiny, stdout=full)
            _, error = child.communicate(timeout=60)
        assert_one_line(child.returncode, error.decode(), "No space left")

    def test_a_pipe_that_cannot_be_written_is_not_the_fault_of_the_files(self, folder: Path) -> None:
        with Path("/dev/full").open("wb") as full:
            child = process("talk", "-", "-o", "r.wav", "--events", "e.jsonl", cwd=folder, stdout=full)
            _, error = child.communicate(bytes(2560 * 20), timeout=60)
        assert_one_line(child.returncode, error.decode(), "cannot write standard output", "No space left")
        assert "r.wav" not in error.decode() and "e.jsonl" not in error.decode()
        assert not list(folder.iterdir())

    def test_the_reader_of_standard_output_leaves(self, tiny: Path) -> None:
        child = process("info", tiny)
        assert child.stdout
        assert child.stderr
        child.stdout.close()
        assert child.wait(60) == 1
        assert child.stderr.read() == b""


class TestCodec:
    def test_there_and_back_is_the_roundtrip(self, run: Run, folder: Path, tiny: Path, question: np.ndarray) -> None:
        write(folder / "ask.wav", question[: 16000 * 2 + 77])
        assert run("codec", "encode", "ask.wav", "--codec", tiny)[0] == 0
        assert run("codec", "decode", "ask.codes.safetensors", "--codec", tiny)[0] == 0
        assert run("codec", "roundtrip", "ask.wav", "--codec", tiny)[0] == 0
        decoded, _ = soundfile.read(folder / "ask.decoded.wav", dtype="float32")
        through, _ = soundfile.read(folder / "ask.codec.wav", dtype="float32")
        assert decoded.shape == (16000 * 2 + 77,)
        np.testing.assert_allclose(decoded, through, atol=1e-4)

    def test_streamed_equals_whole(self, run: Run, folder: Path, tiny: Path) -> None:
        import torch

        from duologue.audio.files import load

        pcm = 0.1 * np.random.default_rng(0).normal(size=16000 * 5 + 13)
        write(folder / "noise.wav", pcm)
        run("codec", "roundtrip", "noise.wav", "--codec", tiny)
        codec, _ = registry.load_codec(tiny)
        delay = codec.card.delay_samples
        heard = torch.from_numpy(load(folder / "noise.wav"))
        whole = codec.decode(codec.encode(torch.nn.functional.pad(heard, (0, delay))[None]))[0, delay:][: len(heard)]
        streamed, _ = soundfile.read(folder / "noise.codec.wav", dtype="float32")
        np.testing.assert_allclose(streamed, whole.numpy().clip(-1, 1), atol=1e-3)

    @pytest.mark.parametrize("command", ["encode", "roundtrip"])
    @pytest.mark.parametrize("samples", [1, 639, 640, 641])
    def test_a_few_samples_are_enough(self, run: Run, folder: Path, tiny: Path, command: str, samples: int) -> None:
        write(folder / "a.wav", tone()[:samples])
        assert (
            run("codec", command, "a.wav", "-o", "b.wav" if command == "roundtrip" else "b.codes", "--codec", tiny)[0]
            == 0
        )
        if command == "roundtrip":
            assert soundfile.info(folder / "b.wav").frames == samples

    @pytest.mark.parametrize("command", ["encode", "decode", "roundtrip"])
    @pytest.mark.parametrize("content", [None, b"", b"hello " * 100])
    def test_bad_input_is_one_line(
        self, run: Run, folder: Path, tiny: Path, command: str, content: bytes | None
    ) -> None:
        if content is not None:
            (folder / "bad.wav").write_bytes(content)
        code, _, error = run("codec", command, "bad.wav", "-o", "out.wav", "--codec", tiny)
        assert_one_line(code, error, "bad.wav")
        assert not (folder / "out.wav").exists()

    def test_bad_codes_are_one_line(self, run: Run, folder: Path, tiny: Path) -> None:
        write(folder / "ask.wav", tone())
        run("codec", "encode", "ask.wav", "-o", "whole", "--codec", tiny)
        whole = (folder / "whole").read_bytes()
        (folder / "cut").write_bytes(whole[:-10])
        code, _, error = run("codec", "decode", "cut", "--codec", tiny)
        assert_one_line(code, error, "cut", "truncated")
        (folder / "wrong").write_bytes(whole.replace(b'"samples":"19200"', b'"samples":"99200"'))
        code, _, error = run("codec", "decode", "wrong", "--codec", tiny)
        assert_one_line(code, error, "wrong", "damaged")
        code, _, error = run("codec", "decode", tiny / "model.safetensors", "--codec", tiny)
        assert_one_line(code, error, "holds no codes")

    def test_codes_of_another_codec_are_refused(self, run: Run, folder: Path, tiny: Path) -> None:
        import torch

        write(folder / "ask.wav", tone())
        codec, _ = registry.load_codec(tiny)
        with torch.no_grad():
            next(codec.parameters()).add_(0.1)
        codec.save(folder / "other")  # type: ignore[operator]
        run("codec", "encode", "ask.wav", "--codec", "other")
        code, _, error = run("codec", "decode", "ask.codes.safetensors", "--codec", tiny)
        assert_one_line(code, error, "was encoded with")

    def test_a_system_that_is_no_codec(self, run: Run, folder: Path) -> None:
        write(folder / "ask.wav", tone())
        code, _, error = run("codec", "roundtrip", "ask.wav", "--codec", "cascade")
        assert_one_line(code, error, "cascade is no codec")


class TestInfo:
    def test_the_card_is_printed(self, run: Run, folder: Path, tiny: Path) -> None:
        code, out, _ = run("info", tiny)
        assert code == 0
        assert "tiny" in out
        assert "80 ms" in out

    def test_figures_stand_in_a_table_above_their_command(self, run: Run, folder: Path, tiny: Path) -> None:
        measured = [
            {"name": f"{suite}: right", "value": value, "unit": "%", "interval": [45.2544, 77.0661], "split": "dev",
             "command": f"duologue eval box --suite {suite} --out {'long/' * 30}"}
            for suite, value in (("answers", 62.5), ("answers", 53.125), ("codec", 90.625))
        ]  # fmt: skip
        card = {"name": "small", "hears": ["features"], "measured": measured}
        model = folder / "model"
        model.mkdir()
        for path in tiny.iterdir():
            (model / path.name).write_bytes(path.read_bytes())
        (model / "card.json").write_text(json.dumps(card))
        code, out, _ = run("info", model)
        assert code == 0
        lines = out.splitlines()
        assert [line for line in lines if line.startswith("by ")] == [f"by {measured[n]['command']}" for n in (0, 2)]
        assert sum(line.startswith("answers: right") for line in lines) == 2
        assert "62.5 %" in out
        assert "45.3 to 77.1" in out

    def test_a_folder_without_a_model_is_one_line(self, run: Run, folder: Path) -> None:
        code, _, error = run("info", folder)
        assert_one_line(code, error, "has no config.json")

    def test_help_needs_no_heavy_library(self) -> None:
        program = (
            "import sys; from duologue.cli import main; code = main(['--help']);"
            "sys.exit(code or any(name in sys.modules for name in ('torch', 'scipy', 'soundfile', 'huggingface_hub')))"
        )
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        assert subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True).returncode == 0

    def test_a_wrong_option_is_a_usage_error(self, run: Run) -> None:
        assert run("talk", "--loud")[0] == 2


class TestTrainAndSynthesize:
    RECIPE = """
from pydantic import BaseModel
class Config(BaseModel):
    steps: int = 3
config = Config()
def run(config, folder, console):
    folder.mkdir(parents=True)
    (folder / "steps").write_text(str(config.steps))
"""

    def test_a_recipe_runs_with_its_settings(self, run: Run, folder: Path) -> None:
        (folder / "small.py").write_text(self.RECIPE)
        assert run("train", "small.py", "steps=5")[0] == 0
        assert (folder / "runs" / "small" / "steps").read_text() == "5"
        assert run("train", "small.py", "--out", "there")[0] == 0
        assert (folder / "there" / "steps").read_text() == "3"

    def test_bad_settings_and_recipes_are_one_line(self, run: Run, folder: Path) -> None:
        (folder / "small.py").write_text(self.RECIPE)
        for arguments, part in (
            (["small.py", "step=5"], "steps"),
            (["small.py", "steps=many"], "steps=many"),
            (["none.py"], "none.py"),
        ):
            code, _, error = run("train", *arguments)
            assert_one_line(code, error, part)

    def test_a_package_of_an_extra_that_is_missing_is_named(self, run: Run, folder: Path) -> None:
        (folder / "far.py").write_text("import no_such_package")
        code, _, error = run("train", "far.py")
        assert_one_line(code, error, "no_such_package", "pip install")

    @pytest.mark.parametrize("content", [None, "", "two plus 2\n", b"\xff\xfe\x00"])
    def test_bad_lines_are_one_line(self, run: Run, folder: Path, content: str | bytes | None) -> None:
        if content is not None:
            (folder / "lines.txt").write_bytes(content if isinstance(content, bytes) else content.encode())
        code, _, error = run("synthesize", "lines.txt", "-o", "corpus")
        assert_one_line(code, error, "lines.txt")
        assert not (folder / "corpus").exists()

    def test_lines_become_a_corpus(self, run: Run, folder: Path) -> None:
        pytest.importorskip("espeakng_loader")
        (folder / "lines.txt").write_text("What is two plus two\n\nhello, there\n")
        arguments = ["synthesize", "lines.txt", "-o", "corpus", "--voice", "espeak/en-us", "--workers", "1"]
        code, out, _ = run(*arguments)
        assert code == 0
        assert "2 utterances" in out
        entries = [json.loads(line) for line in (folder / "corpus" / "manifest.jsonl").read_text().splitlines()]
        assert [entry["text"] for entry in entries] == ["what is two plus two", "hello, there"]
        code, _, error = run("synthesize", "lines.txt", "-o", "corpus", "--voice", "espeak/nobody")
        assert_one_line(code, error, "espeak/nobody")
