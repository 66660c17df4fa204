"""Text to speech and speech to text over HTTP, by the openai client against a real server."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest
import soundfile
from serve.conftest import KEY, Served, run, serving, silence, tone
from systems.simple import Beeper, write_tiny_model

from duologue.serve.limits import Limits
from duologue.systems import registry
from duologue.systems.engine import Engine

openai = pytest.importorskip("openai")
from openai import AsyncOpenAI, BadRequestError, InternalServerError  # noqa: E402


def client(served: Served) -> AsyncOpenAI:
    return AsyncOpenAI(api_key=KEY, base_url=f"{served.http}/v1", max_retries=0)


def recording(pcm: bytes, rate: int = 24000, container: str = "WAV") -> io.BytesIO:
    file = io.BytesIO()
    soundfile.write(file, np.frombuffer(pcm, "<i2"), rate, format=container)
    file.seek(0)
    file.name = "question"
    return file


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serves an untrained native model."""
    folder = write_tiny_model(tmp_path_factory.mktemp("tiny"))
    with serving(registry.load(folder), Limits(drain=0)) as served:
        yield served


def test_a_text_is_said_in_the_format_and_at_the_speed_that_are_asked(tiny: Served) -> None:
    async def said(kind: str, speed: float = 4.0) -> bytes:
        create = client(tiny).audio.speech.create
        asked = {"model": "tts-1", "voice": "alloy", "input": "It is 4."}
        return (await create(**asked, response_format=kind, speed=speed)).content  # type: ignore[arg-type]

    async def test() -> None:
        plain = await said("pcm")
        seconds = len(plain) / 48000
        assert np.abs(np.frombuffer(plain, "<i2")).max() > 10
        assert len(await said("pcm", speed=1.0)) / 48000 > 1.2 * seconds
        for kind, container in (("wav", "WAV"), ("flac", "FLAC"), ("mp3", "MP3"), ("opus", "OGG")):
            sound = soundfile.info(io.BytesIO(await said(kind)))
            assert (sound.format, sound.channels) == (container, 1)
            assert sound.duration == pytest.approx(seconds, abs=0.1)

    run(test)


def test_a_text_that_nobody_waits_for_any_more_is_not_said(tiny: Served, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async def asked(number: int) -> asyncio.Task[object]:
            create = client(tiny).audio.speech.create
            long = {"model": "tts-1", "voice": "alloy", "input": "It is 4. " * 400, "speed": 0.25}
            task = asyncio.ensure_future(create(**long))  # type: ignore[call-overload]
            while len(tiny.server.open) < number:
                await asyncio.sleep(0.01)
            return task

        reading = await asked(1)
        waiting = await asked(2)  # until the first has been read
        waiting.cancel()
        reading.cancel()
        await asyncio.gather(reading, waiting, return_exceptions=True)
        while tiny.server.open:
            await asyncio.sleep(0.01)
        assert (await client(tiny).audio.speech.create(model="tts-1", voice="alloy", input="It is 4.")).content

    run(test)
    assert not caplog.records


def test_what_cannot_be_said_is_refused(tiny: Served, beeper: Served) -> None:
    async def refused(served: Served, code: str, **asked: object) -> None:
        with pytest.raises(BadRequestError) as caught:
            await client(served).audio.speech.create(**{"model": "m", "voice": "v", "input": "hello", **asked})  # type: ignore[arg-type]
        assert caught.value.code == code

    async def test() -> None:
        await refused(beeper, "speech_not_supported")
        await refused(tiny, "invalid_value", input="...")
        await refused(tiny, "string_above_max_length", input="a" * 5000)
        await refused(tiny, "invalid_value", response_format="aac")
        await refused(tiny, "decimal_above_max_value", speed=9.0)
        async with httpx2.AsyncClient(base_url=tiny.http) as http:
            assert (await http.post("/v1/audio/speech", json={"input": "hello"})).status_code == 401
            bearer = {"Authorization": f"Bearer {KEY}"}
            assert (await http.post("/v1/audio/speech", content=b"{", headers=bearer)).status_code == 400
            assert (await http.post("/v1/audio/speech", content=bytes(70_000), headers=bearer)).status_code == 400

    run(test)


@pytest.mark.parametrize(("container", "rate"), [("WAV", 24000), ("FLAC", 8000), ("MP3", 48000), ("OGG", 48000)])
def test_a_recording_is_heard_with_the_times_of_its_words(beeper: Served, container: str, rate: int) -> None:
    async def test() -> None:
        pcm = silence(1.0, rate) + tone(0.8, rate) + silence(1.5, rate) + tone(0.5, rate)
        heard = await client(beeper).audio.transcriptions.create(
            model="whisper-1",
            file=recording(pcm, rate, container),
            response_format="verbose_json",
            timestamp_granularities=["word"],
        )
        assert heard.text == "sound sound"
        assert heard.duration == pytest.approx(3.8, abs=0.15)
        assert [word.end for word in heard.words or []] == pytest.approx([1.08, 3.36], abs=0.1)
        assert all(word.start < word.end for word in heard.words or [])

    run(test)


def test_a_transcript_comes_as_json_or_text(beeper: Served) -> None:
    async def test() -> None:
        asked = {"model": "whisper-1", "language": "en", "temperature": 0.0}
        create = client(beeper).audio.transcriptions.create
        assert (await create(file=recording(tone(0.5)), **asked)).text == "sound"  # type: ignore[call-overload]
        assert await create(file=recording(tone(0.5)), response_format="text", **asked) == "sound\n"  # type: ignore[call-overload]
        assert (await create(file=recording(silence(0.5)), **asked)).text == ""  # type: ignore[call-overload]
        assert next(iter(beeper.server.engines.values())).taken == 0

    run(test)


def test_what_is_no_recording_is_refused(beeper: Served) -> None:
    async def refused(code: str, content: bytes, **asked: object) -> None:
        with pytest.raises(BadRequestError) as caught:
            await client(beeper).audio.transcriptions.create(model="m", file=("name.wav", content), **asked)  # type: ignore[call-overload]
        assert caught.value.code == code
        assert "/tmp" not in str(caught.value)

    async def test() -> None:
        whole = recording(tone(0.5)).read()
        await refused("invalid_audio", b"no sound")
        await refused("invalid_audio", whole[: len(whole) // 2])
        await refused("invalid_value", whole, response_format="srt")
        async with httpx2.AsyncClient(base_url=beeper.http, headers={"Authorization": f"Bearer {KEY}"}) as http:
            told = await http.post("/v1/audio/transcriptions", data={"model": "m"})
            assert (told.status_code, told.json()["error"]["param"]) == (400, "file")
            path = await http.post("/v1/audio/transcriptions", data={"file": str(Path(__file__))})
            assert path.status_code == 400
        assert next(iter(beeper.server.engines.values())).taken == 0

    run(test)


async def transcribe(served: Served, seconds: float) -> str:
    """The words of a recording whose only sound is at its end."""
    file = recording(silence(seconds, 8000) + tone(0.6, 8000), 8000, "FLAC")
    return (await client(served).audio.transcriptions.create(model="m", file=file)).text


async def begun(served: Served) -> Engine:
    """The engine, once it hears a recording."""
    engine = next(iter(served.server.engines.values()))
    while not engine.statistics.frames:
        await asyncio.sleep(0.01)
    return engine


def test_a_recording_that_nobody_waits_for_any_more_gives_its_slot_back() -> None:
    async def test() -> None:
        asked = asyncio.ensure_future(transcribe(served, 1200))
        engine = await begun(served)
        asked.cancel()
        while engine.taken:
            await asyncio.sleep(0.01)
        assert engine.statistics.frames < 1200 / engine.frame_seconds

    with serving(Beeper(), Limits(drain=0)) as served:
        run(test)


def test_a_recording_is_heard_in_a_buffer_of_any_size() -> None:
    async def test() -> None:
        assert await transcribe(served, 3) == "sound"

    with serving(Beeper(), Limits(buffer=0.1, drain=0)) as served:
        run(test)


def test_a_server_that_is_to_stop_hears_a_recording_to_its_end_while_the_limits_allow_it() -> None:
    async def test() -> None:
        asked = asyncio.ensure_future(transcribe(served, 64))
        await begun(served)
        served.end()
        assert await asked == "sound"

    async def cut() -> None:
        asked = asyncio.ensure_future(transcribe(served, 1200))
        await begun(served)
        served.end()
        with pytest.raises(InternalServerError) as caught:
            await asked
        assert caught.value.code == "server_draining"

    with serving(Beeper(), Limits(drain=60)) as served:
        run(test)
    with serving(Beeper(), Limits(drain=0)) as served:
        run(cut)


def test_a_recording_may_not_last_for_ever() -> None:
    async def test() -> None:
        with pytest.raises(BadRequestError) as caught:
            await client(served).audio.transcriptions.create(model="m", file=recording(silence(9), container="FLAC"))
        assert caught.value.code == "audio_too_long"

    with serving(Beeper(), Limits(session=3, drain=0)) as served:
        run(test)
