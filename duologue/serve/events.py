"""The messages of the OpenAI Realtime API: what a client may send, typed.

Fields that no system here can follow (instructions, say) are taken and kept, as clients send them always; fields that
are unknown are left out. Lists are read up to the first thing that is wrong in them, as nothing else is told.
https://platform.openai.com/docs/api-reference/realtime
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from duologue.serve.faults import checked, refuse_earlier
from duologue.serve.sound import Format

Modality = Literal["text", "audio"]
MOST_PARTS = 256  # of an item
MOST_INPUT = 1000  # items that a response is given
MOST_TOOLS = 128

EARLIER = {
    "modalities": "output_modalities",
    "voice": "audio.output.voice",
    "speed": "audio.output.speed",
    "input_audio_format": "audio.input.format",
    "output_audio_format": "audio.output.format",
    "input_audio_transcription": "audio.input.transcription",
    "input_audio_noise_reduction": "audio.input.noise_reduction",
    "turn_detection": "audio.input.turn_detection",
    "max_response_output_tokens": "max_output_tokens",
}
"""Settings of a session by their names in the beta, and where they are now."""
EARLIER_RESPONSE = {
    name: EARLIER[name] for name in ("modalities", "voice", "output_audio_format", "max_response_output_tokens")
}
"""The same of a response."""


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore")


# What a session is set to.


class Pcm24(_Lenient):
    type: Literal["audio/pcm"] = "audio/pcm"
    rate: Literal[24000] = 24000


class MuLaw(_Lenient):
    type: Literal["audio/pcmu"]


class ALaw(_Lenient):
    type: Literal["audio/pcma"]


AudioFormat = Annotated[Pcm24 | MuLaw | ALaw, Field(discriminator="type")]


def format_of(format: Pcm24 | MuLaw | ALaw) -> Format:
    match format:
        case Pcm24():
            return Format("pcm", 24000)
        case MuLaw():
            return Format("pcmu", 8000)
        case ALaw():
            return Format("pcma", 8000)


class ServerVad(_Lenient):
    """Turns by a voice detector."""

    type: Literal["server_vad"]
    threshold: float = Field(default=0.5, ge=0.0, le=1.0)
    prefix_padding_ms: int = Field(default=300, ge=0, le=5000)
    silence_duration_ms: int = Field(default=500, ge=50, le=10_000)
    idle_timeout_ms: int | None = Field(default=None, ge=1000, le=600_000)
    create_response: bool = True
    interrupt_response: bool = True


class SemanticVad(_Lenient):
    """Turns by the system's own judgement: a full-duplex model's natural way."""

    type: Literal["semantic_vad"] = "semantic_vad"
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    create_response: bool = True
    interrupt_response: bool = True


TurnDetection = Annotated[ServerVad | SemanticVad, Field(discriminator="type")]


class AudioInput(_Lenient):
    format: AudioFormat = Field(default_factory=Pcm24)
    transcription: dict[str, Any] | None = None
    noise_reduction: dict[str, Any] | None = None
    turn_detection: TurnDetection | None = Field(default_factory=SemanticVad)


class AudioOutput(_Lenient):
    format: AudioFormat = Field(default_factory=Pcm24)
    voice: str | dict[str, Any] | None = None
    speed: float = Field(default=1.0, ge=0.25, le=1.5)


class Audio(_Lenient):
    input: AudioInput = Field(default_factory=AudioInput)
    output: AudioOutput = Field(default_factory=AudioOutput)


class Function(_Lenient):
    """A function that the system may call."""

    type: Literal["function"] = "function"
    name: str = Field(min_length=1, max_length=64)
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})


class SessionConfig(_Lenient):
    """The settings of a session; the defaults are what a client that asks for nothing gets."""

    type: Literal["realtime"] = "realtime"
    model: str | None = None
    output_modalities: list[Modality] = Field(default=["audio"], min_length=1, max_length=2, fail_fast=True)
    audio: Audio = Field(default_factory=Audio)
    instructions: str = ""
    tools: list[Function] = Field(default=[], max_length=MOST_TOOLS, fail_fast=True)
    tool_choice: Literal["auto", "none"] = "auto"
    max_output_tokens: Annotated[int, Field(ge=1)] | Literal["inf"] = "inf"
    tracing: Any = None
    truncation: Any = "auto"
    prompt: Any = None
    include: list[str] | None = Field(default=None, max_length=16, fail_fast=True)

    def changed(self, patch: dict[str, Any]) -> SessionConfig:
        """With what a `session.update` names; a `null` says off.

        Raises:
            RealtimeError: a value that can't be, or a name that is no longer in use.
        """
        refuse_earlier(patch, EARLIER, "session")
        return checked(SessionConfig.model_validate, _merged(self.model_dump(), patch), "session")


def _merged(base: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """`patch` laid over `base`; an object of another `type` replaces the whole object."""
    result = dict(base)
    for key, value in patch.items():
        old = result.get(key)
        same = (
            isinstance(old, dict) and isinstance(value, dict) and value.get("type", old.get("type")) == old.get("type")
        )
        if same and isinstance(old, dict):
            result[key] = _merged(old, value)
        elif value is not None or key in ("turn_detection", "transcription", "noise_reduction", "tracing"):
            result[key] = value
    return result


# What a client says.


class Content(_Lenient):
    type: Literal["input_text", "input_audio", "input_image", "output_text", "output_audio", "text", "audio"]
    text: str | None = None
    audio: str | None = None
    transcript: str | None = None


class ItemParam(_Lenient):
    """An item that a client puts into the conversation, or names for one response."""

    type: Literal[
        "message",
        "function_call",
        "function_call_output",
        "item_reference",
        "mcp_list_tools",
        "mcp_call",
        "mcp_approval_request",
        "mcp_approval_response",
    ] = "message"
    id: str | None = Field(default=None, min_length=1, max_length=64)
    role: Literal["user", "assistant", "system"] = "user"
    content: list[Content] = Field(default=[], max_length=MOST_PARTS, fail_fast=True)
    call_id: str | None = Field(default=None, max_length=512)
    output: str | None = None


class _Voice(_Lenient):
    voice: str | dict[str, Any] | None = None


class _ResponseAudio(_Lenient):
    output: _Voice = _Voice()


class ResponseParams(_Lenient):
    """Settings of one response."""

    conversation: Literal["auto", "none"] = "auto"
    input: list[ItemParam] | None = Field(default=None, max_length=MOST_INPUT, fail_fast=True)
    metadata: dict[str, str] | None = None
    output_modalities: list[Modality] | None = Field(default=None, min_length=1, max_length=2, fail_fast=True)
    audio: _ResponseAudio = _ResponseAudio()
    instructions: str | None = None
    tools: list[dict[str, Any]] = Field(default=[], max_length=MOST_TOOLS, fail_fast=True)
    tool_choice: str | dict[str, Any] | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | Literal["inf"] | None = None


class _ClientEvent(_Lenient):
    event_id: str | None = Field(default=None, max_length=512)


class SessionUpdate(_ClientEvent):
    type: Literal["session.update"]
    session: dict[str, Any]


class BufferAppend(_ClientEvent):
    type: Literal["input_audio_buffer.append"]
    audio: str


class BufferCommit(_ClientEvent):
    type: Literal["input_audio_buffer.commit"]


class BufferClear(_ClientEvent):
    type: Literal["input_audio_buffer.clear"]


class OutputClear(_ClientEvent):
    type: Literal["output_audio_buffer.clear"]


class ItemCreate(_ClientEvent):
    type: Literal["conversation.item.create"]
    item: ItemParam
    previous_item_id: str | None = None


class ItemRetrieve(_ClientEvent):
    type: Literal["conversation.item.retrieve"]
    item_id: str


class ItemTruncate(_ClientEvent):
    type: Literal["conversation.item.truncate"]
    item_id: str
    content_index: int = Field(default=0, ge=0)
    audio_end_ms: float = Field(ge=0)


class ItemDelete(_ClientEvent):
    type: Literal["conversation.item.delete"]
    item_id: str


class ResponseCreate(_ClientEvent):
    type: Literal["response.create"]
    response: ResponseParams = Field(default_factory=ResponseParams)


class ResponseCancel(_ClientEvent):
    type: Literal["response.cancel"]
    response_id: str | None = None


ClientEvent = (
    SessionUpdate
    | BufferAppend
    | BufferCommit
    | BufferClear
    | OutputClear
    | ItemCreate
    | ItemRetrieve
    | ItemTruncate
    | ItemDelete
    | ResponseCreate
    | ResponseCancel
)
CLIENT_EVENT: TypeAdapter[ClientEvent] = TypeAdapter(Annotated[ClientEvent, Field(discriminator="type")])
