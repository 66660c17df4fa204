"""The application: endpoints under their paths. A new protocol is a module with an endpoint, and a line here."""

from __future__ import annotations

import json
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from duologue.serve import client_secrets, live, page, requests, speech, transcriptions, twilio, websocket
from duologue.serve.calls import Calls
from duologue.serve.server import Server
from duologue.serve.sockets import refuse

SOCKETS = ("/v1/realtime", "/v1/live/sessions", "/twilio")
WATCHED = ("/healthz", "/readyz", "/metrics")


def make_app(server: Server, origins: list[str] | None = None) -> Starlette:
    """The application of one server, whose engines are to be running; pages of `origins` may use it."""
    app = Starlette(
        routes=[
            *page.routes(),
            *Calls().routes(),
            *(Route(path, look) for path, look in zip(WATCHED, (_healthy, _ready, _metrics), strict=True)),
            Route("/v1/models", _models),
            Route("/v1/models/{id:path}", _model),
            Route("/v1/realtime/client_secrets", client_secrets.create, methods=["POST"]),
            Route("/v1/realtime/sessions", client_secrets.create_beta, methods=["POST"]),
            WebSocketRoute("/v1/realtime", websocket.realtime),
            Route("/v1/audio/speech", speech.create, methods=["POST"]),
            Route("/v1/audio/transcriptions", transcriptions.create, methods=["POST"]),
            WebSocketRoute("/v1/live/sessions", live.sessions),
            Route("/twilio/voice", twilio.voice, methods=["GET", "POST"]),
            WebSocketRoute("/twilio", twilio.stream),
            WebSocketRoute("/{path:path}", _nowhere),
        ],
        middleware=[
            Middleware(
                CORSMiddleware,
                allow_origins=origins or [],
                allow_methods=["GET", "POST"],
                allow_headers=["*"],
                expose_headers=["Location"],
            )
        ],
        exception_handlers={ClientDisconnect: _gone, 404: _misled, 405: _misled},
    )
    app.state.server = server
    return app


async def _gone(request: Request, fault: Exception) -> Response:
    """For a client that left in the middle of its request; nobody reads it."""
    return Response(status_code=400)


async def _misled(request: Request, fault: Exception) -> Response:
    """For a path or a method that there is not."""
    assert isinstance(fault, HTTPException)
    asked = f"{request.method} {json.dumps(request.url.path)[1:-1]}"
    headers = fault.headers or {}
    if request.url.path in SOCKETS:
        message = f"Invalid URL ({asked}): connect by WebSocket here."
    elif "Allow" in headers:
        message = f"Not allowed to {asked}; allowed: {headers['Allow']}."
    else:
        message = f"Invalid URL ({asked})."
    answer = requests.refuse(request.app.state.server, fault.status_code, "invalid_url", message)
    answer.headers.update(headers)
    return answer


async def _nowhere(websocket: WebSocket) -> None:
    """For a WebSocket on a path that has none."""
    await refuse(websocket, 404, "invalid_url", f"There is no WebSocket here, but on {', '.join(SOCKETS)}.")


async def _healthy(request: Request) -> Response:
    server: Server = request.app.state.server
    alive = all(engine.alive for engine in server.engines.values())
    return JSONResponse({"healthy": alive}, 200 if alive else 503)


async def _ready(request: Request) -> Response:
    server: Server = request.app.state.server
    return JSONResponse({"ready": server.ready, "behind": server.behind}, 200 if server.ready else 503)


async def _metrics(request: Request) -> Response:
    server: Server = request.app.state.server
    return Response(server.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _describe(name: str, server: Server) -> dict[str, Any]:
    card = server.engines[name].card
    own = {"summary": card.summary, "voices": card.voices}  # clients pass over what they do not know
    return {"id": name, "object": "model", "created": 0, "owned_by": "duologue", **own}


async def _models(request: Request) -> Response:
    server: Server = request.app.state.server
    guest = requests.admit(request)
    if isinstance(guest, Response):
        return guest
    return JSONResponse({"object": "list", "data": [_describe(name, server) for name in server.engines]})


async def _model(request: Request) -> Response:
    server: Server = request.app.state.server
    guest = requests.admit(request)
    if isinstance(guest, Response):
        return guest
    name = request.path_params["id"]
    if name not in server.engines:
        message = f"The model '{json.dumps(name)[1:-1]}' does not exist."
        return requests.refuse(server, 404, "model_not_found", message, "model")
    return JSONResponse(_describe(name, server))
