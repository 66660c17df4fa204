"""A client's messages, read and checked."""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any

from duologue.serve.events import CLIENT_EVENT, EARLIER_RESPONSE, ClientEvent, ItemParam
from duologue.serve.faults import RealtimeError, checked, refuse_earlier, too_long
from duologue.serve.limits import Limits
from duologue.systems.base import SystemCard

MOST = {"[": 4_000, "{": 4_000, ",": 20_000, '"': 80_000}
"""How often these may be in one message, in texts and between them: several times what there is in the settings of a
session with 128 functions, and few enough that all sessions, which share one thread, never wait long for one message.
Sound is one string."""
MOST_DIGITS = 400
"""Of an integer. What has more is no number of any field, and thousands of digits take long to read."""
_REST = re.compile(r"[^\[\]{}]+")


def read_object(text: str | bytes, depth: int, what: str, param: str | None = None) -> dict[str, Any]:
    """A JSON object that is not nested deeper than `depth`; `what` it is, for the error.

    Raises:
        RealtimeError: it is none, or has more parts than `MOST`.
    """
    try:
        text = text if isinstance(text, str) else text.decode("utf-8-sig")
        for mark, most in MOST.items():
            if text.count(mark) > most:
                raise RealtimeError(f"{what} has too many parts: more than {most} times {mark}.", "invalid_json", param)
        if depth_of(text, depth) > depth:
            raise RealtimeError(f"{what} is nested deeper than {depth}.", "invalid_json", param)
        value = _DECODER.decode(text)
    except ValueError:
        raise RealtimeError(f"{what} is not JSON.", "invalid_json", param) from None
    if not isinstance(value, dict):
        raise RealtimeError(f"{what} is no JSON object.", "invalid_json", param)
    return value


def depth_of(text: str, enough: int | None = None) -> int:
    """How deep a JSON text is nested; where `enough` is given, some number on the same side of it.

    It is found before the text is read, as the parser goes down the stack: whatever runs by chance at the bottom of it,
    the finalizers of a garbage collection say, has no stack left. Of a text that is no JSON it is how deep the parser
    goes at most.
    """
    brackets = text.count("[") + text.count("{")
    if brackets <= (enough or 0):
        return brackets
    between = text.replace("\\\\", "").replace('\\"', "").split('"')[::2]  # the strings
    left = _REST.sub("", "".join(between)).replace("{", "[").replace("}", "]")
    depth = 0
    while "[]" in left and (enough is None or depth <= enough):
        left = left.replace("[]", "")  # the innermost of all
        depth += 1
    return depth + left.count("[")


def read_message(text: object, limits: Limits) -> dict[str, Any]:
    """What a client sent in one message, on whatever it sent it.

    Raises:
        RealtimeError: it is no text, too long, or no JSON object.
    """
    if not isinstance(text, str):
        raise RealtimeError("Messages are JSON texts, not bytes.", "invalid_message")
    if len(text) > limits.message_bytes:
        raise RealtimeError(f"The message is longer than {limits.message_bytes} bytes.", "invalid_message")
    return read_object(text, limits.depth, "The message")


def parse(message: dict[str, Any]) -> ClientEvent:
    """A typed event.

    Raises:
        RealtimeError: it is none.
    """
    if isinstance(response := message.get("response"), dict):
        refuse_earlier(response, EARLIER_RESPONSE, "response")
    return checked(CLIENT_EVENT.validate_python, message)


def _integer(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"an integer of {len(digits)} digits")
    return int(digits)


_DECODER = json.JSONDecoder(parse_int=_integer)


def sound_of(text: str, param: str) -> bytes:
    """The bytes of a base64 field."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise RealtimeError(
            f"Invalid '{param}'. Expected audio bytes in base64, but got an invalid value.", "invalid_value", param
        ) from None


def sounds_of(item: ItemParam) -> list[bytes]:
    """The sounds of an item.

    Raises:
        RealtimeError: it holds something that no system here can take.
    """
    if item.type != "message":
        raise RealtimeError(f"Items of type '{item.type}' are not supported.", "invalid_value", "item.type")
    sounds = []
    for index, part in enumerate(item.content):
        where = f"item.content[{index}]"
        if part.type == "input_image":
            raise RealtimeError("Images are not supported: this is a speech model.", "invalid_value", where)
        if part.type == "input_audio":
            sounds.append(sound_of(part.audio or "", f"{where}.audio"))
    return sounds


def check_texts(item: ItemParam, most: int, where: str) -> None:
    """Refuse a text of more than `most` characters in the item `where`; so many may all its parts have together.

    Raises:
        RealtimeError: there is one.
    """
    if len(item.output or "") > most:
        raise too_long(len(item.output or ""), most, f"{where}.output")
    length = 0
    for index, part in enumerate(item.content):
        length += len(part.text or "") + len(part.transcript or "")
        if length > most:
            raise too_long(length, most, f"{where}.content[{index}].{'text' if part.text else 'transcript'}")


def refuse_tools(tools: Any, param: str, card: SystemCard | None = None) -> None:
    """Say clearly that this system calls no functions, where functions are offered; None: nothing does so here."""
    if tools and not (card and card.calls):
        raise RealtimeError(
            "This model cannot call functions: leave 'tools' empty.", "function_calling_not_supported", param
        )
