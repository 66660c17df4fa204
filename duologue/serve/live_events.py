"""The messages of the Live API: what a client may send, typed.

Fields that no system here can follow (instructions, say) are taken and kept, as clients send them always; fields that
are unknown are left out. The types of the openai package (`openai.types.live`) are the reference.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from duologue.serve.sound import Format


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Pcm16(_Lenient):
    """16-bit samples."""

    type: Literal["audio/pcm"] = "audio/pcm"
    rate: Literal[16000, 24000] = 24000


class MuLaw(_Lenient):
    """G.711 by mu-law."""

    type: Literal["audio/pcmu"]
    rate: Literal[8000] = 8000


class ALaw(_Lenient):
    """G.711 by A-law."""

    type: Literal["audio/pcma"]
    rate: Literal[8000] = 8000


def format_of(format: Pcm16 | MuLaw | ALaw) -> Format:
    codes: dict[str, Literal["pcm", "pcmu", "pcma"]] = {"audio/pcm": "pcm", "audio/pcmu": "pcmu", "audio/pcma": "pcma"}
    return Format(codes[format.type], format.rate)


class _Output(_Lenient):
    voice: str | dict[str, Any] | None = None


class _Audio(_Lenient):
    format: Annotated[Pcm16 | MuLaw | ALaw, Field(discriminator="type")] = Pcm16()
    output: _Output = _Output()


class SessionConfig(_Lenient):
    """What a session is begun with; nothing of it can change but the delegation and the triggers."""

    model: str
    audio: _Audio = _Audio()
    delegation: dict[str, Any] | None = None
    input: list[dict[str, Any]] | None = None
    instructions: str | None = None
    safety_identifier: str | None = None
    store: bool | None = None
    triggers: list[dict[str, Any]] | None = None


class SessionChange(_Lenient):
    """What of a session may change."""

    delegation: dict[str, Any] | None = None
    triggers: list[dict[str, Any]] | None = None


class SessionStart(_Lenient):
    """The first message."""

    type: Literal["session.start"]
    session: SessionConfig


class SessionUpdate(_Lenient):
    type: Literal["session.update"]
    session: SessionChange


class SessionClose(_Lenient):
    type: Literal["session.close"]


class AudioAppend(_Lenient):
    """The user's next sound."""

    type: Literal["session.input_audio.append"]
    audio: str


class AudioMute(_Lenient):
    """From now on the user's sound counts as silence, or no longer does."""

    type: Literal["session.input_audio.mute", "session.input_audio.unmute"]


class Append(_Lenient):
    """Text for the model: to obey, to know, or to tell the user."""

    type: Literal["session.instructions.append", "session.thinking.append", "session.commentary.append"]
    content: str = Field(max_length=16_384)
    delegation_id: str | None


class Delegated(_Lenient):
    """Something for a backend that works for the session, which no session here has."""

    type: Literal[
        "response.create",
        "response.item.create",
        "decision.create",
        "decision.item.create",
        "decision.item.delete",
        "session.output_audio.fixture.play",
    ]


ClientEvent = SessionStart | SessionUpdate | SessionClose | AudioAppend | AudioMute | Append | Delegated
CLIENT_EVENT: TypeAdapter[ClientEvent] = TypeAdapter(Annotated[ClientEvent, Field(discriminator="type")])
