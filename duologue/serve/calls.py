"""`/v1/realtime/calls`: conversations over WebRTC are asked for, answered and hung up over HTTP.

A client posts its offer as `application/sdp`, or as a form with the fields `sdp` and `session`, and is answered with
201, the server's SDP, and a Location under which `/hangup` ends the call. `?resume=sess_…` goes on with the session of
a call that was lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import AsyncGenerator
from typing import Any, Protocol

from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from duologue.serve import beta
from duologue.serve.events import SessionConfig
from duologue.serve.faults import RealtimeError
from duologue.serve.keys import Guest
from duologue.serve.limits import LimitError
from duologue.serve.parsing import read_object, refuse_tools
from duologue.serve.realtime import Realtime
from duologue.serve.requests import LOST, address_of, admit, refuse, unavailable, worded
from duologue.serve.server import Server
from duologue.serve.voices import check_voice
from duologue.systems.engine import EngineFullError

PATH = "/v1/realtime/calls"
MODULE = "duologue.serve.webrtc"
"""What carries calls, by its name: it comes with an extra and is loaded with the first call. It stands on aiortc, that
on PyAV, and PyAV's wheels on libraries under the GPL, which nothing else that talks may reach."""
MOST_BYTES = 256 << 10


class Call(Protocol):
    """What is known here of a `webrtc.Call`."""

    id: str
    guest: str
    session: str

    async def run(self) -> None: ...

    def end(self, reason: str) -> None: ...


class Calls:
    """The calls that go on, by their ids, and the endpoints that begin and end them."""

    def __init__(self) -> None:
        self._calls: dict[str, tuple[Call, asyncio.Task[None]]] = {}

    def routes(self) -> list[Route]:
        return [
            Route(PATH, self.create, methods=["POST"]),
            Route(f"{PATH}/{{id}}/hangup", self.hang_up, methods=["POST"]),
        ]

    async def create(self, request: Request) -> Response:
        server: Server = request.app.state.server
        if server.draining.is_set():
            return refuse(server, 503, "server_draining", "The server is about to stop; connect again.")
        if not server.keys.welcomes(request.headers):
            return refuse(server, 403, "origin_not_allowed", "Pages of this origin may not connect.")
        guest = admit(request)
        if isinstance(guest, Response):
            return guest
        try:
            webrtc = await asyncio.to_thread(importlib.import_module, MODULE)
        except ModuleNotFoundError:
            return refuse(
                server, 501, "webrtc_not_installed", "This server was installed without WebRTC: duologue[webrtc]."
            )
        with contextlib.ExitStack() as stack:
            try:
                address = address_of(request)
                offer, settings = await _read(request, server.limits.depth)
                earlier = beta.is_asked(request.headers, ())
                settings = beta.present({"session": settings})["session"] if earlier else settings
                resumed = await server.resume(request.query_params.get("resume", ""), guest.key)
                try:
                    stack.enter_context(server.places.hold(guest.key, address))
                except LimitError:
                    if resumed:
                        server.keep(*resumed, guest.key)
                    raise
                realtime, saved = resumed or (_session(request, guest, settings), None)
                realtime.place = lambda: server.places.hold(guest.key, address)
                call = webrtc.Call(realtime, server, guest.key, address, saved, earlier)
                answer = await call.answer(offer, request.scope["server"][0])
                return self._begin(server, call, answer, stack)
            except LimitError as limit:
                return refuse(server, 429, "rate_limit_exceeded", str(limit))
            except EngineFullError as full:
                return refuse(server, 503, "server_full", str(full))
            except LOST as lost:
                return unavailable(server, lost)
            except webrtc.OfferError as wrong_offer:
                return refuse(server, 400, "invalid_offer", str(wrong_offer))
            except RealtimeError as refusal:
                return worded(server, refusal)

    def _begin(self, server: Server, call: Call, answer: str, stack: contextlib.ExitStack) -> Response:
        """Let an answered call go on; what `stack` holds is held until it ends."""
        stack.enter_context(server.metrics.sessions.labels("webrtc").track_inprogress())
        server.metrics.opened.labels("webrtc").inc()
        task = asyncio.create_task(call.run())
        server.open.add(task)
        self._calls[call.id] = call, task
        stack.callback(self._calls.pop, call.id)
        stack.callback(server.open.discard, task)
        stack.callback(server.hold(call.session, call.guest, lambda: call.end("lost")))
        held = stack.pop_all()
        task.add_done_callback(lambda done: held.close())
        return Response(answer, 201, {"Location": f"{PATH}/{call.id}"}, media_type="application/sdp")

    async def hang_up(self, request: Request) -> Response:
        server: Server = request.app.state.server
        guest = admit(request)
        if isinstance(guest, Response):
            return guest
        found = self._calls.get(request.path_params["id"])
        if found is None or found[0].guest != guest.key:
            return refuse(server, 404, "call_not_found", "There is no such call.")
        found[0].end("hung up")
        return Response(status_code=200)


def _session(request: Request, guest: Guest, settings: dict[str, Any]) -> Realtime:
    """A session with the settings of the client secret, and over them those of the call."""
    server: Server = request.app.state.server
    config = SessionConfig().changed(dict(guest.session or {})).changed(settings)
    engine = server.engine(request.query_params.get("model") or config.model)
    refuse_tools(config.tools, "session.tools", engine.card)
    check_voice(config.audio.output.voice, engine.card, "session.audio.output.voice")
    return Realtime(engine, server.detector, server.limits, server.metrics, config.model_dump())


async def _read(request: Request, depth: int) -> tuple[str, dict[str, Any]]:
    """The offer and the settings of a request.

    Raises:
        RealtimeError: the body is neither SDP nor such a form, or is too long.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/sdp":
        return (b"".join([part async for part in _bounded(request)])).decode(errors="replace"), {}
    if kind != "multipart/form-data":
        message = "Send the offer as application/sdp, or as multipart/form-data with the fields sdp and session."
        raise RealtimeError(message, "unsupported_content_type")
    try:
        parser = MultiPartParser(request.headers, _bounded(request), max_files=0, max_fields=8)
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError):
        raise RealtimeError("The form cannot be read.", "invalid_request") from None
    sdp, session = form.get("sdp"), form.get("session", "{}")
    if not isinstance(sdp, str) or not isinstance(session, str):
        raise RealtimeError("Missing required parameter: 'sdp'.", "missing_required_parameter", "sdp")
    return sdp, read_object(session, depth, "'session'", "session")


async def _bounded(request: Request) -> AsyncGenerator[bytes, None]:
    length = 0
    async for part in request.stream():
        length += len(part)
        if length > MOST_BYTES:
            raise RealtimeError(f"The body is longer than {MOST_BYTES} bytes.", "invalid_request")
        yield part
