"""The OpenAI Realtime API over a session: client events in, server events out, the same over any transport."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

from duologue.errors import TextError
from duologue.serve.apart import answer_apart, asked_of, asked_with
from duologue.serve.asked import turns_of
from duologue.serve.events import (
    BufferAppend,
    BufferClear,
    BufferCommit,
    ClientEvent,
    ItemCreate,
    ItemDelete,
    ItemParam,
    ItemRetrieve,
    ItemTruncate,
    OutputClear,
    ResponseCancel,
    ResponseCreate,
    ResponseParams,
    SessionConfig,
    SessionUpdate,
    format_of,
)
from duologue.serve.faults import RealtimeError, over_limit
from duologue.serve.given import Given
from duologue.serve.hearing import Hearing
from duologue.serve.intake import Intake
from duologue.serve.items import Item, Items, new_id
from duologue.serve.limits import LimitError, Limits
from duologue.serve.metrics import Metrics
from duologue.serve.parsing import check_texts, parse, refuse_tools, sounds_of
from duologue.serve.responses import TOO_LONG, TOO_MUCH, Response, Status, carry, usage_of
from duologue.serve.session import (
    Broken,
    Called,
    Moment,
    NoReply,
    ReplyEnded,
    ReplySound,
    ReplyStarted,
    ReplyWord,
    Session,
    UserWord,
)
from duologue.serve.turns import UserIdle, UserStarted, UserStopped
from duologue.serve.voices import check_voice, voice_of
from duologue.systems.cascade.silero import SileroDetector
from duologue.systems.engine import Engine
from duologue.systems.rows import Saved


class Realtime:
    """One client's session. `open` it, hand it every message by `handle`, and `close` or `park` it."""

    def __init__(
        self,
        engine: Engine,
        detector: Callable[[], SileroDetector],
        limits: Limits,
        metrics: Metrics,
        settings: dict[str, Any],
    ) -> None:
        """`settings` are of a client secret or none; `detector` is called where a client asks for voice detection."""
        self.id = new_id("sess")
        self.config = SessionConfig().changed(settings)
        self.config.model = engine.card.name
        self._unmet: RealtimeError | None = None  # what a client secret for another model asks and this one can't do
        try:
            refuse_tools(self.config.tools, "session.tools", engine.card)
        except RealtimeError as refusal:
            self.config.tools, self._unmet = [], refusal
        self.config.audio.output.voice = voice_of(engine.card)
        self.expires = time.time() + limits.session
        self.send: Callable[[dict[str, Any]], None] = lambda event: None
        """Takes every server event; set by the transport."""
        self.broken: Callable[[], None] = lambda: None
        """Called when the conversation has failed; set by the transport."""
        self.place: Callable[[], AbstractContextManager[None]] = nullcontext
        """Holds a place of this client for a response out of band, or raises LimitError; set by the transport."""
        self._engine, self._detector, self._limits, self._metrics = engine, detector, limits, metrics
        self._intake = Intake(limits)
        self._session = Session(engine, self._follow)
        self._items = Items(limits.items, limits.item_bytes)
        self._given = Given(self._items)
        self._conversation = new_id("conv")
        self._hearing = Hearing(
            self._session, self._emit, self._commit, lambda: self.config.audio.input.transcription is not None
        )
        self._response: Response | None = None
        self._apart: dict[str, asyncio.Task[None]] = {}  # responses out of band
        self._charged = (0, 0)  # frames heard and said that usage was told of
        self._read = 0  # words read since then
        self._called: set[str] = set()  # ids of calls of functions whose results are still to come
        self._results = False  # of calls, that no reply knows of
        self._withheld = False  # functions, from the response that is made
        self._offers: set[asyncio.Task[None]] = set()  # that give them back

    # Its life.

    async def open(self, saved: Saved | None = None) -> None:
        """Take a slot and greet the client.

        Raises:
            EngineFullError: none is free.
        """
        await self._session.open(saved=saved)
        self._apply(None)
        await self._offer()
        await self._session.pace(self.config.audio.output.speed)
        self._emit("session.created", session=self.wire())
        if self._unmet is not None:
            self.fail(self._unmet)
            self._unmet = None

    async def close(self) -> None:
        await self._end_apart()
        await self._session.close()

    @property
    def parkable(self) -> bool:
        """Whether there is a conversation to go on with."""
        return self._session.held

    async def park(self) -> Saved:
        """Leave the slot so that `open` can go on with what is returned; replies under way are given up.

        Raises:
            SlotLostError: the conversation has ended.
        """
        self._give_up("client_cancelled")
        await self._end_apart()
        return await self._session.park()

    async def _end_apart(self) -> None:
        """Responses out of band hold slots of their own."""
        for task in self._apart.values():
            task.cancel()
        await asyncio.gather(*self._apart.values(), return_exceptions=True)

    def wire(self) -> dict[str, Any]:
        """The session as the client sees it."""
        return {
            "object": "realtime.session",
            "id": self.id,
            "expires_at": int(self.expires),
            **self.config.model_dump(),
        }

    def _emit(self, kind: str, **fields: Any) -> None:
        self._send({"type": kind, **fields})

    def _send(self, event: dict[str, Any]) -> None:
        self.send({"event_id": new_id("event"), **event})

    def fail(self, error: RealtimeError, event_id: str | None = None) -> None:
        """Tell the client what went wrong with one of its events."""
        self._metrics.errors.labels(error.body["code"]).inc()
        self._emit("error", error={**error.body, "event_id": event_id})

    # What the client says.

    async def handle(self, message: dict[str, Any]) -> bool:
        """One message, already parsed; False where the client is to blame for what was wrong with it, and told so."""
        event_id = message.get("event_id")
        event_id = event_id if isinstance(event_id, str) and len(event_id) <= 512 else None
        try:
            self._intake.count()
            await self._do(parse(message))
        except RealtimeError as error:
            self.fail(error, event_id)
            return not error.blamed
        return True

    async def _do(self, event: ClientEvent) -> None:
        match event:
            case BufferAppend():
                format = format_of(self.config.audio.input.format)
                await self._intake.hear(self._session, event.audio, format, "audio")
            case BufferCommit():
                self._hearing.commit()
            case BufferClear():
                self._hearing.clear()
                self._emit("input_audio_buffer.cleared")
            case SessionUpdate():
                await self._update(event.session)
            case ResponseCreate():
                await self._create(event.response)
            case ResponseCancel():
                self._cancel(event.response_id)
            case ItemCreate():
                await self._insert(event)
            case ItemRetrieve():
                item = self._items.get(event.item_id, "retrieve")
                self._emit("conversation.item.retrieved", item=item.wire())
            case ItemTruncate():
                self._truncate(event)
            case ItemDelete():
                self._items.delete(event.item_id)
                self._emit("conversation.item.deleted", item_id=event.item_id)
            case OutputClear():
                raise RealtimeError("There is no output buffer to clear on a WebSocket.", "invalid_value", "type")

    async def _update(self, patch: dict[str, Any]) -> None:
        refuse_tools(patch.get("tools"), "session.tools", self._engine.card)
        before = self.config
        config = before.changed(patch)
        check_voice(config.audio.output.voice, self._engine.card, "session.audio.output.voice")
        config.model = before.model
        config.audio.output.voice = before.audio.output.voice
        self.config = config
        self._apply(before)
        if (config.tools, config.tool_choice) != (before.tools, before.tool_choice):
            await self._offer()
        if config.audio.output.speed != before.audio.output.speed:
            await self._session.pace(config.audio.output.speed)
        self._emit("session.updated", session=self.wire())

    def _apply(self, before: SessionConfig | None) -> None:
        """Let the session follow the settings, as far as they changed."""
        audio, old = self.config.audio, before.audio if before else None
        if old is None or (audio.input.format, audio.output.format) != (old.input.format, old.output.format):
            self._session.set_formats(format_of(audio.input.format), format_of(audio.output.format))
        if old is None or audio.input.turn_detection != old.input.turn_detection:
            asked, limits = audio.input.turn_detection, self._limits
            self._session.set_turns(lambda slot: turns_of(asked, slot, self._detector, limits.buffer))

    async def _offer(self) -> None:
        """Let the system call the functions that the settings name."""
        if self._engine.card.calls and self._session.held:
            tools = self.config.tools if self.config.tool_choice == "auto" else []
            await self._session.offer([tool.model_dump(exclude={"type"}) for tool in tools])

    def _commit(self, item: Item) -> None:
        """A turn of the user is over."""
        self._emit("input_audio_buffer.committed", previous_item_id=self._items.last, item_id=item.id)
        self._add(item)

    async def _insert(self, event: ItemCreate) -> None:
        given = event.item
        check_texts(given, self._limits.text, "item")
        if given.type in ("function_call", "function_call_output"):
            refuse_tools([given], "item.type", self._engine.card)
        if given.type == "function_call_output":
            await self._take_result(given, event.previous_item_id)
            return
        item = Item(given.role, [part.model_dump(exclude_none=True, exclude={"audio"}) for part in given.content])
        item.id = given.id or item.id
        sounds, texts = sounds_of(given), []
        if given.role == "user":
            texts = [part.text for part in given.content if part.type == "input_text" and part.text]
            if texts and not await self._session.reads():
                message = f"{self._engine.card.name} hears speech and takes no text; send the user's turn as audio."
                raise RealtimeError(message, "text_input_not_supported", "item.content")
        self._items.check(item, event.previous_item_id)
        format = format_of(self.config.audio.input.format)
        if given.role == "user":
            self._intake.weigh(sounds, format, "item.content")
            if self._given.seconds + sum(map(format.seconds, sounds)) > self._limits.buffer:
                message = f"More than {self._limits.buffer:g} s of audio would wait for a response to be created."
                raise RealtimeError(message, "input_audio_buffer_full", "item.content")
        self._add(item, event.previous_item_id)
        self._given.add(item, texts, [(sound, format) for sound in sounds])

    async def _take_result(self, given: ItemParam, after: str | None) -> None:
        """What a call came to: the next reply knows it, whatever that is a reply to."""
        if given.call_id is None or given.call_id not in self._called:
            message = f"No function call with id '{given.call_id}' waits for its output."
            raise RealtimeError(message, "invalid_value", "item.call_id")
        fields = {"call_id": given.call_id, "output": given.output or ""}
        item = Item("user", type="function_call_output", fields=fields)
        item.id = given.id or item.id
        self._add(item, after)
        self._called.remove(given.call_id)
        self._results = True
        await self._session.give({given.call_id: fields["output"]})

    def _add(self, item: Item, after: str | None = None) -> None:
        previous = self._items.add(item, after)
        for kind in ("added", "done"):
            self._emit(f"conversation.item.{kind}", previous_item_id=previous, item=item.wire())

    def _truncate(self, event: ItemTruncate) -> None:
        item = self._items.get(event.item_id, "truncate")
        if item.role != "assistant":
            raise RealtimeError("Only assistant messages can be truncated.", "item_truncate_invalid_item_id", "item_id")
        sounding = self._response is not None and self._response.item is item
        seconds = self._response.seconds if self._response and sounding else item.seconds
        end = min(event.audio_end_ms, 1000 * seconds)  # a client's clock may run ahead: it means "all that I played"
        item.seconds = end / 1000
        for part in item.content:
            part["transcript"] = ""  # which words were heard is not known
        self._emit(
            "conversation.item.truncated",
            item_id=item.id,
            content_index=event.content_index,
            audio_end_ms=int(end),
        )

    async def _create(self, params: ResponseParams) -> None:
        refuse_tools(params.tools, "response.tools", self._engine.card)
        for name, wrong in (
            ("tools", bool(params.tools)),
            ("tool_choice", params.tool_choice not in (None, "none", self.config.tool_choice)),
        ):
            if wrong:
                message = f"Functions are offered to the whole session: set session.{name} instead."
                raise RealtimeError(message, "invalid_value", f"response.{name}")
        check_voice(params.audio.output.voice, self._engine.card, "response.audio.output.voice")
        if params.conversation == "none":
            await self._create_apart(params)
            return
        if self._response is not None:
            self._given.want()
            raise RealtimeError(
                f"Conversation already has an active response in progress: {self._response.id}. "
                "Wait until the response is finished before creating a new one.",
                "conversation_already_has_active_response",
            )
        if params.input is not None:
            raise RealtimeError(
                'A response with input of its own needs conversation "none": what was heard cannot be unheard.',
                "invalid_value",
                "response.input",
            )
        self._respond(params)
        if params.tool_choice == "none" and self.config.tools and self.config.tool_choice == "auto":
            self._withheld = True
            await self._session.offer([])
        await self._hand_over()
        self._session.answer()

    async def _hand_over(self) -> None:
        """Let the system know what there is to answer that it has not heard by itself."""
        turn = self._given.take()
        if turn.texts:
            try:
                await self._session.read(turn.text)
            except TextError as error:
                self._finish("failed", TOO_LONG)
                message = f"{self._engine.card.name} cannot read the items that were to be answered: {error}."
                raise RealtimeError(message, "string_above_max_length", "item.content") from error
            self._read += len(turn.text.split())
        elif self._results:
            await self._session.go_on()
        self._results = False
        for sound, format in turn.sounds:
            self._session.insert(sound, format)

    async def _create_apart(self, params: ResponseParams) -> None:
        """A response out of band, to input of its own or to the conversation so far."""
        for index, item in enumerate(params.input or []):
            check_texts(item, self._limits.text, f"response.input[{index}]")
        audio = self.config.audio
        if params.input is not None:
            asked = asked_with(params.input, audio)
            sounds = [sound for sound, _ in asked.turn.sounds]
            self._intake.weigh(sounds, format_of(audio.input.format), "response.input")
        else:
            asked = await asked_of(self._session, self._given.peek(), self._items, params.instructions)
        with ExitStack() as stack:
            try:
                stack.enter_context(self.place())
            except LimitError as limit:
                raise over_limit(limit) from limit
            response = Response(self._send, self.config, params, None, None)
            task = asyncio.create_task(answer_apart(self._engine, response, asked, audio, self._limits.buffer))
            self._apart[response.id] = task
            stack.callback(self._apart.pop, response.id)
            held = stack.pop_all()
            task.add_done_callback(lambda done: held.close())

    def _cancel(self, response_id: str | None) -> None:
        if response_id in self._apart:
            self._apart[response_id].cancel()
            return
        if self._response is None or response_id not in (None, self._response.id):
            raise RealtimeError("Cancellation failed: no active response found", "response_cancel_not_active")
        self._give_up("client_cancelled")

    def silence(self, response_id: str | None) -> None:
        """Let no more come of the response that is made, nor of this one, if it is out of band."""
        if response_id in self._apart:
            self._apart[response_id].cancel()
        self._give_up("client_cancelled")

    def holds(self, item_id: str) -> bool:
        """Whether an item is part of the conversation."""
        return item_id in self._items

    def _give_up(self, reason: str, status: Status = "cancelled") -> None:
        if self._response is not None:
            self._session.cancel()
            self._finish(status, {"reason": reason})

    # What happens in the conversation.

    def _follow(self, moment: Moment) -> None:
        match moment:
            case UserStarted():
                self._hearing.start(moment)
            case UserStopped():
                if self._hearing.stop(moment) and moment.answer and self._response is None:
                    self._respond_unasked()
                if self._session.owned:
                    self._hearing.settle()  # the system hears the words before it judges the turn over
            case UserIdle():
                self._hearing.idle(moment)
                if self._response is None:
                    self._respond_unasked()
            case UserWord():
                self._hearing.word(moment.word)
            case ReplyStarted():
                self._results = False
                self._hearing.settle()
                response = self._response or self._respond_unasked()
                response.begin()
            case ReplyWord() | ReplySound() if self._response is not None:
                carry(self._response, moment, format_of(self.config.audio.output.format))
                if isinstance(moment, ReplySound):
                    self._metrics.measure(moment)
                if self._response.exceeds(self._engine.frame_seconds):
                    self._give_up(TOO_MUCH["reason"], "incomplete")
            case Called():
                self._hearing.settle()
                self._called.add(moment.id)
                response = self._response or self._respond_unasked()
                response.call(moment)
            case ReplyEnded():
                if moment.cut:
                    self._finish("cancelled", {"reason": "turn_detected"})
                else:
                    self._finish("completed")
            case NoReply():
                self._hearing.settle()
                self._finish("completed")
            case Broken():
                self.fail(
                    RealtimeError(
                        "The conversation failed on the server; begin another one.", "server_error", type="server_error"
                    )
                )
                self._finish("failed", {"error": {"type": "server_error", "code": "server_error"}})
                self.broken()

    def _respond_unasked(self) -> Response:
        """The system, or the voice detector, has a reply made."""
        self._given.pass_by()
        return self._respond(ResponseParams())

    def _respond(self, params: ResponseParams) -> Response:
        self._response = Response(self._send, self.config, params, self._items, self._conversation)
        limits = [("requests", self._intake.messages), ("tokens", self._intake.audio)]
        self._emit(
            "rate_limits.updated",
            rate_limits=[
                {
                    "name": name,
                    "limit": int(bucket.burst),
                    "remaining": int(bucket.left),
                    "reset_seconds": round((bucket.burst - bucket.left) / bucket.rate, 3),
                }
                for name, bucket in limits
            ],
        )
        return self._response

    def _finish(self, status: Status, reason: dict[str, Any] | None = None) -> None:
        response, self._response = self._response, None
        if response is None:
            return
        if self._withheld:
            self._withheld = False
            offer = asyncio.ensure_future(self._offer())
            self._offers.add(offer)
            offer.add_done_callback(self._offers.discard)
        heard, said = self._session.heard_frames, self._session.said_frames
        usage = usage_of(heard - self._charged[0], said - self._charged[1], response.words, self._read)
        self._charged, self._read = (heard, said), 0
        response.finish(status, usage, reason)
