"""Calls over WebRTC, with aiortc as the client: a spoken question over a real peer connection, and a reply in sound."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from fractions import Fraction
from functools import partial
from types import MappingProxyType
from typing import Any

import httpx2
import numpy as np
import pytest
from serve.conftest import KEY, Served, pitch, run, serving, tone
from systems.simple import Beeper

from duologue.serve.limits import Limits

pytest.importorskip("aiortc")

from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame

RATE = 48000
BEEP = 2.0  # seconds


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """A beeper that bears the gaps of a busy machine: it answers after 0.8 s of quiet, with 2 s of a beep."""
    with serving(Beeper(quiet=10, beep=25)) as served:
        yield served


class Mouth(MediaStreamTrack):
    """Says what is put in `queue`, 16-bit samples at 48 kHz, and is silent otherwise."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self.queue = b""
        self.sent = 0
        self.begin: float | None = None

    async def recv(self) -> AudioFrame:
        loop = asyncio.get_running_loop()
        self.begin = self.begin or loop.time()
        await asyncio.sleep(self.begin + self.sent / RATE - loop.time())
        data, self.queue = self.queue[: 2 * 960], self.queue[2 * 960 :]
        samples = np.frombuffer(data.ljust(2 * 960, b"\0"), "<i2")
        frame = AudioFrame.from_ndarray(samples[None], "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self.sent, Fraction(1, RATE)
        self.sent += 960
        return frame


class Caller:
    """A client: what it hears and what it is told."""

    def __init__(self, *channels: str) -> None:
        self.peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.mouth = Mouth()
        self.peer.addTrack(self.mouth)
        *self.others, self.channel = [self.peer.createDataChannel(name) for name in channels or ("oai-events",)]
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.heard: list[np.ndarray] = []
        self.channel.on("message", lambda text: self.events.put_nowait(json.loads(text)))
        self.peer.on("track", lambda track: setattr(self, "listening", asyncio.ensure_future(self.listen(track))))

    async def listen(self, track: MediaStreamTrack) -> None:
        with contextlib.suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                assert isinstance(frame, AudioFrame)
                assert frame.sample_rate == RATE
                self.heard.append(frame.to_ndarray().reshape(-1, len(frame.layout.channels))[:, 0])

    async def told(self, *kinds: str) -> dict[str, Any]:
        while (event := await self.events.get())["type"] not in kinds:
            pass
        return event

    def send(self, **event: Any) -> None:
        self.channel.send(json.dumps(event))


@contextlib.asynccontextmanager
async def calling(
    served: Served,
    session: dict[str, Any] | None = None,
    key: str = KEY,
    query: str = "",
    channels: tuple[str, ...] = (),
    **headers: str,
) -> AsyncIterator[tuple[Caller, httpx2.Response]]:
    caller = Caller(*channels)
    try:
        await caller.peer.setLocalDescription(await caller.peer.createOffer())
        answer = await ask(served, caller.peer.localDescription.sdp, session, key, query, headers)
        assert answer.status_code == 201, answer.text
        await caller.peer.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
        yield caller, answer
    finally:
        await caller.peer.close()


async def ask(
    served: Served,
    sdp: str,
    session: dict[str, Any] | None = None,
    key: str = KEY,
    query: str = "",
    more: Mapping[str, str] = MappingProxyType({}),
) -> httpx2.Response:
    """Post an offer: alone, or in a form with settings."""
    headers = {"Authorization": f"Bearer {key}", **more}
    url = f"{served.http}/v1/realtime/calls{query}"
    async with httpx2.AsyncClient() as http:
        if session is None:
            headers["Content-Type"] = "application/sdp"
            return await http.post(url, content=sdp, headers=headers)
        fields = {"sdp": (None, sdp), "session": (None, json.dumps(session))}
        return await http.post(url, files=fields, headers=headers)


def test_a_question_over_a_call_is_answered_in_sound(served: Served) -> None:
    async def test() -> None:
        settings = {"type": "realtime", "audio": {"input": {"transcription": {"model": "own"}}}}
        async with calling(served, settings) as (caller, answer):
            assert answer.headers["content-type"].startswith("application/sdp")
            assert answer.headers["location"].startswith("/v1/realtime/calls/rtc_")
            assert all("127.0.0.1" in line for line in answer.text.splitlines() if line.startswith("a=candidate"))
            created = await caller.told("session.created")
            assert created["session"]["audio"]["input"]["transcription"] == {"model": "own"}
            caller.mouth.queue = tone(0.6, RATE)
            words = await caller.told("conversation.item.input_audio_transcription.completed")
            assert words["transcript"] == "sound"
            started = await caller.told("output_audio_buffer.started")
            done = await caller.told("response.done", "response.output_audio.delta")
            assert done["type"] == "response.done" and done["response"]["status"] == "completed"
            assert (await caller.told("output_audio_buffer.stopped"))["response_id"] == started["response_id"]
            assert started["response_id"] == done["response"]["id"]
            await asyncio.sleep(1)  # what is on its way arrives
            heard = np.concatenate(caller.heard)
            voiced = np.flatnonzero(np.abs(heard) > 3000)
            beep = heard[voiced[0] : voiced[-1]]
            assert len(beep) / RATE > BEEP - 0.1
            assert abs(pitch(beep.astype("<i2").tobytes(), RATE) - 440) < 5

    run(test)


def test_a_reply_is_cut_where_the_user_speaks_and_the_client_told_what_was_heard(served: Served) -> None:
    async def test() -> None:
        async with calling(served) as (caller, _):
            await caller.told("session.created")
            caller.mouth.queue = tone(0.4, RATE)
            started = await caller.told("output_audio_buffer.started")
            caller.mouth.queue = tone(0.4, RATE)
            assert (await caller.told("response.done"))["response"]["status"] == "cancelled"
            assert (await caller.told("output_audio_buffer.cleared"))["response_id"] == started["response_id"]
            assert 0 <= (await caller.told("conversation.item.truncated"))["audio_end_ms"] < 1000 * BEEP

    run(test)


def test_a_cleared_reply_is_over_and_nothing_more_of_it_sounds(served: Served) -> None:
    async def test() -> None:
        async with calling(served) as (caller, _):
            await caller.told("session.created")
            caller.mouth.queue = tone(0.4, RATE)
            started = await caller.told("output_audio_buffer.started")
            caller.send(type="output_audio_buffer.clear")
            events = [await caller.told("response.done")]
            assert events[0]["response"]["status"] == "cancelled"
            assert events[0]["response"]["id"] == started["response_id"]
            assert (await caller.told("output_audio_buffer.cleared"))["response_id"] == started["response_id"]
            assert 0 <= (await caller.told("conversation.item.truncated"))["audio_end_ms"] < 1000 * BEEP
            await asyncio.sleep(0.5)  # what is on its way arrives
            caller.heard.clear()
            frames = next(iter(served.server.engines.values())).statistics.frames
            while served.server.engines["beeper"].statistics.frames < frames + BEEP / 0.08:
                await asyncio.sleep(0.02)
            assert np.abs(np.concatenate(caller.heard)).max() < 300
            caller.send(type="session.update", session={})
            assert (await caller.told(*SOUNDS, "session.updated", "error"))["type"] == "session.updated"

    run(test)


SOUNDS = tuple(f"output_audio_buffer.{what}" for what in ("started", "stopped", "cleared"))


def test_a_reply_out_of_band_is_cleared_like_any_other(served: Served) -> None:
    async def test() -> None:
        async with calling(served) as (caller, _):
            await caller.told("session.created")
            audio = {"type": "input_audio", "audio": base64.b64encode(tone(0.4)).decode()}
            given = {"type": "message", "role": "user", "content": [audio]}
            caller.send(type="response.create", response={"conversation": "none", "input": [given]})
            started = await caller.told("output_audio_buffer.started")
            caller.send(type="output_audio_buffer.clear")
            assert (await caller.told("output_audio_buffer.cleared", "error"))["response_id"] == started["response_id"]
            response = (await caller.told("response.done", "error"))["response"]
            assert (response["id"], response["status"]) == (started["response_id"], "cancelled")
            caller.send(type="session.update", session={})
            assert (await caller.told(*SOUNDS, "session.updated", "error"))["type"] == "session.updated"

    run(test)


def test_a_beta_client_gets_the_earlier_names_over_a_call(served: Served) -> None:
    async def test() -> None:
        settings = {"voice": "alloy", "instructions": "be brief", "max_response_output_tokens": 100}
        async with calling(served, settings, **{"OpenAI-Beta": "realtime=v1"}) as (caller, _):
            created = (await caller.told("session.created"))["session"]
            assert (created["input_audio_format"], created["max_response_output_tokens"]) == ("pcm16", 100)
            caller.send(type="session.update", session={"turn_detection": {"type": "server_vad", "threshold": 3}})
            assert (await caller.told("error"))["error"]["param"] == "session.turn_detection.threshold"
            caller.mouth.queue = tone(0.4, RATE)
            await caller.told("conversation.item.created")
            await caller.told("response.audio_transcript.delta")
            caller.send(type="response.cancel")
            await caller.told("response.done")
            caller.send(type="response.create", response={"modalities": ["text"], "max_response_output_tokens": 3})
            response = (await caller.told("response.created", "error"))["response"]
            assert (response["modalities"], response["max_output_tokens"]) == (["text"], 3)

    run(test)


@pytest.mark.parametrize("channels", [("realtime-channel",), ("chat", "oai-events")])
def test_events_go_over_their_channel_whatever_else_there_is(served: Served, channels: tuple[str, ...]) -> None:
    async def test() -> None:
        async with calling(served, channels=channels) as (caller, _):
            caller.channel.on("open", lambda: caller.send(type="session.update", session={"instructions": "at once"}))
            strays: list[str] = []
            for other in caller.others:
                other.on("open", partial(other.send, "hello"))
                other.on("message", strays.append)
            await caller.told("session.created")
            assert (await caller.told("session.updated", "error"))["session"]["instructions"] == "at once"
            assert strays == []

    run(test)


def test_what_is_wrong_with_a_message_is_told_on_the_channel(served: Served) -> None:
    async def test() -> None:
        async with calling(served) as (caller, _):
            await caller.told("session.created")
            caller.channel.send("{")
            assert (await caller.told("error"))["error"]["code"] == "invalid_json"
            caller.channel.send(b"\x00")
            assert (await caller.told("error"))["error"]["code"] == "invalid_message"
            caller.send(type="session.update", session={"audio": {"output": {"speed": "fast"}}})
            assert (await caller.told("error"))["error"]["param"] == "session.audio.output.speed"
            caller.send(type="output_audio_buffer.clear")  # nothing sounds: nothing to tell
            caller.send(type="session.update", session={"instructions": "be brief"})
            assert (await caller.told("session.updated", "error"))["session"]["instructions"] == "be brief"

    run(test)


def test_a_call_is_hung_up_by_its_owner_alone_and_gives_back_what_it_held(served: Served) -> None:
    async def test() -> None:
        async with calling(served) as (caller, answer), httpx2.AsyncClient() as http:
            await caller.told("session.created")
            url = f"{served.http}{answer.headers['location']}/hangup"
            assert (await http.post(url)).status_code == 401
            assert (await http.post(url, headers={"Authorization": f"Bearer {KEY}"})).status_code == 200
            await vacant(served)
            assert (await http.post(url, headers={"Authorization": f"Bearer {KEY}"})).status_code == 404

    run(test)


async def vacant(served: Served) -> None:
    engine = next(iter(served.server.engines.values()))
    while engine.taken or served.server.open:
        await asyncio.sleep(0.02)


def test_a_client_that_closes_gives_its_place_back(served: Served) -> None:
    async def test() -> None:
        async with calling(served) as (caller, _):
            await caller.told("session.created")
        await vacant(served)

    run(test)


def test_a_client_secret_opens_a_call_with_its_settings(served: Served) -> None:
    async def test() -> None:
        async with httpx2.AsyncClient() as http:
            body = {"session": {"type": "realtime", "instructions": "from the secret"}}
            headers = {"Authorization": f"Bearer {KEY}"}
            made = await http.post(f"{served.http}/v1/realtime/client_secrets", json=body, headers=headers)
        async with calling(served, key=made.json()["value"]) as (caller, _):
            assert (await caller.told("session.created"))["session"]["instructions"] == "from the secret"

    run(test)


@pytest.mark.parametrize(
    ("sdp", "session", "key", "status", "code"),
    [
        ("v=0", None, "wrong", 401, "invalid_api_key"),
        ("hello", None, KEY, 400, "invalid_offer"),
        ("", None, KEY, 400, "invalid_offer"),
        ("v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:x\r\n", None, KEY, 400, "invalid_offer"),
        ("v=0\r\n" + "x" * 300_000, None, KEY, 400, "invalid_request"),
        ("v=0", {"output_modalities": []}, KEY, 400, "empty_array"),
        ("v=0", {"audio": {"output": {"voice": "scarlett"}}}, KEY, 400, "invalid_value"),
        ("v=0", {"tools": [{"type": "function", "name": "f"}]}, KEY, 400, "function_calling_not_supported"),
    ],
)
def test_offers_that_make_no_call_are_refused_in_words(
    served: Served, sdp: str, session: dict[str, Any] | None, key: str, status: int, code: str
) -> None:
    async def test() -> None:
        answer = await ask(served, sdp, session, key)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        await vacant(served)

    run(test)


def test_an_offer_without_audio_or_fingerprint_is_refused(served: Served) -> None:
    async def test() -> None:
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        peer.createDataChannel("oai-events")
        await peer.setLocalDescription(await peer.createOffer())
        answer = await ask(served, peer.localDescription.sdp)
        assert answer.status_code == 400 and "audio" in answer.json()["error"]["message"]
        bare = re.sub(r"a=fingerprint:.*\r\n", "", peer.localDescription.sdp)
        answer = await ask(served, bare)
        assert answer.status_code == 400 and "fingerprint" in answer.json()["error"]["message"]
        await peer.close()
        await vacant(served)

    run(test)


def test_calls_are_held_to_the_limits_and_end_with_the_server() -> None:
    async def test() -> None:
        with serving(Beeper(), Limits(drain=0.2, sessions_per_key=1)) as served:
            async with calling(served) as (caller, _):
                await caller.told("session.created")
                answer = await ask(served, caller.peer.localDescription.sdp)
                assert (answer.status_code, answer.json()["error"]["code"]) == (429, "rate_limit_exceeded")
                served.end()
                assert (await caller.told("error"))["error"]["code"] == "server_draining"
                await vacant(served)

    run(test)


def test_messages_over_a_call_count_with_those_of_its_client() -> None:
    async def test() -> None:
        with serving(Beeper(), Limits(drain=0, messages_per_key=2.0)) as served:  # ten seconds' at once: 20
            async with calling(served) as (caller, _), calling(served) as (other, _):
                for one in (caller, other):
                    await one.told("session.created")
                for one in (caller, other):
                    for _ in range(12):
                        one.send(type="input_audio_buffer.clear")
                error = (await other.told("error"))["error"]
                assert (error["code"], error["type"]) == ("rate_limit_exceeded", "rate_limit_error")
                await asyncio.sleep(1)  # it is held up, not put out
                other.send(type="input_audio_buffer.clear")
                assert await other.told("input_audio_buffer.cleared")

    run(test)


def test_a_lost_call_is_gone_on_with_by_who_held_it() -> None:
    async def test() -> None:
        async with calling(served, {"instructions": "remember"}) as (caller, _):
            id = (await caller.told("session.created"))["session"]["id"]
            caller.mouth.queue = tone(0.5, RATE)
            await caller.told("input_audio_buffer.speech_started")
        while not served.server._parked:
            await asyncio.sleep(0.02)
        async with calling(served, key="other", query=f"?resume={id}") as (stranger, _):
            assert (await stranger.told("session.created"))["session"]["id"] != id
        assert (await ask(served, "v=0", query=f"?resume={id}")).status_code == 400  # it is kept for a better offer
        async with calling(served, query=f"?resume={id}") as (caller, _):
            session = (await caller.told("session.created"))["session"]
            assert (session["id"], session["instructions"]) == (id, "remember")
            # The question was heard before the call was lost.
            assert (await caller.told("response.done"))["response"]["status"] == "completed"
            # Whoever finds out sooner than the server that a call is lost need not wait for it.
            async with calling(served, query=f"?resume={id}") as (again, _):
                assert (await again.told("session.created"))["session"]["id"] == id

    with serving(Beeper(quiet=10, beep=5), Limits(drain=0), keys=(KEY, "other")) as served:
        run(test)


def test_a_lost_call_that_finds_no_slot_to_go_on_in_is_kept() -> None:
    async def test() -> None:
        async with calling(served) as (caller, _):
            id = (await caller.told("session.created"))["session"]["id"]
        while not served.server._parked:
            await asyncio.sleep(0.02)
        async with calling(served) as (other, _):
            await other.told("session.created")
            for _ in range(2):
                answer = await ask(served, other.peer.localDescription.sdp, query=f"?resume={id}")
                assert (answer.status_code, answer.json()["error"]["code"]) == (503, "server_full")
        while next(iter(served.server.engines.values())).taken:
            await asyncio.sleep(0.02)
        async with calling(served, query=f"?resume={id}") as (caller, _):
            assert (await caller.told("session.created"))["session"]["id"] == id

    with serving(Beeper(), Limits(drain=0), slots=1) as served:
        run(test)
