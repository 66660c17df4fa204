"""`/v1/realtime/client_secrets`: keys that live for minutes, for pages and apps that must not hold an API key."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from duologue.serve import beta
from duologue.serve.events import SessionConfig
from duologue.serve.faults import RealtimeError, checked
from duologue.serve.items import new_id
from duologue.serve.parsing import refuse_tools
from duologue.serve.requests import admit, read_json, refuse, unauthorized, worded
from duologue.serve.server import Server
from duologue.serve.voices import check_voice, voice_of

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
    if not server.keys.welcomes(request.headers):
        return refuse(server, 403, "origin_not_allowed", "Pages of this origin may not ask.")
    guest = admit(request)
    if isinstance(guest, Response):
        return guest
    if guest.session is not None:  # a secret makes no secrets
        return unauthorized(server, request.headers)
    try:
        body = await read_json(request, MOST_BYTES, server.limits.depth)
        body = beta.present({"session": body}) if flat else body
        order = checked(_Order.model_validate, body)
        config = SessionConfig().changed(order.session)
        card = server.engine(request.query_params.get("model") or config.model).card
        refuse_tools(config.tools, "session.tools", card)
        check_voice(config.audio.output.voice, card, "session.audio.output.voice")
    except RealtimeError as refusal:
        return worded(server, refusal)
    seconds = order.expires_after.seconds if order.expires_after else None
    issued = server.keys.issue(guest, seconds, order.session)
    if issued is None:
        return refuse(server, 429, "rate_limit_exceeded", "Too many client secrets are valid now; try again later.")
    config.model, config.audio.output.voice = card.name, voice_of(card)
    session = {"object": "realtime.session", "id": new_id("sess"), "expires_at": issued[1], **config.model_dump()}
    return *issued, session
