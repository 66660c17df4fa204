"""`duologue serve`: conversations over the wire, behind the protocols that clients already speak."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from duologue.errors import ConfigError

if TYPE_CHECKING:
    from duologue.serve.limits import Limits

MOST_THREADS = 4  # a step is too small to be shared among more


def serve(
    model: Annotated[
        list[str] | None, typer.Option(help='"box", a model folder, a Hugging Face id or a name; may be repeated.')
    ] = None,
    host: Annotated[str, typer.Option(help="The address to bind to; others than loopback need a key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8080,
    api_key: Annotated[
        list[str] | None,
        typer.Option(
            help="A key that clients must show; may be repeated. Better in DUOLOGUE_API_KEYS, comma-separated."
        ),
    ] = None,
    slots: Annotated[int, typer.Option(min=1, help="Conversations at once, of each model.")] = 32,
    origin: Annotated[
        list[str] | None, typer.Option(help="A web origin whose pages may connect (https://example.org); repeatable.")
    ] = None,
    limits: Annotated[Path | None, typer.Option(help="A JSON file of limits that differ from the defaults.")] = None,
    record: Annotated[
        Path | None, typer.Option(help="Keep every conversation in this folder, sound and events.")
    ] = None,
    record_days: Annotated[float, typer.Option(min=0, help="Recordings are deleted after so many days.")] = 30,
    record_gigabytes: Annotated[float, typer.Option(min=0, help="The oldest are deleted beyond this.")] = 10,
) -> None:
    """Serve a model to clients of the OpenAI Realtime API, ws://HOST:PORT/v1/realtime, and a page to talk with it.

    The first Ctrl-C or SIGTERM takes no new sessions and lets the running ones end; the second ends them.
    """
    import asyncio
    import socket

    from duologue.serve.keys import VARIABLE, Keys, given_keys
    from duologue.serve.logs import write_logs
    from duologue.serve.recording import Recorder, Retention
    from duologue.serve.run import Runner, is_public
    from duologue.serve.server import Server
    from duologue.serve.twilio import given_token
    from duologue.systems.engine import Engine
    from duologue.systems.process import ProcessRows

    class Announced(Runner):
        """Says where it is, once it listens there."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            bound = self.servers[0].sockets[0].getsockname()[1]
            place = f"{f'[{host}]' if ':' in host else host}:{bound}"
            print(f"http://{place}/ · ws://{place}/v1/realtime · Ctrl-C stops", file=sys.stderr)

    keys = given_keys(api_key or [])
    if is_public(host) and not keys:
        raise ConfigError(f"{host} can be reached by others; give --api-key or set {VARIABLE}, or bind to loopback")
    allowed = _read_limits(limits)
    threads = max(1, min(MOST_THREADS, (os.cpu_count() or 2) - 1))  # one core is left for the wire
    write_logs()
    with ExitStack() as stack:
        recorder = None
        if record is not None:
            retention = Retention(age=86400 * record_days, size=round(1e9 * record_gigabytes))
            recorder = stack.enter_context(Recorder(record, retention))
        engines: dict[str, Engine] = {}
        for name in model or ["box"]:
            rows = ProcessRows(name, slots, threads)
            stack.callback(rows.close_all)
            engines[name] = Engine(recorder.wrap(rows) if recorder else rows, allowed.buffer)
        server = Server(engines, Keys(keys, allowed, origin or []), allowed)
        server.twilio_token = given_token()
        asyncio.run(Announced(server, host, port, origin).serve())


def _read_limits(path: Path | None) -> Limits:
    from pydantic import ValidationError

    from duologue.serve.limits import Limits

    if path is None:
        return Limits()
    try:
        return Limits.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "file"
        raise ConfigError(f"{path}: {where}: {first['msg']}") from error
