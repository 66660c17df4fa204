"""The Realtime API as it was before its general availability: the earlier names and shapes, both ways.

A client asks for it with the header `OpenAI-Beta: realtime=v1` or the subprotocol `openai-beta.realtime-v1`. The
server speaks the present API inside; here its events are turned into the earlier ones, and the client's into the
present ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from duologue.serve.events import EARLIER

PROTOCOL = "openai-beta.realtime-v1"

_RENAMED = {
    "conversation.item.added": "conversation.item.created",
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
    "response.output_text.delta": "response.text.delta",
    "response.output_text.done": "response.text.done",
}
_UNKNOWN = {"conversation.item.done", "input_audio_buffer.timeout_triggered"}
_FORMATS = {"audio/pcm": "pcm16", "audio/pcmu": "g711_ulaw", "audio/pcma": "g711_alaw"}
_CONTENT = {"output_audio": "audio", "output_text": "text"}


def is_asked(headers: Mapping[str, str], protocols: Sequence[str]) -> bool:
    return headers.get("openai-beta", "") == "realtime=v1" or PROTOCOL in protocols


def earlier(event: dict[str, Any]) -> dict[str, Any] | None:
    """A server event as the beta had it; None where it had none."""
    kind = event["type"]
    if kind in _UNKNOWN:
        return None
    event = {**event, "type": _RENAMED.get(kind, kind)}
    if "session" in event:
        event["session"] = earlier_session(event["session"])
    if "item" in event:
        event["item"] = _earlier_item(event["item"])
    if "response" in event:
        event["response"] = _earlier_response(event["response"])
    if kind == "error":
        event["error"] = _earlier_error(event["error"])
    return event


def _earlier_error(error: Mapping[str, Any]) -> dict[str, Any]:
    """An error by the names that the client used."""
    message, param = error["message"], error["param"]
    where, _, rest = (param or "").partition(".")
    for old, new in EARLIER.items():
        if rest == new or rest.startswith((f"{new}.", f"{new}[")):
            name = f"{where}.{old}" + ("" if old.endswith("_format") else rest[len(new) :])
            message, param = message.replace(param, name), name
    for present_name, code in _FORMATS.items():
        message = message.replace(f"'{present_name}'", f"'{code}'")
    return {**error, "message": message, "param": param}


def earlier_session(session: Mapping[str, Any]) -> dict[str, Any]:
    """The object of a session, flat."""
    heard, said = session["audio"]["input"], session["audio"]["output"]
    flat = {key: value for key, value in session.items() if key not in ("type", "audio", "output_modalities")}
    return {
        **flat,
        "modalities": _modalities(session["output_modalities"]),
        "voice": said["voice"],
        "speed": said["speed"],
        "input_audio_format": _FORMATS[heard["format"]["type"]],
        "output_audio_format": _FORMATS[said["format"]["type"]],
        "input_audio_transcription": heard["transcription"],
        "input_audio_noise_reduction": heard["noise_reduction"],
        "turn_detection": heard["turn_detection"],
        "max_response_output_tokens": flat.pop("max_output_tokens"),
    }


def _earlier_item(item: Mapping[str, Any]) -> dict[str, Any]:
    if "content" not in item:
        return dict(item)
    content = [{**part, "type": _CONTENT.get(part["type"], part["type"])} for part in item["content"]]
    return {**item, "content": content}


def _earlier_response(response: Mapping[str, Any]) -> dict[str, Any]:
    output = response["audio"]["output"]
    kept = {key: value for key, value in response.items() if key not in ("audio", "output_modalities")}
    return {
        **kept,
        "output": [_earlier_item(item) for item in response["output"]],
        "modalities": _modalities(response["output_modalities"]),
        "voice": output["voice"],
        "output_audio_format": _FORMATS[output["format"]["type"]],
    }


def _modalities(present: Sequence[str]) -> list[str]:
    return ["text", "audio"] if "audio" in present else ["text"]


def present(event: dict[str, Any]) -> dict[str, Any]:
    """A client's beta event in the present API's shape."""
    event = dict(event)
    if isinstance(event.get("session"), dict):
        event["session"] = _present_session(event["session"])
    if isinstance(event.get("response"), dict):
        response = _present_length(_present_modalities(event["response"]))
        response.pop("output_audio_format", None)  # it is the session's that counts
        voice = {"voice": response.pop("voice")} if "voice" in response else {}
        event["response"] = {**response, "audio": {"output": voice}}
    return event


def _present_session(session: Mapping[str, Any]) -> dict[str, Any]:
    patch = _present_modalities(session)
    heard: dict[str, Any] = {}
    said: dict[str, Any] = {}
    codes = {name: type for type, name in _FORMATS.items()}
    for old, new in EARLIER.items():
        place, _, name = new.rpartition(".")
        if place and old in patch:
            value = patch.pop(old)
            side = heard if place == "audio.input" else said
            side[name] = {"type": codes.get(str(value), value)} if name == "format" else value
    return {**_present_length(patch), "audio": {"input": heard, "output": said}}


def _present_length(settings: Mapping[str, Any]) -> dict[str, Any]:
    settings = dict(settings)
    if "max_response_output_tokens" in settings:
        settings["max_output_tokens"] = settings.pop("max_response_output_tokens")
    return settings


def _present_modalities(settings: Mapping[str, Any]) -> dict[str, Any]:
    """`["audio", "text"]` meant sound with its transcript, which is `["audio"]` now."""
    settings = dict(settings)
    if isinstance(asked := settings.pop("modalities", None), list):
        settings["output_modalities"] = ["audio"] if "audio" in asked else asked
    return settings
