"""When the user's turn begins and when it is over, by the probability of speech alone."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Endpointing(BaseModel):
    """How turns are told apart; probabilities, and seconds.

    The defaults are what deployed cascades run with: `server_vad` of the OpenAI Realtime API (threshold 0.5, 300 ms
    kept before the speech, 500 ms of silence), Silero's own hysteresis of 0.15, and LiveKit's shortest interruption of
    0.5 s, which lets a murmured "mm-hm" pass.

    Attributes:
        threshold: speech begins where it is as probable as this.
        release: it goes on while it is as probable as this.
        shortest: sound that is taken for speech for less than this begins no turn.
        silence: after so much of it the turn is over,
        draft: and after so much the recogniser may work out the words, while the rest of it passes.
        lead: of what was heard before a turn began, the recogniser hears this much.
        interrupt: so long must speech over a reply last before the reply stops; shorter, it is a backchannel.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    threshold: float = Field(default=0.5, gt=0, lt=1)
    release: float = Field(default=0.35, gt=0, lt=1)
    shortest: float = Field(default=0.1, ge=0)
    silence: float = Field(default=0.5, gt=0)
    draft: float = Field(default=0.2, gt=0)
    lead: float = Field(default=0.3, ge=0)
    interrupt: float = Field(default=0.5, ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> Endpointing:
        if self.release > self.threshold:
            raise ValueError(f"release ({self.release}) lies above threshold ({self.threshold}); it must not")
        return self


class Endpointer:
    """Follows one conversation, a probability each `hop` samples at `rate`.

    Attributes:
        talking: the user has the floor.
        last: after the last sample that was speech.
    """

    def __init__(self, settings: Endpointing, hop: int, rate: int) -> None:
        self._settings, self._hop, self._rate = settings, hop, rate
        self._heard = 0
        self._active = False  # the last hop was speech
        self._onset = 0  # where the speech began that may become a turn, or has
        self.last = 0
        self.talking = False

    @property
    def speech(self) -> float:
        """Seconds from the turn's first speech to its last."""
        return (self.last - self._onset) / self._rate

    def hear(self, probability: float) -> Literal["started", "silent", "stopped"] | None:
        """The next hop; tells when a turn has begun, when it may be over and when it is."""
        start = self._heard
        self._heard += self._hop
        settings = self._settings
        if probability >= (settings.release if self._active else settings.threshold):
            if not self._active and not self.talking:
                self._onset = start
            self._active, self.last = True, self._heard
            if not self.talking and self.speech >= settings.shortest:
                self.talking = True
                return "started"
        else:
            self._active = False
            silence = self._heard - self.last
            if self.talking and silence >= settings.silence * self._rate:
                self.talking = False
                return "stopped"
            if self.talking and silence - self._hop < settings.draft * self._rate <= silence:
                return "silent"
        return None
