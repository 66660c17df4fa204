"""One response of the Realtime API: the events from `response.created` to `response.done`, in the order clients need.

response.created                          (rate_limits.updated)
  response.output_item.added              conversation.item.added
    response.content_part.added
      response.output_audio.delta *       response.output_audio_transcript.delta *      (or response.output_text)
      response.output_audio.done          response.output_audio_transcript.done
    response.content_part.done
  response.output_item.done               conversation.item.done
  response.output_item.added              conversation.item.added           once for each function that is called
    response.function_call_arguments.delta, .done
  response.output_item.done               conversation.item.done
response.done                             with its usage
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, Literal

from duologue.serve.events import ResponseParams, SessionConfig
from duologue.serve.items import Item, Items, new_id
from duologue.serve.session import Called, Moment, ReplySound, ReplyStarted, ReplyWord
from duologue.serve.sound import Format

Emit = Callable[[dict[str, Any]], None]
Status = Literal["completed", "cancelled", "failed", "incomplete"]
TOO_MUCH = {"reason": "max_output_tokens"}
TOO_LONG = {"error": {"type": "invalid_request_error", "code": "string_above_max_length"}}
"""Details of a status: more is said than may be, more was written than can be read."""


class Response:
    """Opens with its `response.created`; `begin`, `word` and `sound` while it lasts, then `finish`."""

    def __init__(
        self, emit: Emit, config: SessionConfig, params: ResponseParams, items: Items | None, conversation: str | None
    ) -> None:
        """`items` and `conversation` say what it belongs to; None: it is out of band."""
        self.id = new_id("resp")
        self.item: Item | None = None
        self.modalities = params.output_modalities or config.output_modalities
        self.seconds = 0.0
        self._emit = emit
        self._config = config
        self._metadata = params.metadata
        self.most = params.max_output_tokens or config.max_output_tokens
        self._items = items
        self._words: list[str] = []
        self._output: list[Item] = []
        self._conversation = conversation
        emit({"type": "response.created", "response": self._wire("in_progress", None, None)})

    @property
    def speaks(self) -> bool:
        return "audio" in self.modalities

    @property
    def words(self) -> int:
        return len(self._words)

    def exceeds(self, frame_seconds: float) -> bool:
        """Whether it has more words, and frames of sound, than it may."""
        return isinstance(self.most, int) and self.words + self.seconds / frame_seconds > self.most

    def begin(self) -> None:
        """The reply begins: there is an item of it."""
        self.item = Item("assistant", status="in_progress")
        self._open(self.item)
        self._part("added")

    def call(self, called: Called) -> None:
        """A function is called."""
        fields = {"call_id": called.id, "name": called.name, "arguments": ""}
        item = Item("assistant", status="in_progress", type="function_call", fields=fields)
        self._open(item)
        whole = {"call_id": called.id, "name": called.name, "arguments": called.arguments}
        kind = "response.function_call_arguments"
        self._tell(f"{kind}.delta", of=item, call_id=called.id, delta=called.arguments)
        self._tell(f"{kind}.done", of=item, **whole)
        item.fields, item.status = whole, "completed"
        self._shut(item)

    def _open(self, item: Item) -> None:
        self._output.append(item)
        self._tell("response.output_item.added", of=item, item=item.wire())
        if self._items is not None:
            previous = self._items.add(item)
            self._emit({"type": "conversation.item.added", "previous_item_id": previous, "item": item.wire()})

    def _shut(self, item: Item) -> None:
        self._tell("response.output_item.done", of=item, item=item.wire())
        if self._items is not None:
            done = {"type": "conversation.item.done", "previous_item_id": item.previous, "item": item.wire()}
            self._emit(done)

    def word(self, word: str) -> None:
        delta = f" {word}" if self._words else word
        self._words.append(word)
        kind = "output_audio_transcript" if self.speaks else "output_text"
        self._tell(f"response.{kind}.delta", content_index=0, delta=delta)

    def sound(self, data: bytes, format: Format) -> None:
        self.seconds += format.seconds(data)
        if self.speaks:
            delta = base64.b64encode(data).decode()
            self._tell("response.output_audio.delta", content_index=0, delta=delta)

    def finish(self, status: Status, usage: dict[str, Any], reason: dict[str, Any] | None = None) -> None:
        """The reply is over, or there was none; `reason` goes into the status' details."""
        if self.item is not None:
            self._close(self.item, status)
        details = None if status == "completed" else {"type": status, **(reason or {})}
        self._emit({"type": "response.done", "response": self._wire(status, details, usage)})

    def _close(self, item: Item, status: Status) -> None:
        text = " ".join(self._words)
        if self.speaks:
            self._tell("response.output_audio.done", content_index=0)
            self._tell("response.output_audio_transcript.done", content_index=0, transcript=text)
            item.content = [{"type": "output_audio", "transcript": text}]
        else:
            self._tell("response.output_text.done", content_index=0, text=text)
            item.content = [{"type": "output_text", "text": text}]
        self._part("done")
        item.status = "completed" if status == "completed" else "incomplete"
        item.seconds = self.seconds
        self._shut(item)

    def _part(self, what: Literal["added", "done"]) -> None:
        text = " ".join(self._words)
        part = {"type": "audio", "transcript": text} if self.speaks else {"type": "text", "text": text}
        self._tell(f"response.content_part.{what}", content_index=0, part=part)

    def _tell(self, kind: str, of: Item | None = None, **fields: Any) -> None:
        """An event of one of its items, the reply's own where none is named."""
        item = of or self.item
        event: dict[str, Any] = {"type": kind, "response_id": self.id, "output_index": 0}
        if item is not None:
            event["output_index"] = next(index for index, each in enumerate(self._output) if each is item)
            if "item" not in fields:
                event["item_id"] = item.id
        self._emit({**event, **fields})

    def _wire(self, status: str, details: dict[str, Any] | None, usage: dict[str, Any] | None) -> dict[str, Any]:
        output = self._config.audio.output
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": details,
            "output": [item.wire() for item in self._output],
            "conversation_id": self._conversation,
            "output_modalities": self.modalities,
            "max_output_tokens": self.most,
            "audio": {"output": {"format": output.format.model_dump(), "voice": output.voice}},
            "usage": usage,
            "metadata": self._metadata,
        }


def carry(response: Response, moment: Moment, format: Format) -> None:
    """Tell in a response what happens in a session that is a reply's."""
    match moment:
        case ReplyStarted():
            response.begin()
        case ReplyWord():
            response.word(moment.word)
        case ReplySound():
            response.sound(moment.data, format)
        case Called():
            response.call(moment)


def usage_of(heard: int, said: int, words: int, read: int) -> dict[str, Any]:
    """Full usage: frames heard and said count as audio tokens, words read and written as text tokens."""
    return {
        "total_tokens": heard + read + said + words,
        "input_tokens": heard + read,
        "output_tokens": said + words,
        "input_token_details": {
            "text_tokens": read,
            "audio_tokens": heard,
            "image_tokens": 0,
            "cached_tokens": 0,
            "cached_tokens_details": {"text_tokens": 0, "audio_tokens": 0, "image_tokens": 0},
        },
        "output_token_details": {"text_tokens": words, "audio_tokens": said},
    }
