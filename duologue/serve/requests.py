"""Endpoints that answer one request: the same doors, limits and errors as those of a session."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from duologue.serve import client_secrets
from duologue.serve.events import RealtimeError
from duologue.serve.limits import LimitError, depth_of
from duologue.serve.server import Server
from duologue.systems.engine import EngineFullError

Answer = Callable[[Request, Server], Awaitable[Response]]


def guarded(answer: Answer) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint behind the doors and limits of a session, whose errors are worded as clients know them."""

    async def endpoint(request: Request) -> Response:
        server: Server = request.app.state.server
        guest = server.keys.admit(request.headers)
        if guest is None:
            return client_secrets.unauthorized(server)
        if not server.keys.welcomes(request.headers):
            return _refuse(server, 403, "origin_not_allowed", "Pages of this origin may not ask.")
        if server.draining.is_set():
            return _refuse(server, 503, "server_draining", "The server is about to stop; ask again.")
        try:
            with server.places.hold(guest.key, request.client.host if request.client else ""):
                return await answer(request, server)
        except LimitError as error:
            return _refuse(server, 429, "rate_limit_exceeded", str(error))
        except EngineFullError as error:
            return _refuse(server, 503, "server_full", str(error))
        except RealtimeError as error:
            server.metrics.errors.labels(error.body["code"]).inc()
            body = {name: value for name, value in error.body.items() if name != "event_id"}
            return JSONResponse({"error": body}, 400)

    return endpoint


async def read_json(request: Request, most: int, depth: int) -> dict[str, Any]:
    """A body of up to `most` bytes.

    Raises:
        RealtimeError: it is longer, no JSON object, or nested deeper than `depth`.
    """
    data = b""
    async for part in request.stream():
        data += part
        if len(data) > most:
            raise RealtimeError(f"The body is longer than {most} bytes.", "invalid_request")
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        raise RealtimeError("The body is not JSON.", "invalid_json") from None
    if not isinstance(body, dict) or depth_of(body) > depth:
        raise RealtimeError("The body is no JSON object, or nested too deep.", "invalid_json")
    return body


def _refuse(server: Server, status: int, code: str, message: str) -> Response:
    server.metrics.refused.labels(code).inc()
    return client_secrets.error(status, code, message)
