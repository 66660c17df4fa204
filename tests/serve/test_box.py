"""The box behind the server: a spoken question goes in by real clients, and its answer comes out spoken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from serve.conftest import KEY, Served, run, serving
from serve.test_clients import replied
from serve.test_sockets import client, told
from test_readme import ROOT
from websockets.asyncio.client import ClientConnection

from duologue.audio import files
from duologue.audio.resample import resample
from duologue.eval.recognize import domain_recognizer
from duologue.systems import registry

if not (registry.BOX / "model.safetensors").is_file():
    pytest.skip("there is no model in the box", allow_module_level=True)

QUESTION = ROOT / "examples" / "question.wav"
ASKED, ANSWER = "seventeen plus twenty five", "forty two"
PIECE = 960  # bytes: 20 ms at 24 kHz


@pytest.fixture(scope="module")
def box() -> Iterator[Served]:
    with serving(registry.load("box"), slots=2, keys=()) as served:
        yield served


def pieces() -> list[bytes]:
    """The question and five seconds of quiet, as a client sends them."""
    pcm = np.pad(files.load(QUESTION, 24000), (0, 5 * 24000))
    sound = (32767 * pcm).astype("<i2").tobytes()
    return [sound[start : start + PIECE] for start in range(0, len(sound), PIECE)]


def says(sound: np.ndarray, rate: int) -> str:
    return domain_recognizer().transcribe(resample(sound.astype(np.float32), rate, 16000))


@pytest.mark.clients
def test_openai_agents_get_a_spoken_answer_to_a_spoken_question(box: Served) -> None:
    realtime = pytest.importorskip("agents.realtime")

    async def test() -> None:
        agent = realtime.RealtimeAgent(name="test", instructions="answer")
        config = {"url": f"{box.ws}/v1/realtime?model=box", "api_key": KEY}
        async with await realtime.RealtimeRunner(agent).run(model_config=config) as session:
            for piece in pieces():
                await session.send_audio(piece)
            sound, history = await replied(session)
        assert ANSWER in history[1].content[0].transcript
        assert ANSWER in says(np.frombuffer(sound, "<i2") / 32768, 24000)

    run(test)


def test_replies_are_as_fast_as_the_session_asks_and_a_resumed_one_still_is(box: Served) -> None:
    async def lasted(websocket: ClientConnection) -> float:
        text = {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "count from one to five"}],
        }
        await websocket.send(json.dumps({"type": "conversation.item.create", "item": text}))
        await websocket.send(json.dumps({"type": "response.create"}))
        seconds = 0.0
        while (event := await told(websocket, "response.output_audio.delta", "response.done"))[
            "type"
        ] != "response.done":
            seconds += len(event["delta"]) * 3 / 4 / 48000
        assert event["response"]["status"] == "completed"
        return seconds

    async def test() -> None:
        async with client(box) as websocket:
            id = (await told(websocket, "session.created"))["session"]["id"]
            usual = await lasted(websocket)
            session = {"type": "realtime", "audio": {"output": {"speed": 1.5}}}
            await websocket.send(json.dumps({"type": "session.update", "session": session}))
            await told(websocket, "session.updated")
            assert await lasted(websocket) == pytest.approx(usual / 1.5, rel=0.15)
            websocket.transport.abort()
        async with client(box, f"?resume={id}") as websocket:
            assert await lasted(websocket) == pytest.approx(usual / 1.5, rel=0.15)
        async with client(box) as websocket:
            assert await lasted(websocket) == pytest.approx(usual, rel=0.15)

    run(test)


@pytest.mark.browser
def test_the_page_hears_a_microphone_and_says_the_answer(box: Served, tmp_path: Path) -> None:
    pytest.importorskip("playwright.sync_api", reason="no playwright: install duologue[browser]")
    from serve.test_page import chromium, hears, page_of, visit

    pcm, rate = soundfile.read(QUESTION)
    soundfile.write(tmp_path / "question.wav", np.pad(pcm, (rate, rate)), rate, "PCM_16")
    with chromium(tmp_path / "question.wav") as browser, page_of(browser) as page:
        visit(page, box)
        page.get_by_role("button", name="Talk").click()
        page.locator(".turn.you", has_text=ASKED).wait_for()
        page.locator(".turn.model", has_text=ANSWER).filter(has_text="after").wait_for()
        hears(page, "listening")
        page.get_by_role("button", name="End").click()
        hears(page, "idle")
        with page.expect_download() as download:
            page.get_by_role("button", name="Download sound").click()
        download.value.save_as(tmp_path / "talk.wav")
    sound, rate = soundfile.read(tmp_path / "talk.wav")
    assert ANSWER in says(sound[:, 1], rate)
