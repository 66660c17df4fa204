"""The same application on Ray Serve: as many replicas as there are conversations for, on one machine or many.

    serve run duologue.serve.replicas:application model=box most=4

Every replica is a whole server with slots of its own, and an open WebSocket is what Ray counts, so replicas come and go
with sessions. A connection stays where it is; a client that may have to come back shows an `x-session-id` of its own
making, by which it finds the replica that keeps its conversation. Client secrets are signed, so that every replica
knows them. Needs the extra `ray`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hmac
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette

from duologue.errors import ConfigError, ModelError
from duologue.serve.app import make_app
from duologue.serve.keys import VARIABLE, Guest, Keys, given_keys
from duologue.serve.limits import Limits
from duologue.serve.logs import write_logs
from duologue.serve.recording import Recorder, Retention
from duologue.serve.server import Server
from duologue.serve.twilio import given_token

if TYPE_CHECKING:
    from ray.serve import Application

    from duologue.systems.rows import Rows

BUSY = 0.75  # share of its slots that a replica is to have taken; more, and another is started
WATCH = 0.5  # seconds between two looks at whether a replica is to end
SIGNATURE = 32  # bytes


class Settings(BaseModel):
    """What `serve run` or a configuration file of Ray Serve may say, as `name=value` or under `args`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = "box"
    slots: int = Field(default=16, ge=1)  # conversations at once, of each replica
    least: int = Field(default=1, ge=1)  # replicas
    most: int = Field(default=1, ge=1)
    cpus: float = Field(default=1, gt=0)  # of a replica; as many threads as whole ones step its model
    origins: tuple[str, ...] = ()
    keyless: bool = False  # whoever reaches Ray's proxy may come in
    record: Path | None = None  # a folder on each machine, in which its replicas keep every conversation
    record_days: float = Field(default=30, ge=0)
    record_gigabytes: float = Field(default=10, ge=0)  # of that folder
    limits: Limits = Limits()


def application(args: Settings | Mapping[str, Any]) -> Application:
    """The application as Ray Serve runs it; keys and Twilio's token are those of the environment where this is called.

    Raises:
        ConfigError: a setting is unknown or cannot be, there are fewer replicas at most than at least, or no keys.
    """
    from ray import serve

    try:
        settings = Settings.model_validate(args)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"{where}={first['input']}: {first['msg']}; there is {', '.join(Settings.model_fields)}"
        ) from None
    if settings.most < settings.least:
        raise ConfigError(f"most={settings.most} replicas are fewer than least={settings.least}")
    keys = given_keys()
    if not keys and not settings.keyless:  # who can reach the proxy is Ray's to say, and not known here
        raise ConfigError(f"there are no keys; set {VARIABLE}, or say keyless=true to let everybody in")
    router = "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"
    deployment = serve.deployment(
        name="duologue",
        max_ongoing_requests=settings.slots,
        max_queued_requests=settings.slots,  # that wait for another replica; more are turned away
        graceful_shutdown_timeout_s=settings.limits.drain + 10,
        graceful_shutdown_wait_loop_s=WATCH,
        autoscaling_config={
            "min_replicas": settings.least,
            "max_replicas": settings.most,
            "target_ongoing_requests": max(1.0, BUSY * settings.slots),
            "upscale_delay_s": 5,
        },
        request_router_config={"request_router_class": router},
        ray_actor_options={"num_cpus": settings.cpus},
    )
    return deployment(serve.ingress()(Replica)).bind(settings, keys, secrets.token_bytes(SIGNATURE), given_token())


class Replica:
    """One server of the application; Ray makes it, and takes it away."""

    def __init__(self, settings: Settings, keys: Sequence[str], signing: bytes, twilio_token: str | None) -> None:
        from duologue.systems.engine import Engine
        from duologue.systems.process import ProcessRows

        write_logs()
        limits = settings.limits
        self._rows = ProcessRows(settings.model, settings.slots, max(1, int(settings.cpus)))
        self._recording = contextlib.ExitStack()
        rows: Rows = self._rows
        if settings.record is not None:
            retention = Retention(age=86400 * settings.record_days, size=round(1e9 * settings.record_gigabytes))
            rows = self._recording.enter_context(Recorder(settings.record, retention)).wrap(rows)
        engine = Engine(rows, limits.buffer)
        self._server = Server({settings.model: engine}, SignedKeys(keys, limits, settings.origins, signing), limits)
        self._server.twilio_token = twilio_token
        self._origins = list(settings.origins)
        self._watching: asyncio.Task[None] | None = None

    def __serve_build_asgi_app__(self) -> Starlette:
        """Ray asks for the application on the loop on which it will serve it."""
        self._server.start()
        self._watching = asyncio.get_running_loop().create_task(self._watch())
        return make_app(self._server, self._origins)

    def check_health(self) -> None:
        """Ray asks now and then, and replaces a replica that raises: one whose model's process has died.

        Raises:
            ModelError: it has.
        """
        if not self._rows.alive:
            raise ModelError(f"the process of {self._rows.card.name} has ended")

    async def _watch(self) -> None:
        """Let conversations end when Ray has taken the replica out of its lists, which it tells nobody."""
        while not _is_leaving():
            await asyncio.sleep(WATCH)
        await self._server.drain()

    async def __del__(self) -> None:
        """Ray awaits it, once all requests are over."""
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching
        await asyncio.to_thread(self._server.stop)
        await asyncio.to_thread(self._rows.close_all)
        await asyncio.to_thread(self._recording.close)


def _is_leaving() -> bool:
    """Whether the replica that runs in this process waits for its last requests.

    Ray has no public word for it: a replica learns of its end only once all of its requests are over, and a
    conversation would be cut off without a goodbye. Where a Ray has it otherwise, that is what happens.
    """
    from ray._private.worker import global_worker

    replicas = (getattr(actor, "_replica_impl", None) for actor in global_worker.actors.values())
    return any(getattr(replica, "_shutting_down", False) for replica in replicas)


class SignedKeys(Keys):
    """Client secrets that hold what they stand for, signed, so that they are valid with all who know the signing key.

    The settings of a session can be read in its secret, by the one who is told them anyway when the session begins.
    """

    def __init__(self, keys: Sequence[str], limits: Limits, origins: Sequence[str], signing: bytes) -> None:
        super().__init__(keys, limits, origins)
        self._signing = signing

    def issue(self, guest: Guest, seconds: float | None, session: Mapping[str, Any]) -> tuple[str, int]:
        expires = int(time.time() + (seconds or self._limits.secret))
        told = json.dumps({"key": guest.key, "expires": expires, "session": dict(session)}).encode()
        signed = base64.urlsafe_b64encode(self._sign(told) + told).decode().rstrip("=")
        return f"ek_{signed}", expires

    def _guest(self, key: str) -> Guest | None:
        return super()._guest(key) or self._read(key)

    def _read(self, key: str) -> Guest | None:
        if not key.startswith("ek_"):
            return None
        with contextlib.suppress(binascii.Error, ValueError):
            data = base64.urlsafe_b64decode(key[3:] + "=" * (-len(key[3:]) % 4))
            signature, told = data[:SIGNATURE], data[SIGNATURE:]
            if hmac.compare_digest(signature, self._sign(told)):
                secret = json.loads(told)
                if secret["expires"] > time.time():
                    return Guest(secret["key"], secret["session"])
        return None

    def _sign(self, told: bytes) -> bytes:
        return hmac.digest(self._signing, told, "sha256")
