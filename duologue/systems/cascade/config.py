"""What a cascade is made of, as a small JSON file: each stage by name, and what it needs to know.

    {"recognizer": {"use": "transformers", "model": "openai/whisper-tiny.en"}, "endpointing": {"silence": 0.7}}

What a file leaves out is as in the box.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from duologue.errors import ConfigError
from duologue.systems.cascade.endpoint import Endpointing


class _Stage(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Silero(_Stage):
    """Silero VAD."""

    use: Literal["silero"] = "silero"


class Energy(_Stage):
    """Any sound whose level is `above` the background by so many dB, as likely as not."""

    use: Literal["energy"] = "energy"
    above: float = Field(default=12.0, gt=0)


class Pocketsphinx(_Stage):
    """Pocketsphinx with a language model of what users of the domain say."""

    use: Literal["pocketsphinx"] = "pocketsphinx"


class Domain(_Stage):
    """The domain's own rules, which answer each of its sentences right."""

    use: Literal["domain"] = "domain"


class Espeak(_Stage):
    """espeak-ng in one of its voices."""

    use: Literal["espeak"] = "espeak"
    voice: str = "en-us"
    rate: int = Field(default=175, ge=80, le=450)


class Transformers(_Stage):
    """Any model of transformers for the stage, by a local folder or a Hugging Face id."""

    use: Literal["transformers"]
    model: str


class Chat(Transformers):
    """A causal language model with a chat template.

    Attributes:
        instructions: the system's message; "" gives none.
        longest: tokens of a reply.
    """

    instructions: str = "You are speaking with someone. Answer in one or two short sentences, without any markup."
    longest: int = Field(default=128, gt=0)


class Speech(Transformers):
    """A text-to-speech model.

    Attributes:
        vocoder: what makes sound of the spectrograms that some models make (SpeechT5, say), a HiFi-GAN of transformers;
            "" takes the one on Hugging Face that goes with SpeechT5.
        speaker: a .npy file with a voice's embedding, (dim,), for a model that speaks in whichever it is given.
    """

    vocoder: str = ""
    speaker: str = ""


class CascadeConfig(BaseModel):
    """The stages of a cascade."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str = "cascade"
    endpointing: Endpointing = Endpointing()
    detector: Annotated[Silero | Energy, Field(discriminator="use")] = Silero()
    recognizer: Annotated[Pocketsphinx | Transformers, Field(discriminator="use")] = Pocketsphinx()
    answerer: Annotated[Domain | Chat, Field(discriminator="use")] = Domain()
    synthesizer: Annotated[Espeak | Speech, Field(discriminator="use")] = Espeak()


def read(path: Path) -> CascadeConfig:
    """Read a cascade's file.

    Raises:
        ConfigError: it is missing, not JSON, or a field of it is wrong.
    """
    try:
        return CascadeConfig.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}; write cascade:FILE.json, or cascade alone") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{path}: {where + ': ' if where else ''}{first['msg']}") from error
