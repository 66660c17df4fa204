"""The agent frameworks against a real server, each by its own Realtime client: a question in, a spoken reply out.

They are heavy and come with the extra `clients`; without it these tests skip.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from serve.conftest import KEY, Served, pitch, run, serving, silence, tone
from systems.simple import Beeper, Reader

pytestmark = pytest.mark.clients

PIECE = 960  # bytes: 20 ms at 24 kHz
QUESTION = tone(0.8) + silence(1.2)


@pytest.fixture(scope="module")
def beeper() -> Iterator[Served]:
    """Bears the gaps of a busy machine: it answers after 0.8 s of quiet, so a question that comes in parts is one."""
    with serving(Beeper(quiet=10)) as served:
        yield served


def pieces(sound: bytes) -> list[bytes]:
    return [sound[start : start + PIECE] for start in range(0, len(sound), PIECE)]


def is_the_beep(sound: bytes) -> bool:
    return len(sound) / 48000 == pytest.approx(0.4, abs=0.05) and pitch(sound) == pytest.approx(440, abs=10)


async def replied(session: Any) -> tuple[bytes, list[Any]]:
    """The sound of the reply that an agent's session gets, and its history then."""
    sound, history = b"", []
    async for event in session:
        assert event.type != "error", event
        if event.type == "audio":
            sound += event.audio.data
        elif event.type == "history_updated":
            history = event.history
        elif event.type == "agent_end":
            break
    return sound, history


def test_openai_agents(beeper: Served) -> None:
    realtime = pytest.importorskip("agents.realtime")

    async def test() -> None:
        agent = realtime.RealtimeAgent(name="test", instructions="answer")
        config = {"url": f"{beeper.ws}/v1/realtime?model=beeper", "api_key": KEY}
        async with await realtime.RealtimeRunner(agent).run(model_config=config) as session:
            for piece in pieces(QUESTION):
                await session.send_audio(piece)
            sound, history = await replied(session)
            assert is_the_beep(sound)
            assert [item.role for item in history] == ["user", "assistant"]
            assert history[1].content[0].transcript == "beep"
            for piece in pieces(QUESTION):
                await session.send_audio(piece)
            async for event in session:
                assert event.type != "error", event
                if event.type == "audio":
                    await session.interrupt()
                    break

    run(test)


def test_livekit(beeper: Served) -> None:
    rtc = pytest.importorskip("livekit.rtc")
    plugin = pytest.importorskip("livekit.plugins.openai")

    async def test() -> None:
        model = plugin.realtime.RealtimeModel(model="beeper", api_key=KEY, base_url=f"{beeper.http}/v1")
        session = model.session()
        errors: list[object] = []
        generations: asyncio.Queue[object] = asyncio.Queue()
        session.on("error", errors.append)
        session.on("generation_created", generations.put_nowait)
        for piece in pieces(QUESTION):
            session.push_audio(rtc.AudioFrame(piece, 24000, 1, len(piece) // 2))
        generation = await generations.get()
        sound, words = b"", ""
        async for message in generation.message_stream:  # type: ignore[attr-defined]
            async for frame in message.audio_stream:
                sound += bytes(frame.data)
            async for text in message.text_stream:
                words += text
        assert is_the_beep(sound)
        assert words == "beep"
        asked = session.generate_reply(instructions="say something")
        assert (await asked).user_initiated
        session.interrupt()
        session.truncate(message_id=message.message_id, modalities=["audio"], audio_end_ms=99_000)
        await asyncio.sleep(0.3)
        assert not errors
        await session.aclose()

    run(test)


def test_livekits_context_is_answered_when_it_asks() -> None:
    plugin = pytest.importorskip("livekit.plugins.openai")
    llm = pytest.importorskip("livekit.agents.llm")
    system = Reader()

    async def test() -> None:
        session = plugin.realtime.RealtimeModel(model="beeper", api_key=KEY, base_url=f"{served.http}/v1").session()
        generations: list[object] = []
        session.on("generation_created", generations.append)
        context = llm.ChatContext.empty()
        for role, text in (("user", "an old question"), ("assistant", "an old answer"), ("user", "what time is it")):
            context.add_message(role=role, content=text)
        await session.update_chat_ctx(context)
        await asyncio.sleep(0.5)
        assert not generations and not system.texts
        generation = await session.generate_reply()
        words = [text async for message in generation.message_stream async for text in message.text_stream]
        assert (words, system.texts, len(generations)) == (["beep"], ["what time is it"], 1)
        await session.aclose()

    with serving(system) as served:
        run(test)


def test_livekit_live(beeper: Served) -> None:
    rtc = pytest.importorskip("livekit.rtc")
    aiohttp = pytest.importorskip("aiohttp")
    plugin = pytest.importorskip("livekit.plugins.openai.realtime.gpt_live_model")

    async def test() -> None:
        async with aiohttp.ClientSession() as http:
            model = plugin.GPTLiveModel(api_key=KEY, base_url=f"{beeper.http}/v1", http_session=http)
            session = model.session()
            errors: list[object] = []
            words: list[str] = []
            heard: list[str] = []
            session.on("error", errors.append)
            session.on("transcript_delta", lambda delta: words.append(delta.text))
            session.on("input_audio_transcription_completed", lambda told: heard.append(told.transcript))
            await session._update_session(instructions="answer")  # as an AgentSession does when it begins
            for piece in pieces(QUESTION):
                session.push_audio(rtc.AudioFrame(piece, 24000, 1, len(piece) // 2))
            sound = b""
            async for each in session.audio_stream:
                sound += bytes(each.frame.data)
                if len(sound) >= 0.39 * 48000:
                    break
            assert is_the_beep(sound)
            assert (words, heard[0]) == (["beep"], "sound")
            assert not errors
            await session.aclose()

    run(test)


@pytest.mark.parametrize("protocol", ["realtime", "live"])
def test_pipecat(protocol: str, beeper: Served) -> None:
    pytest.importorskip("pipecat")
    from pipecat.frames.frames import EndFrame, ErrorFrame, Frame, InputAudioRawFrame, LLMRunFrame, OutputAudioRawFrame
    from pipecat.pipeline.pipeline import Pipeline
    from pipecat.pipeline.worker import PipelineWorker
    from pipecat.processors.aggregators.llm_context import LLMContext
    from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
    from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
    from pipecat.services.llm_service import LLMService
    from pipecat.services.openai.live.llm import OpenAILiveLLMService
    from pipecat.services.openai.realtime.events import SessionProperties
    from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
    from pipecat.workers.runner import WorkerRunner

    class Ears(FrameProcessor):
        def __init__(self) -> None:
            super().__init__()
            self.sound = b""
            self.errors: list[str] = []
            self.enough = asyncio.Event()

        async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
            await super().process_frame(frame, direction)
            if isinstance(frame, OutputAudioRawFrame):
                self.sound += frame.audio
                if len(self.sound) >= 0.39 * 48000:
                    self.enough.set()
            if isinstance(frame, ErrorFrame):
                self.errors.append(frame.error)
            await self.push_frame(frame, direction)

    def service(ready: asyncio.Event) -> LLMService:
        """`ready` is set once it takes sound: what comes before that to a Live session is lost."""
        if protocol == "live":
            live = OpenAILiveLLMService(api_key=KEY, base_url=f"{beeper.ws}/v1/live/sessions")
            live.add_event_handler("on_session_started", lambda service, session: ready.set())
            return live
        ready.set()
        return OpenAIRealtimeLLMService(
            api_key=KEY,
            base_url=f"{beeper.ws}/v1/realtime",
            settings=OpenAIRealtimeLLMService.Settings(model="beeper", session_properties=SessionProperties()),
        )

    async def test() -> None:
        ears, ready = Ears(), asyncio.Event()
        context = LLMContextAggregatorPair(LLMContext())
        worker = PipelineWorker(Pipeline([context.user(), service(ready), ears, context.assistant()]))
        runner = WorkerRunner(handle_sigint=False)
        running = asyncio.create_task(runner.run(worker))
        await worker.queue_frames([LLMRunFrame()])
        await asyncio.sleep(1)
        await ready.wait()
        for piece in pieces(QUESTION):
            await worker.queue_frame(InputAudioRawFrame(piece, 24000, 1))
            await asyncio.sleep(0.02)
        await ears.enough.wait()
        assert is_the_beep(ears.sound)
        assert not ears.errors
        await worker.queue_frame(EndFrame())
        await running

    run(test)
