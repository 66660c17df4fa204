"""Endpoints that answer one request: the same doors, limits and errors as those of a session."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from duologue.errors import ModelError
from duologue.serve.faults import RealtimeError
from duologue.serve.keys import Guest, why_unknown
from duologue.serve.limits import LimitError
from duologue.serve.logs import log
from duologue.serve.parsing import read_object
from duologue.serve.server import Server
from duologue.systems.engine import EngineFullError, SlotLostError
from duologue.systems.process import RowsLostError

Answer = Callable[[Request, Server], Awaitable[Response]]
LOST = (RowsLostError, SlotLostError, ModelError)
"""A model that was asked for something is not there, or no longer: the fault is the server's."""
_STATUS = {"server_error": 500, "rate_limit_error": 429}


def admit(request: Request) -> Guest | Response:
    """Who asks, or the refusal; it is counted with all that comes from there, also where it shows no valid key."""
    server: Server = request.app.state.server
    guest = server.keys.admit(request.headers)
    try:
        server.traffic.count(guest.key if guest else None, address_of(request))
    except LimitError as limit:
        return refuse(server, 429, "rate_limit_exceeded", str(limit))
    return guest or unauthorized(server, request.headers)


def address_of(request: Request) -> str:
    return request.client.host if request.client else ""


def guarded(answer: Answer) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint behind the doors and limits of a session, whose errors are worded as clients know them."""

    async def endpoint(request: Request) -> Response:
        server: Server = request.app.state.server
        guest = admit(request)
        if isinstance(guest, Response):
            return guest
        if not server.keys.welcomes(request.headers):
            return refuse(server, 403, "origin_not_allowed", "Pages of this origin may not ask.")
        if server.draining.is_set():
            return refuse(server, 503, "server_draining", "The server is about to stop; ask again.")
        try:
            with server.places.hold(guest.key, address_of(request)):
                return await answer(request, server)
        except LimitError as limit:
            return refuse(server, 429, "rate_limit_exceeded", str(limit))
        except EngineFullError as full:
            return refuse(server, 503, "server_full", str(full))
        except LOST as lost:
            return unavailable(server, lost)
        except RealtimeError as refusal:
            return worded(server, refusal)

    return endpoint


async def read_json(request: Request, most: int, depth: int) -> dict[str, Any]:
    """A body of up to `most` bytes; none at all is an empty object.

    Raises:
        RealtimeError: it is longer, no JSON object, or nested deeper than `depth`.
    """
    data = b""
    async for part in request.stream():
        data += part
        if len(data) > most:
            raise RealtimeError(f"The body is longer than {most} bytes.", "invalid_request")
    return read_object(data or b"{}", depth, "The body")


def worded(server: Server, refusal: RealtimeError) -> Response:
    """What is wrong with a request, in the words of a session's errors; it is counted."""
    server.metrics.errors.labels(refusal.body["code"]).inc()
    body = {name: value for name, value in refusal.body.items() if name != "event_id"}
    return JSONResponse({"error": body}, _STATUS.get(body["type"], 400))


def unavailable(server: Server, lost: Exception) -> Response:
    """What is told where a model is lost; why is for the log."""
    log("failed", lost)
    return refuse(server, 503, "model_unavailable", "The model is not there at the moment; try again later.")


def refuse(server: Server, status: int, code: str, message: str, param: str | None = None) -> Response:
    """An error as the OpenAI API words it; it is counted."""
    server.metrics.refused.labels(code).inc()
    kind = "server_error" if status >= 500 else "invalid_request_error"
    body = {"type": kind, "code": code, "message": message, "param": param}
    return JSONResponse({"error": body}, status)


def unauthorized(server: Server, headers: Mapping[str, str]) -> Response:
    return refuse(server, 401, "invalid_api_key", why_unknown(headers))
