"""`/v1/realtime/client_secrets`: keys that live for minutes, for pages and apps that must not hold an API key."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from duologue.serve import beta
from duologue.serve.events import RealtimeError, SessionConfig
from duologue.serve.items import new_id
from duologue.serve.limits import depth_of
from duologue.serve.parsing import refuse_tools, wrong
from duologue.serve.server import Server

MOST_BYTES = 64 << 10


class _ExpiresAfter(BaseModel):
    model_config = ConfigDict(extra="ignore")
    anchor: Literal["created_at"] = "created_at"
    seconds: int = Field(default=600, ge=10, le=7200)


class _Order(BaseModel):
    model_config = ConfigDict(extra="ignore")
    expires_after: _ExpiresAfter | None = None
    session: dict[str, Any] = {}


async def create(request: Request) -> Response:
    """`{expires_after?, session?}` -> `{value, expires_at, session}`."""
    made = await _create(request)
    if isinstance(made, Response):
        return made
    value, expires, session = made
    return JSONResponse({"value": value, "expires_at": expires, "session": session})


async def create_beta(request: Request) -> Response:
    """The beta's: the session's settings are the body, and the secret is in `client_secret`."""
    made = await _create(request, flat=True)
    if isinstance(made, Response):
        return made
    value, expires, session = made
    secret = {"value": value, "expires_at": expires}
    return JSONResponse({**beta.earlier_session(session), "client_secret": secret})


async def _create(request: Request, flat: bool = False) -> tuple[str, int, dict[str, Any]] | Response:
    server: Server = request.app.state.server
    guest = server.keys.admit(request.headers)
    if guest is None or guest.session is not None:  # a secret makes no secrets
        return unauthorized(server)
    try:
        body = await _body(request, server.limits.depth)
        order = _Order(session=beta.present({"session": body})["session"]) if flat else _Order.model_validate(body)
        refuse_tools(order.session.get("tools"), "session.tools")
        config = SessionConfig().changed(order.session)
    except ValidationError as invalid:
        return _refused(wrong(invalid, "session"))
    except RealtimeError as refusal:
        return _refused(refusal)
    seconds = order.expires_after.seconds if order.expires_after else None
    issued = server.keys.issue(guest, seconds, order.session)
    if issued is None:
        return error(429, "rate_limit_exceeded", "Too many client secrets are valid now; try again later.")
    config.model = server.engine(request.query_params.get("model") or config.model).card.name
    session = {"object": "realtime.session", "id": new_id("sess"), "expires_at": issued[1], **config.model_dump()}
    return *issued, session


async def _body(request: Request, depth: int) -> dict[str, Any]:
    data = b""
    async for part in request.stream():
        data += part
        if len(data) > MOST_BYTES:
            raise RealtimeError(f"The body is longer than {MOST_BYTES} bytes.", "invalid_request")
    try:
        body = json.loads(data or b"{}")
    except (ValueError, RecursionError):
        raise RealtimeError("The body is not JSON.", "invalid_json") from None
    if not isinstance(body, dict) or depth_of(body) > depth:
        raise RealtimeError("The body is no JSON object, or nested too deep.", "invalid_json")
    return body


def _refused(refusal: RealtimeError) -> Response:
    body = {key: value for key, value in refusal.body.items() if key != "event_id"}
    return JSONResponse({"error": body}, 400)


def error(status: int, code: str, message: str, param: str | None = None) -> Response:
    """An error as the OpenAI API words it."""
    body = {"type": "invalid_request_error", "code": code, "message": message, "param": param}
    return JSONResponse({"error": body}, status)


def unauthorized(server: Server) -> Response:
    server.metrics.refused.labels("invalid_api_key").inc()
    return error(401, "invalid_api_key", "Incorrect API key provided.")
