"""The OpenAI Live API on `/v1/live/sessions`: the protocol of a model that hears and speaks at the same time.

There are no turns in it and no responses: the user's sound goes in without end, the reply's sound and the words of both
come out as they come. The model never delegates work: what would need that is refused in clear words. A session whose
connection was lost goes on with `?resume=live_…`, which is answered with `session.started`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from starlette.websockets import WebSocket

from duologue.serve.faults import RealtimeError, checked
from duologue.serve.items import new_id
from duologue.serve.keys import Guest
from duologue.serve.line import Ear, Line
from duologue.serve.live_events import (
    CLIENT_EVENT,
    Append,
    AudioAppend,
    AudioMute,
    ClientEvent,
    Delegated,
    SessionChange,
    SessionClose,
    SessionConfig,
    SessionStart,
    SessionUpdate,
    format_of,
)
from duologue.serve.parsing import refuse_tools
from duologue.serve.session import Broken, Moment, ReplyEnded, ReplySound, ReplyStarted, ReplyWord, Session, UserWord
from duologue.serve.sockets import AWAY, LOST, RESTART, RESUMED, ClosingError, Comeback, admitted
from duologue.serve.voices import check_voice, voice_of
from duologue.systems.rows import Saved

CLOSED = 1000
_REASONS = {CLOSED: "close_requested", AWAY: "expired", RESTART: "remote_hangup"}


async def sessions(websocket: WebSocket) -> None:
    """`/v1/live/sessions`: one session, and `?resume=live_…` to go on with one whose connection was lost."""
    comeback = Comeback(websocket, _Kept)
    async with admitted(websocket, "live", before=comeback.take) as guest:
        if guest is not None:
            await Live(websocket, guest, comeback.resumed).run()


class _Kept:
    """What of a session outlives its connection."""

    def __init__(self, id: str, expires: float, session: Session, ear: Ear, config: SessionConfig) -> None:
        self.id, self.expires, self.session, self.ear, self.config = id, expires, session, ear, config
        self.muted = False
        self.words = {"input": 0, "output": 0}  # told so far

    async def park(self) -> Saved:
        """Leave the slot.

        Raises:
            SlotLostError: the conversation has ended.
        """
        return await self.session.park()


class Live(Line):
    """One session, from `session.start` to `session.closed`."""

    def __init__(self, websocket: WebSocket, guest: Guest, resumed: tuple[_Kept, Saved] | None) -> None:
        super().__init__(websocket, guest, "live")
        self._kept: _Kept
        self._saved: Saved | None = None
        self._let_go: Callable[[], None] = lambda: None
        if resumed is not None:
            self._kept, self._saved = resumed
            self.id, self.expires, self.ear = self._kept.id, self._kept.expires, self._kept.ear

    async def open(self) -> None:
        """Go on, where there is a conversation to go on with; else the client begins one."""
        if self._saved is None:
            return
        self._hold()
        try:
            await self.go_on(self._kept.session, format_of(self._kept.config.audio.format), self._saved)
        except RealtimeError as error:
            self.fail(error, {})
        self._saved = None
        self._tell("session.started", session=self._wire())

    def _hold(self) -> None:
        elsewhere = ClosingError(RESUMED, "resumed on another connection")
        self._let_go = self.server.hold(self.id, self.guest.key, lambda: self.end(elsewhere))

    async def release(self, code: int) -> None:
        """A conversation whose connection was lost is kept for a while, and one that found no slot to go on in."""
        server, key = self.server, self.guest.key
        keep = server.limits.resume > 0 and not server.closing.is_set()
        try:
            if keep and self.session is not None and self.session.held and code in (*LOST, RESUMED):
                await server.park(self._kept, key)
            elif keep and self._saved is not None:
                server.keep(self._kept, self._saved, key)
            else:
                await super().release(code)
        finally:
            self.websocket.state.place.close()  # for whoever waits to take it over
            self._let_go()

    async def obey(self, message: dict[str, Any]) -> None:
        event: ClientEvent = checked(CLIENT_EVENT.validate_python, message)
        cause = _cause(message)
        if isinstance(event, SessionStart):
            await self._start(event.session, cause)
        elif self.session is None:
            raise RealtimeError("Begin with session.start.", "session_not_started", "type")
        else:
            await self._do(event, self.session, cause)

    async def _do(self, event: ClientEvent, session: Session, cause: dict[str, str]) -> None:
        match event:
            case AudioAppend():
                await self.hear(event.audio, "audio", silent=self._kept.muted)
            case AudioMute():
                self._kept.muted = event.type.endswith(".mute")
                self._tell(f"{event.type}d", **cause)
            case SessionUpdate():
                self._update(event.session)
                self._tell("session.updated", session=self._wire(), **cause)
            case Append():
                await self._append(event, session)
                now = self._now()
                self._tell(f"{event.type}ed", start_ms=now, end_ms=now, **cause)
            case SessionClose():
                raise ClosingError(CLOSED, "closed as asked")
            case Delegated():
                raise RealtimeError(
                    f"This session has no backend for '{event.type}': its model answers by itself.",
                    "delegation_not_supported",
                    "type",
                )

    async def _start(self, config: SessionConfig, cause: dict[str, str]) -> None:
        if self.session is not None:
            raise RealtimeError("The session has begun already.", "session_already_started", "type")
        _check(config)
        engine = self.server.engine(config.model)
        check_voice(config.audio.output.voice, engine.card, "session.audio.output.voice")
        session = await self.begin(config.model, format_of(config.audio.format))
        card = session.engine.card
        config.model = card.name
        config.audio.output.voice = voice_of(card)
        config.delegation = config.delegation or {"type": "client"}
        self._kept = _Kept(self.id, self.expires, session, self.ear, config)
        self._hold()
        self._tell("session.started", session=self._wire(), **cause)

    def _update(self, change: SessionChange) -> None:
        _check(change)
        for name in change.model_fields_set:
            setattr(self._kept.config, name, getattr(change, name))

    async def _append(self, event: Append, session: Session) -> None:
        """Instructions and thoughts are kept like those of the start; what is to be said no system can be told."""
        if event.delegation_id is not None:
            raise RealtimeError("There is no such delegation.", "delegation_not_found", "delegation_id")
        if event.type == "session.commentary.append":
            raise RealtimeError(
                f"{session.engine.card.name} decides its words itself and cannot be told what to say.",
                "text_input_not_supported",
                "content",
            )

    def follow(self, moment: Moment) -> None:
        match moment:
            case UserWord():
                self._transcribe("input", moment.word)
            case ReplyWord():
                self._transcribe("output", moment.word)
            case ReplySound():
                self.send({"type": "session.output_audio.delta", "delta": base64.b64encode(moment.data).decode()})
            case ReplyStarted() | ReplyEnded():
                self._tell("session.usage.updated", usage=self._usage())
            case Broken():
                error = RealtimeError("The conversation failed on the server.", "server_error", type="server_error")
                self.fail(error, {})

    def complain(self, error: RealtimeError, message: dict[str, Any]) -> None:
        body = {key: value for key, value in error.body.items() if key != "event_id"}
        cause = _cause(message)
        self._tell("error", error={**body, **cause}, **cause)

    def depart(self, closing: ClosingError) -> None:
        if self.session is not None:
            reason = _REASONS.get(closing.code, "connection_lost")
            self._tell("session.closed", reason=reason, session=self._wire(), usage=self._usage())

    def _transcribe(self, side: str, word: str) -> None:
        """A word of either voice; its time is that at which the model has heard it, or has decided to say it."""
        now, frame = self._now(), 0.0
        if self.session is not None:
            frame = self.session.engine.frame_seconds
        words = self._kept.words
        delta = f" {word}" if words[side] else word
        words[side] += 1
        start = max(0, now - round(1000 * frame))
        self._tell(f"session.{side}_transcript.delta", delta=delta, start_ms=start, end_ms=now)

    def _now(self) -> int:
        """Milliseconds of conversation."""
        return 0 if self.session is None else round(1000 * self.session.frames * self.session.engine.frame_seconds)

    def _usage(self) -> dict[str, float]:
        session = self.session
        return {"seconds": 0.0 if session is None else session.heard_frames * session.engine.frame_seconds}

    def _wire(self) -> dict[str, Any]:
        config = self._kept.config.model_dump(exclude_none=True)
        return {"id": self.id, "expires_at": int(self.expires), "status": "active", **config}

    def _tell(self, kind: str, **fields: Any) -> None:
        self.send({"type": kind, "event_id": new_id("event"), **fields})


def _check(config: SessionConfig | SessionChange) -> None:
    """Refuse what would need a backend. One without tools may be named, as clients do so always."""
    delegation = config.delegation or {}
    if delegation.get("type", "client") not in ("client", "responses"):
        message = "This model makes no decisions: leave session.delegation out, or set its type to 'client'."
        raise RealtimeError(message, "delegation_not_supported", "session.delegation.type")
    responses = delegation.get("responses")
    refuse_tools(isinstance(responses, dict) and responses.get("tools"), "session.delegation.responses.tools")
    if config.triggers:
        message = "This model makes no decisions: leave session.triggers out."
        raise RealtimeError(message, "delegation_not_supported", "session.triggers")


def _cause(message: dict[str, Any]) -> dict[str, str]:
    """What tells a client which of its messages is meant."""
    id = message.get("event_id")
    return {"client_event_id": id} if isinstance(id, str) and len(id) <= 512 else {}
