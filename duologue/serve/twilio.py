"""Twilio media streams: a telephone call whose sound comes and goes over a WebSocket, in mu-law at 8 kHz.

A number's webhook is `/twilio/voice`; what it answers makes Twilio connect the call to `/twilio`. Twilio cannot show a
key. Where the server knows the account's auth token, both must be signed with it; where it does not, and keys are
asked for, calls are refused. https://www.twilio.com/docs/voice/media-streams/websocket-messages
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl
from xml.sax.saxutils import quoteattr

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from duologue.serve import requests
from duologue.serve.faults import RealtimeError, checked
from duologue.serve.keys import Guest
from duologue.serve.line import Line
from duologue.serve.server import Server
from duologue.serve.session import Moment, ReplyEnded, ReplySound
from duologue.serve.sockets import UNSUPPORTED, ClosingError, admitted, refuse
from duologue.serve.sound import Format
from duologue.serve.turns import UserStarted

VARIABLE = "DUOLOGUE_TWILIO_TOKEN"
MOST_BYTES = 64 << 10  # of a webhook's form
HUNG_UP = 1000

_UNSIGNED = "The request is not signed with this account's auth token."


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _MediaFormat(_Lenient):
    encoding: Literal["audio/x-mulaw"]
    sampleRate: Literal[8000]  # noqa: N815
    channels: Literal[1]


class _Start(_Lenient):
    streamSid: str = Field(max_length=256)  # noqa: N815
    customParameters: dict[str, str] = {}  # noqa: N815
    mediaFormat: _MediaFormat  # noqa: N815


class _Media(_Lenient):
    track: str = "inbound"
    payload: str


class _Dtmf(_Lenient):
    digit: str = Field(max_length=1)


class _Mark(_Lenient):
    name: str = Field(max_length=256)


class Connected(_Lenient):
    """Twilio has connected."""

    event: Literal["connected"]


class Start(_Lenient):
    """The call begins."""

    event: Literal["start"]
    start: _Start


class Media(_Lenient):
    """The caller's next sound, mostly 20 ms."""

    event: Literal["media"]
    media: _Media


class Dtmf(_Lenient):
    """The caller pressed a key."""

    event: Literal["dtmf"]
    dtmf: _Dtmf


class Mark(_Lenient):
    """All that was sent before the mark of this name has been played, or cleared."""

    event: Literal["mark"]
    mark: _Mark


class Stop(_Lenient):
    """The call is over."""

    event: Literal["stop"]


_MESSAGE: TypeAdapter[Connected | Start | Media | Dtmf | Mark | Stop] = TypeAdapter(
    Annotated[Connected | Start | Media | Dtmf | Mark | Stop, Field(discriminator="event")]
)

_KNOWN = ("connected", "start", "media", "dtmf", "mark", "stop")


def given_token() -> str | None:
    """The auth token of the account whose calls are answered, as `VARIABLE` has it."""
    return os.environ.get(VARIABLE) or None


def signature(token: str, url: str, form: list[tuple[str, str]]) -> str:
    """What Twilio sends as `X-Twilio-Signature`: HMAC-SHA1 over the URL and the form's fields in order, in base64.

    https://www.twilio.com/docs/usage/security#validating-requests
    """
    signed = url + "".join(f"{name}{value}" for name, value in sorted(set(form)))
    return base64.b64encode(hmac.digest(token.encode(), signed.encode(), hashlib.sha1)).decode()


def is_signed(token: str, shown: str, url: str, form: list[tuple[str, str]]) -> bool:
    """Whether Twilio made this request. Of WebSockets it is said to sign the URL with a slash at its end."""
    fitting = [signature(token, each, form) for each in (url, f"{url}/")]
    return any([hmac.compare_digest(shown.encode(), each.encode()) for each in fitting])


async def voice(request: Request) -> Response:
    """`/twilio/voice`, the webhook of a number: the TwiML that connects a call to `/twilio`."""
    server: Server = request.app.state.server
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            return requests.refuse(server, 413, "invalid_request", f"The form is longer than {MOST_BYTES} bytes.")
    if server.twilio_token is not None:
        form = parse_qsl(body.decode(errors="replace"), keep_blank_values=True) if request.method == "POST" else []
        if not is_signed(server.twilio_token, request.headers.get("x-twilio-signature", ""), str(request.url), form):
            return requests.refuse(server, 403, "invalid_signature", _UNSIGNED)
    elif server.keys.admit(request.headers) is None:
        return requests.unauthorized(server, request.headers)
    scheme = "wss" if request.url.scheme == "https" else "ws"
    stream = quoteattr(f"{scheme}://{request.url.netloc}/twilio")
    twiml = f'<?xml version="1.0" encoding="UTF-8"?>\n<Response><Connect><Stream url={stream}/></Connect></Response>'
    return Response(twiml, media_type="text/xml")


async def stream(websocket: WebSocket) -> None:
    """`/twilio`: one call."""
    server: Server = websocket.app.state.server
    caller = None
    if server.twilio_token is not None:
        shown = websocket.headers.get("x-twilio-signature", "")
        if not is_signed(server.twilio_token, shown, str(websocket.url), []):
            await refuse(websocket, 403, "invalid_signature", _UNSIGNED)
            return
        caller = Guest("twilio")
    async with admitted(websocket, "twilio", caller) as guest:
        if guest is not None:
            await Call(websocket, guest).run()


class Call(Line):
    """One call, from `start` to `stop`."""

    def __init__(self, websocket: WebSocket, guest: Guest) -> None:
        super().__init__(websocket, guest, "call")
        self._stream = ""
        self._replies = 0
        self._playing: set[str] = set()  # marks of replies that the caller has not heard to the end

    async def obey(self, message: dict[str, Any]) -> None:
        if isinstance(message.get("event"), str) and message["event"] not in _KNOWN:
            return  # Twilio may come to say more than is known here
        event = checked(_MESSAGE.validate_python, message)
        match event:
            case Start() if self.session is None:
                self._stream = event.start.streamSid
                await self.begin(event.start.customParameters.get("model"), Format("pcmu", 8000))
            case Media() if self.session is not None:
                if event.media.track == "inbound":
                    await self.hear(event.media.payload, "media.payload")
            case Dtmf() if self.session is not None:
                await self.session.read(event.dtmf.digit)  # most systems only hear; then a key says nothing
            case Mark():
                self._playing.discard(event.mark.name)
            case Stop():
                raise ClosingError(HUNG_UP, "the call is over")
            case Start() | Media() | Dtmf():
                raise RealtimeError(f"'{event.event}' does not belong here.", "invalid_value", "event")

    def follow(self, moment: Moment) -> None:
        match moment:
            case ReplySound():
                self._tell("media", media={"payload": base64.b64encode(moment.data).decode()})
            case ReplyEnded(cut=True):
                self._clear()
            case ReplyEnded():
                self._replies += 1
                name = f"reply-{self._replies}"
                self._playing.add(name)
                self._tell("mark", mark={"name": name})
            case UserStarted() if self._playing:
                self._clear()  # the reply was said, but the end of it still waits in Twilio's buffer

    def complain(self, error: RealtimeError, message: dict[str, Any]) -> None:
        """Sound that was too much is lost without a word, as the protocol has none; all else is no call of Twilio's."""
        if error.body["code"] not in ("rate_limit_exceeded", "input_audio_buffer_full", "server_full"):
            raise ClosingError(UNSUPPORTED, "not a message of Twilio media streams")

    def depart(self, closing: ClosingError) -> None:
        """A call just ends."""

    def _clear(self) -> None:
        self._playing.clear()
        self._tell("clear")

    def _tell(self, event: str, **fields: Any) -> None:
        self.send({"event": event, "streamSid": self._stream, **fields})
