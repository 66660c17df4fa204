"""Telephone calls, by a client that speaks the documented messages of Twilio media streams."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

import httpx2
import numpy as np
import pytest
from serve.conftest import KEY, Served, pitch, run, serving, silence, tone
from systems.simple import Beeper
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from duologue.audio import g711
from duologue.serve.limits import Limits
from duologue.serve.twilio import signature

TOKEN = "account-token"
STREAM = "MZ18ad3ab5a668481ce02b83e7395059f0"


@asynccontextmanager
async def calling(served: Served, **start: Any) -> AsyncIterator[ClientConnection]:
    """A call that has begun."""
    async with connect(f"{served.ws}/twilio", additional_headers={"Authorization": f"Bearer {KEY}"}) as phone:
        await phone.send(json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"}))
        begin = {
            "accountSid": "AC1",
            "streamSid": STREAM,
            "callSid": "CA1",
            "tracks": ["inbound"],
            "customParameters": {},
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        }
        message = {"event": "start", "sequenceNumber": "1", "start": {**begin, **start}, "streamSid": STREAM}
        await phone.send(json.dumps(message))
        yield phone


async def say(phone: ClientConnection, *sounds: bytes) -> None:
    """16-bit PCM at 8 kHz, in messages of 20 ms."""
    for sound in sounds:
        codes = g711.mulaw_encode(np.frombuffer(sound, "<i2") / 32768).tobytes()
        for chunk, begin in enumerate(range(0, len(codes), 160)):
            media = {
                "track": "inbound",
                "chunk": str(chunk),
                "timestamp": str(20 * chunk),
                "payload": base64.b64encode(codes[begin : begin + 160]).decode(),
            }
            await phone.send(json.dumps({"event": "media", "media": media, "streamSid": STREAM}))


async def until(phone: ClientConnection, event: str) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = []
    while not told or told[-1]["event"] != event:
        told.append(json.loads(await phone.recv()))
        assert told[-1]["streamSid"] == STREAM
    return told


def sound_of(told: list[dict[str, Any]]) -> bytes:
    """The 16-bit PCM of the media messages."""
    codes = b"".join(base64.b64decode(each["media"]["payload"]) for each in told if each["event"] == "media")
    return (g711.mulaw_decode(np.frombuffer(codes, np.uint8)) * 32767).astype("<i2").tobytes()


async def closed(phone: ClientConnection) -> int | None:
    with pytest.raises(ConnectionClosed):
        while True:
            await phone.recv()
    return phone.close_code


def test_a_caller_is_answered_and_the_end_of_the_reply_is_marked(beeper: Served) -> None:
    async def test() -> None:
        async with calling(beeper) as phone:
            await say(phone, silence(0.2, 8000), tone(0.8, 8000), silence(0.5, 8000))
            told = await until(phone, "mark")
            assert {each["event"] for each in told} == {"media", "mark"}
            reply = sound_of(told)
            assert len(reply) / 16000 == pytest.approx(0.4, abs=0.02)
            assert pitch(reply, 8000) == pytest.approx(440, abs=5)
            await phone.send(json.dumps({"event": "mark", "streamSid": STREAM, "mark": told[-1]["mark"]}))
            await say(phone, silence(0.3, 8000), tone(0.5, 8000), silence(0.5, 8000))
            told = await until(phone, "mark")
            assert "clear" not in [each["event"] for each in told]  # all of the first reply had been played
            await phone.send(json.dumps({"event": "stop", "streamSid": STREAM, "stop": {"callSid": "CA1"}}))
            assert await closed(phone) == 1000

    run(test)


def test_speaking_over_a_reply_clears_what_the_phone_has_not_played(beeper: Served) -> None:
    async def test() -> None:
        async with calling(beeper) as phone:
            await say(phone, tone(0.6, 8000), silence(0.3, 8000))
            await until(phone, "media")
            await say(phone, tone(0.3, 8000))
            assert "mark" not in [each["event"] for each in await until(phone, "clear")]
            await say(phone, silence(0.3, 8000))
            await until(phone, "mark")
            await say(phone, tone(0.3, 8000))  # said in full, but the mark has not come back: it still sounds
            await until(phone, "clear")

    run(test)


def test_what_twilio_may_say_besides_is_borne(beeper: Served) -> None:
    async def test() -> None:
        async with calling(beeper) as phone:
            await phone.send(json.dumps({"event": "dtmf", "streamSid": STREAM, "dtmf": {"digit": "1"}}))
            await phone.send(json.dumps({"event": "news", "streamSid": STREAM}))
            outbound = {"track": "outbound", "payload": base64.b64encode(bytes(8000)).decode()}
            await phone.send(json.dumps({"event": "media", "streamSid": STREAM, "media": outbound}))
            await say(phone, tone(0.6, 8000), silence(0.4, 8000))
            assert pitch(sound_of(await until(phone, "mark")), 8000) == pytest.approx(440, abs=5)

    run(test)


@pytest.mark.parametrize(
    "message",
    ["{", "[]", b"\x00", '{"event": "media"}', '{"event": "media", "media": {"payload": "@@"}}', '{"event": "start"}'],
)
def test_what_no_telephone_says_ends_the_call(beeper: Served, message: str | bytes) -> None:
    async def test() -> None:
        async with calling(beeper) as phone:
            await phone.send(message)
            assert await closed(phone) == 1003

    run(test)


def test_another_format_is_refused_and_a_full_server_says_so() -> None:
    async def test() -> None:
        wide = {"encoding": "audio/x-l16", "sampleRate": 16000, "channels": 1}
        async with calling(served, mediaFormat=wide) as phone:
            assert await closed(phone) == 1003
        async with calling(served) as first:
            await say(first, tone(0.6, 8000))
            async with calling(served) as second:
                assert await closed(second) == 1013
            await say(first, silence(0.4, 8000))
            await until(first, "mark")

    with serving(Beeper(), slots=1) as served:
        run(test)


def test_the_webhook_answers_with_the_stream_to_connect_to(beeper: Served) -> None:
    async def test() -> None:
        async with httpx2.AsyncClient() as http:
            assert (await http.post(f"{beeper.http}/twilio/voice")).status_code == 401
            told = await http.post(f"{beeper.http}/twilio/voice", headers={"Authorization": f"Bearer {KEY}"})
        assert told.headers["content-type"].startswith("text/xml")
        stream = ElementTree.fromstring(told.text).find("Connect/Stream")
        assert stream is not None
        assert stream.get("url") == f"{beeper.ws}/twilio"

    run(test)


def test_signatures_are_those_of_twilio() -> None:
    """The example that Twilio's own libraries test with."""
    form = [
        ("CallSid", "CA1234567890ABCDE"),
        ("Digits", "1234"),
        ("From", "+14158675309"),
        ("To", "+18005551212"),
        ("Caller", "+14158675309"),
    ]
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    assert signature("12345", url, form) == "RSOYDt4T1cUTdK1PDd93/VVr8B8="


def test_only_what_is_signed_is_served_where_the_account_is_known() -> None:
    async def test() -> None:
        form = [("CallSid", "CA1"), ("From", "+14158675309")]
        public = {"Host": "voice.example.org", "X-Forwarded-Proto": "https"}  # as a proxy on this machine says it
        right = signature(TOKEN, "https://voice.example.org/twilio/voice", form)
        headers = {**public, "Content-Type": "application/x-www-form-urlencoded"}
        async with httpx2.AsyncClient(base_url=served.http) as http:
            for shown, status in ((right, 200), (right[::-1], 403), ("", 403)):
                signed = {**headers, "X-Twilio-Signature": shown}
                told = await http.post("/twilio/voice", content=urlencode(form), headers=signed)
                assert told.status_code == status
                assert status == 403 or 'url="wss://voice.example.org/twilio"' in told.text
        url = f"{served.ws}/twilio"
        for signed_url in (url, f"{url}/"):
            async with connect(url, additional_headers={"X-Twilio-Signature": signature(TOKEN, signed_url, [])}):
                pass
        with pytest.raises(InvalidStatus) as caught:
            async with connect(url, additional_headers={"Authorization": f"Bearer {KEY}"}):
                pass
        assert caught.value.response.status_code == 403

    with serving(Beeper(), Limits(drain=0)) as served:
        served.server.twilio_token = TOKEN
        run(test)
