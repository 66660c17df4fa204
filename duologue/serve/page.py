"""The page at `/`: talk with a model in a browser. Its files lie in `web/` and go out as they are.

A browser does not tell a page why a WebSocket was refused, so there is a door to knock at: `/web/door`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from duologue.serve.requests import guarded
from duologue.serve.server import Server

FOLDER = Path(__file__).parent / "web"
TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".mp3": "audio/mpeg",
}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",  # ask each time, by the tag
}


def routes() -> list[Route]:
    """A route for each file, and the door; nothing else can be asked for."""
    files = sorted(path for path in FOLDER.iterdir() if path.suffix in TYPES)
    pages = [Route("/" if path.name == "index.html" else f"/web/{path.name}", _endpoint(path)) for path in files]
    return [*pages, Route("/web/door", _knock, methods=["POST"])]


@guarded
async def _knock(request: Request, server: Server) -> Response:
    """Whether a session would be let in now: it has the same doors, and here a page can read what they say."""
    return Response(status_code=204)


def _endpoint(path: Path) -> Callable[[Request], Awaitable[Response]]:
    content = path.read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'

    async def endpoint(request: Request) -> Response:
        headers = {**HEADERS, "ETag": tag}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=TYPES[path.suffix])

    return endpoint
