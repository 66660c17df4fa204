"""A Realtime session over WebRTC: Opus both ways on an audio track, events on the data channel `oai-events`.

The session is the same as on a WebSocket. What differs is where sound goes: it comes from and leaves by tracks, and as
the server paces what it says, it also tells when that is audible (`output_audio_buffer.started`, `.stopped`,
`.cleared`), and truncates by itself what was cut off. A client that names its channel otherwise, as those of Azure do,
has it taken where no `oai-events` comes beside it. A call has no close code: why the server ends it is the last event,
an `error`. Media go over the address that the request came in on and over no other, and no STUN or TURN server is
asked.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from collections import deque
from typing import Any

import numpy as np
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCDataChannel,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError
from aiortc.sdp import SessionDescription
from av import AudioFrame

from duologue.audio.resample import LiveResampler
from duologue.serve import beta
from duologue.serve.events import format_of
from duologue.serve.faults import RealtimeError, over_limit
from duologue.serve.items import new_id
from duologue.serve.limits import LimitError
from duologue.serve.logs import log
from duologue.serve.parsing import read_message
from duologue.serve.realtime import Realtime
from duologue.serve.server import Server
from duologue.serve.sound import Format
from duologue.serve.voice import Voice
from duologue.systems.base import Pcm
from duologue.systems.rows import Saved

CHANNEL = "oai-events"
OTHERS = 1.0  # seconds for which a channel of another name waits for that one
CONNECT = 15.0  # seconds that a client has to connect
PIECE = 0.04  # seconds of the user's sound that are handed on at a time
BREATH = 0.05  # seconds that are not read from a client that was refused a message
FAREWELL = 1.0  # seconds that the last events have to go out
MOST_EARLY = 100  # events that wait for the data channel


class OfferError(Exception):
    """An offer that no call can be made of."""


class Call:
    """One client's call: `answer` its offer, then `run` until it ends.

    Attributes:
        guest: whose call it is, by the key.
        session: the id of its session.
    """

    def __init__(
        self, realtime: Realtime, server: Server, guest: str, address: str, saved: Saved | None, earlier: bool
    ) -> None:
        """`saved` is the conversation that the session goes on with, if it is no new one; `earlier`: it is held
        in the words of the beta."""
        self.id = new_id("rtc")
        self.guest, self.session = guest, realtime.id
        self._address, self._saved, self._earlier = address, saved, earlier
        self._realtime, self._server, self._limits = realtime, server, server.limits
        realtime.send = self._send
        realtime.broken = lambda: self.end("broken")
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._voice = Voice(self._tell)
        self._track: asyncio.Future[MediaStreamTrack] = asyncio.get_running_loop().create_future()
        self._channel: RTCDataChannel | None = None
        self._early: deque[str] = deque(maxlen=MOST_EARLY)  # events from before there is a channel
        self._other: RTCDataChannel | None = None  # the first by another name
        self._unread: deque[str | bytes] = deque(maxlen=MOST_EARLY)  # what came on that, while it waits
        self._messages: asyncio.Queue[str | bytes] = asyncio.Queue(self._limits.messages_at_once)
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._touched = time.monotonic()  # when the client was last heard of
        self._peer.on("track", self._take_track)
        self._peer.on("datachannel", self._take_channel)
        self._peer.on("connectionstatechange", self._watch_connection)

    async def answer(self, offer: str, host: str) -> str:
        """Open the session and answer an SDP offer with the server's SDP; media go over the address `host`.

        Raises:
            OfferError: it is no offer, or one without audio.
            EngineFullError: no slot is free.
        """
        resumed = self._saved is not None
        try:
            await self._realtime.open(self._saved)
            self._saved = None
            return await self._negotiate(offer, host)
        except BaseException:
            await self._close(keep=resumed)
            raise

    async def _negotiate(self, offer: str, host: str) -> str:
        try:
            await self._peer.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        except Exception as error:  # the parser raises what it stumbles over: ValueError, IndexError, KeyError, ...
            raise OfferError("The body is not an SDP offer.") from error
        # aiortc would find out in a task of its own, after the call was answered.
        if not all(media.dtls and media.dtls.fingerprints for media in SessionDescription.parse(offer).media):
            raise OfferError("The offer has no fingerprint, without which nothing can be encrypted.")
        if not any(transceiver.kind == "audio" for transceiver in self._peer.getTransceivers()):
            raise OfferError("The offer has no audio.")
        self._peer.addTrack(self._voice)
        _keep_to(self._peer, host)
        try:
            await self._peer.setLocalDescription(await self._peer.createAnswer())
        except Exception as error:  # nothing in common, say
            raise OfferError("The offer cannot be answered.") from error
        return self._peer.localDescription.sdp

    async def run(self) -> None:
        """Carry sound and events until the client, the clock or the server makes an end."""
        log("opened", session=self._realtime.id, model=self._realtime.config.model, key=self.guest, protocol="webrtc")
        begin, reason = time.monotonic(), "failed"
        parts = (self._hear(), self._read(), self._watch(), self._stopping())
        tasks = [asyncio.ensure_future(part) for part in parts]
        try:
            ending: list[asyncio.Future[Any]] = [self._ended, *tasks]
            await asyncio.wait(ending, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
            reason = self._ended.result()
        except Exception as error:
            log("failed", error)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._close(keep=reason == "lost")
            self._server.metrics.closed.labels(reason).inc()
            log("closed", session=self._realtime.id, reason=reason, seconds=round(time.monotonic() - begin, 2))

    def end(self, reason: str, told: RealtimeError | None = None) -> None:
        """Let the call end; `told` to the client, if it does not know why."""
        if not self._ended.done():
            self._ended.set_result(reason)
            if told is not None:
                self._realtime.fail(told)

    async def _close(self, keep: bool) -> None:
        """Let the last events go out and give back what is held; the session of a lost call is kept for a while."""
        self._voice.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL):
                while self._peer.connectionState == "connected" and self._channel and self._channel.bufferedAmount:
                    await asyncio.sleep(0.02)
        await self._peer.close()
        keep = keep and self._limits.resume > 0 and not self._server.closing.is_set()
        if keep and self._realtime.parkable:
            await self._server.park(self._realtime, self.guest)
        elif keep and self._saved is not None:  # there was no slot to go on in
            self._server.keep(self._realtime, self._saved, self.guest)
        else:
            await self._realtime.close()

    # From the client.

    def _take_track(self, track: MediaStreamTrack) -> None:
        if track.kind == "audio" and not self._track.done():
            self._track.set_result(track)

    def _take_channel(self, channel: RTCDataChannel) -> None:
        if self._channel is not None:
            return
        channel.on("message", lambda message: self._take_from(channel, message))
        if channel.label == CHANNEL:
            self._speak_on(channel)
        elif self._other is None:
            self._other = channel
            asyncio.get_running_loop().call_later(OTHERS, self._settle_for, channel)

    def _take_from(self, channel: RTCDataChannel, message: str | bytes) -> None:
        if channel is self._channel:
            self._take_message(message)
        elif channel is self._other and self._channel is None:
            self._unread.append(message)

    def _settle_for(self, channel: RTCDataChannel) -> None:
        """Take a channel of another name, if none has come that is named right."""
        if self._channel is None and channel.readyState == "open":
            self._speak_on(channel)
            while self._unread:
                self._take_message(self._unread.popleft())

    def _speak_on(self, channel: RTCDataChannel) -> None:
        self._channel = channel
        while self._early:
            channel.send(self._early.popleft())

    def _take_message(self, message: str | bytes) -> None:
        try:
            self._messages.put_nowait(message)
        except asyncio.QueueFull:
            message = f"More than {self._limits.messages_at_once} messages wait."
            self.end("flooded", RealtimeError(message, "rate_limit_exceeded", type="rate_limit_error"))

    async def _hear(self) -> None:
        """Hand the track's sound to the session, in the format that it is set to."""
        track = await self._track
        rates: tuple[Format, int] | None = None
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                await asyncio.Future()  # the rest of the call goes on without the client's sound
            assert isinstance(frame, AudioFrame)
            self._touched = time.monotonic()
            format = format_of(self._realtime.config.audio.input.format)
            if rates != (format, frame.sample_rate):
                rates, data = (format, frame.sample_rate), b""
                resampler = LiveResampler(frame.sample_rate, format.rate)
            data += format.encode(resampler.push(_mono(frame)))
            if format.seconds(data) >= PIECE:
                audio, data = base64.b64encode(data).decode(), b""
                if not await self._realtime.handle({"type": "input_audio_buffer.append", "audio": audio}):
                    await asyncio.sleep(BREATH)

    async def _read(self) -> None:
        while True:
            text = await self._messages.get()
            self._touched = time.monotonic()
            try:
                self._server.traffic.count(self.guest, self._address, len(text))
                message = read_message(text, self._limits)
            except (LimitError, RealtimeError) as error:
                self._realtime.fail(error if isinstance(error, RealtimeError) else over_limit(error))
                await asyncio.sleep(BREATH)
                continue
            message = beta.present(message) if self._earlier else message
            if message.get("type") == "output_audio_buffer.clear":
                self._realtime.silence(self._voice.response)
                self._cut()
            elif not await self._realtime.handle(message):
                await asyncio.sleep(BREATH)

    # To the client.

    def _send(self, event: dict[str, Any]) -> None:
        """An event of the session: its sound goes to the track, all else to the data channel."""
        match event["type"]:
            case "response.output_audio.delta":
                format = format_of(self._realtime.config.audio.output.format)
                pcm = format.decode(base64.b64decode(event["delta"]))
                self._voice.say(event["response_id"], event["item_id"], pcm, format.rate)
                return
            case "response.output_audio.done":
                self._voice.finish()
        told = beta.earlier(event) if self._earlier else event
        if told is not None:
            self._put(json.dumps(told))
        if event["type"] == "response.done" and event["response"]["status"] == "cancelled":
            response = event["response"]
            if (
                response["conversation_id"] or response["id"] == self._voice.response
            ):  # one out of band silences no other
                self._cut()

    def _tell(self, kind: str, response: str) -> None:
        event = {"event_id": new_id("event"), "type": f"output_audio_buffer.{kind}", "response_id": response}
        self._put(json.dumps(event))

    def _put(self, text: str) -> None:
        if self._channel is None:
            self._early.append(text)
        elif self._channel.readyState == "open":
            self._channel.send(text)
            if self._channel.bufferedAmount > self._limits.unsent_bytes:
                self.end("slow")

    def _cut(self) -> None:
        """Stop what is audible now; the conversation keeps only what the client can have heard."""
        said = self._voice.clear()
        if said is not None and self._realtime.holds(said[0]):
            item, seconds = said
            event = {"type": "conversation.item.truncate", "item_id": item, "audio_end_ms": 1000 * seconds}
            self._take_message(json.dumps(event))

    # The end.

    def _watch_connection(self) -> None:
        if self._peer.connectionState in ("failed", "closed"):
            self.end("lost")

    async def _watch(self) -> None:
        """End a call that does not connect, falls silent or lasts too long."""
        begin = time.monotonic()
        while True:
            await asyncio.sleep(min(1.0, self._limits.idle))
            now = time.monotonic()
            if now - begin > CONNECT and self._peer.connectionState in ("new", "connecting"):
                self.end("unconnected")
            elif now - self._touched > self._limits.idle:
                self.end("idle", RealtimeError(f"Nothing was sent for {self._limits.idle:g} s.", "idle_timeout"))
            elif time.time() > self._realtime.expires:
                minutes = self._limits.session / 60
                message = f"Your session hit the maximum duration of {minutes:g} minutes."
                self.end("expired", RealtimeError(message, "session_expired"))

    async def _stopping(self) -> None:
        """End with the server."""
        await self._server.closing.wait()
        message = "The server is about to stop; call again."
        self.end("drained", RealtimeError(message, "server_draining", type="server_error"))


def _mono(frame: AudioFrame) -> Pcm:
    """16-bit interleaved samples to (T,) in [-1, 1]."""
    samples = frame.to_ndarray().reshape(-1, len(frame.layout.channels)).astype(np.float32)
    return np.asarray(samples.mean(axis=1) / 32768, np.float32)


def _keep_to(peer: RTCPeerConnection, host: str) -> None:
    """Let a connection's sockets bind to one address: aioice would take all of the machine's but loopback."""
    host = host.removeprefix("::ffff:")
    transports = {each.receiver.transport for each in peer.getTransceivers()}
    if peer.sctp is not None:
        transports.add(peer.sctp.transport)
    for transport in transports:
        connection = transport.transport.iceGatherer._connection
        gather = connection.get_component_candidates

        async def from_host(component: int, addresses: list[str], timeout: int = 5, gather: Any = gather) -> Any:
            return await gather(component, [host], timeout)

        connection.get_component_candidates = from_host  # type: ignore[method-assign]
