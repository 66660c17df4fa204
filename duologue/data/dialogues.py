"""Dialogues on one time line in two channels, and the labels of every 80 ms frame of them.

A scene is what a full-duplex model lives through: the user's channel and the system's, with gaps, pauses inside a
turn, barge-in, backchannels, stretches of silence and the echo of the system in the user's microphone.

The clock: step n decides after it has heard the user up to (n + 1) * 80 ms, and what it says sounds from that moment
on. A turn is decided at the first step that has heard `hold` seconds of quiet after the user's last sound.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

from duologue.atomic import write_text
from duologue.audio.augment import echo, gain, reverb, room, speech_level
from duologue.audio.files import save
from duologue.audio.vad import speech_bounds
from duologue.data.domain import Exchange
from duologue.data.spoken import RATE, Spoken
from duologue.lm.streams import ABSENT
from duologue.lm.text import CUT, END, EOT, UNK, TextTokenizer

FRAME = 1_280  # samples of one step
HEARD, TEXT, SPEAKING, MASK = range(4)  # the columns of the labels
BACKCHANNELS = {  # with the spelling that makes synthesisers say them instead of naming letters
    "mm hm": "um hum",
    "uh huh": "uh huh",
    "yeah": "yeah",
    "right": "right",
    "okay": "okay",
}
WORD_DELAY = 0.06  # seconds of sound after a word's end before its tokens are asked for
FADE = 0.005  # seconds: splices without clicks
MARGIN = 0.05  # seconds of near-silence kept around a user's turn
REPLY_MARGIN = 0.02  # seconds of near-silence kept around a reply

Pcm = NDArray[np.float32]
Word = tuple[str, float, float]
Span = tuple[float, float]
Range = tuple[float, float]
Complete = Callable[[str, Sequence[Exchange]], bool]


class SceneConfig(BaseModel):
    """Probabilities and ranges (seconds, dB) that a scene is drawn from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hold: float = 0.2
    lead: Range = (0.1, 1.5)
    tail: Range = (0.3, 1.2)
    gap: Range = (0.15, 2.5)
    stretch_share: float = Field(0.08, ge=0.0, le=1.0)
    stretch: Range = (2.0, 8.0)
    pause_share: float = Field(0.25, ge=0.0, le=1.0)
    pause: Range = (0.3, 1.2)
    barge_in_share: float = Field(0.15, ge=0.0, le=1.0)
    barge_in_margin: float = 0.3
    barge_in_hold: float = 0.4
    backchannel_share: float = Field(0.2, ge=0.0, le=1.0)
    echo_share: float = Field(0.25, ge=0.0, le=1.0)
    echo_db: Range = (-45.0, -20.0)
    echo_delay: Range = (0.02, 0.12)
    aside_share: float = Field(0.15, ge=0.0, le=1.0)
    aside_db: Range = (-26.0, -13.0)
    peak_db: Range = (-25.0, -1.0)
    frames: int = Field(300, ge=1)

    @field_validator("lead", "tail", "gap", "stretch", "pause", "echo_db", "echo_delay", "aside_db", "peak_db")
    @classmethod
    def _ordered(cls, value: Range) -> Range:
        if value[0] > value[1]:
            raise ValueError(f"a range runs from low to high, not from {value[0]} to {value[1]}")
        return value


@dataclass(frozen=True)
class Turn:
    """A question and its answer before they have a place in time.

    `known` is false for speech whose words are not to be learned; `bounds` are the seconds of the first and last
    sound in `user.pcm` where they are known better than its energy tells.
    """

    exchange: Exchange
    user: Spoken
    reply: Spoken | None
    known: bool = True
    bounds: Span | None = None


@dataclass
class SceneTurn:
    """A turn in its place: seconds of the scene, and the step `decision` at which the reply begins to be decided.

    `cut_at` is when the reply begins to fade because the user spoke over it, None if it was said to its end.
    """

    kind: Literal["plain", "pause", "barge_in"]
    known: bool
    words: list[Word]
    user_start: float
    user_end: float
    decision: int
    reply: str
    reply_start: float
    reply_end: float
    cut_at: float | None = None
    pauses: list[Span] = field(default_factory=list)
    backchannels: list[Word] = field(default_factory=list)


@dataclass
class Scene:
    """Two channels (T,) float32 at 16 kHz, T a multiple of 1280, and what happens in them.

    Where it is not `answered` the user dictates: what a system would say to it, and when, is left open.
    """

    user: Pcm
    system: Pcm
    turns: list[SceneTurn]
    answered: bool = True

    @property
    def frames(self) -> int:
        return len(self.user) // FRAME

    @property
    def words(self) -> list[Word]:
        """All words the user is to be understood in, backchannels left out."""
        return [word for turn in self.turns for word in turn.words]

    def events(self) -> list[dict[str, object]]:
        """What happens when, in order of time: seconds, kind, and the words said."""
        events: list[dict[str, object]] = []
        for turn in self.turns:
            said = " ".join(word for word, _, _ in turn.words)
            events.append({"time": turn.user_start, "kind": "user_start", "how": turn.kind})
            events += [{"time": start, "kind": "pause", "end": end} for start, end in turn.pauses]
            events.append({"time": turn.user_end, "kind": "user_end", "text": said if turn.known else None})
            events.append({"time": turn.reply_start, "kind": "reply_start", "text": turn.reply})
            events += [{"time": start, "kind": "backchannel", "text": text} for text, start, _ in turn.backchannels]
            if turn.cut_at is not None:
                events.append({"time": turn.cut_at, "kind": "cut"})
            events.append({"time": turn.reply_end, "kind": "reply_end"})
        return sorted(events, key=lambda event: float(str(event["time"])))

    def save(self, path: str | Path) -> None:
        """Write a stereo file (left the user, right the system) and its events beside it as JSON."""
        save(path, np.stack([self.user, self.system]))
        write_text(Path(path).with_suffix(".json"), json.dumps(self.events(), indent=1) + "\n")


def step_at(seconds: float) -> int:
    """The first step that has heard the user up to `seconds`."""
    return max(0, -(-round(seconds * RATE) // FRAME) - 1)


def step_sound(step: int) -> float:
    """The moment, in seconds, from which what `step` decides can be heard."""
    return (step + 1) * FRAME / RATE


def _bounds(spoken: Spoken) -> Span:
    return speech_bounds(spoken.pcm) or (0.0, len(spoken.pcm) / RATE)


def _trim(spoken: Spoken, bounds: Span, margin: float) -> tuple[Spoken, Span]:
    """`spoken` with at most `margin` seconds around its sound, its edges faded, and its bounds moved with it."""
    first = max(0, round((bounds[0] - margin) * RATE))
    last = min(len(spoken.pcm), round((bounds[1] + margin) * RATE))
    pcm = spoken.pcm[first:last].astype(np.float32)
    ramp = np.linspace(0.0, 1.0, round(FADE * RATE), dtype=np.float32)[: len(pcm)]
    pcm[: len(ramp)] *= ramp
    pcm[len(pcm) - len(ramp) :] *= ramp[::-1]
    shift, length = first / RATE, len(pcm) / RATE
    words = [(word, max(0.0, start - shift), min(length, max(0.0, end - shift))) for word, start, end in spoken.words]
    moved = (max(0.0, bounds[0] - shift), min(length, bounds[1] - shift))
    return replace(spoken, pcm=pcm, words=words), moved


def pause_places(words: Sequence[str], complete: Callable[[str], bool]) -> list[int]:
    """Where a turn may be held: before word k >= 2, never after a prefix that is a question by itself."""
    if len(words) < 4:
        return []
    return [place for place in range(2, len(words)) if not complete(" ".join(words[:place]))]


def insert_pause(spoken: Spoken, place: int, seconds: float) -> tuple[Spoken, Span]:
    """`spoken` with silence before word `place`, and where that silence lies. The cut is where it is quietest."""
    earliest = round(spoken.words[place - 1][2] * RATE) - 320
    latest = max(round(spoken.words[place][1] * RATE), earliest + 320) + 320
    low, high = max(0, earliest), min(len(spoken.pcm), latest)
    power = np.convolve(spoken.pcm[low:high] ** 2, np.ones(80), mode="same")
    cut = low + int(np.argmin(power)) if len(power) else low
    ramp = np.linspace(0.0, 1.0, round(FADE * RATE), dtype=np.float32)
    before, after = spoken.pcm[:cut].copy(), spoken.pcm[cut:].copy()
    fade_out, fade_in = min(len(ramp), len(before)), min(len(ramp), len(after))
    before[len(before) - fade_out :] *= ramp[::-1][:fade_out]
    after[:fade_in] *= ramp[:fade_in]
    silence = np.zeros(round(seconds * RATE), dtype=np.float32)
    at, shift = cut / RATE, len(silence) / RATE
    words = [(word, start, min(end, at)) for word, start, end in spoken.words[:place]]
    words += [(word, max(start, at) + shift, end + shift) for word, start, end in spoken.words[place:]]
    return replace(spoken, pcm=np.concatenate([before, silence, after]), words=words), (at, at + shift)


class _Stage:
    """A scene while turns are being placed: two channels of full length and the next free frame of `heard`."""

    def __init__(self, rng: np.random.Generator, config: SceneConfig, tokenizer: TextTokenizer) -> None:
        self.rng, self.config, self.tokenizer = rng, config, tokenizer
        self.user = np.zeros(config.frames * FRAME, dtype=np.float32)
        self.system = np.zeros_like(self.user)
        self.turns: list[SceneTurn] = []
        self.said: list[Exchange] = []
        self.level = float(rng.uniform(*config.peak_db))
        self.lead = float(rng.uniform(*config.lead))
        self.tail = float(rng.uniform(*config.tail))
        self.free = 0  # the first step whose `heard` is not taken
        self.text_end = 0  # the step of the last reply's END

    @property
    def quiet(self) -> float:
        """Seconds from which neither voice has anything left to say."""
        if not self.turns:
            return self.lead
        last = self.turns[-1]
        return last.reply_end if last.cut_at is not None else max(last.reply_end, step_sound(self.text_end))

    def gap(self) -> float:
        config = self.config
        return float(self.rng.uniform(*(config.stretch if self.rng.random() < config.stretch_share else config.gap)))

    def levelled(self, pcm: Pcm, change_db: float) -> Pcm:
        peak = float(np.abs(pcm).max(initial=0.0)) or 1.0
        return (pcm * (10 ** (min(self.level + change_db, -0.2) / 20) / peak)).astype(np.float32)

    def barge_in(self, turn: Turn) -> float | None:
        """When the user speaks over the reply before, or None: seldom, and never with what may be a backchannel."""
        config = self.config
        if not self.turns or turn.exchange.user in BACKCHANNELS or self.rng.random() >= config.barge_in_share:
            return None
        last = self.turns[-1]
        early, late = last.reply_start + config.barge_in_margin, last.reply_end - config.barge_in_margin
        return float(self.rng.uniform(early, late)) if early < late else None

    def cut_step(self, onset: float) -> int | None:
        """The step that stops the last reply, spoken over from `onset`; None where it will have ended by itself."""
        step = step_at(onset + self.config.barge_in_hold)
        return step if step_sound(step) < self.turns[-1].reply_end else None

    def cut(self, step: int | None) -> None:
        """Fade the last reply over the frame after `step`."""
        if step is None:
            return
        at, last = (step + 1) * FRAME, self.turns[-1]
        self.system[at : at + FRAME] *= np.linspace(1.0, 0.0, FRAME, dtype=np.float32)
        self.system[at + FRAME :] = 0.0
        last.cut_at, last.reply_end = at / RATE, min(last.reply_end, (at + FRAME) / RATE)

    def backchannel(self, sounds: Sequence[Spoken]) -> None:
        """Perhaps let the user show that he listens while the last reply plays."""
        if not sounds or not self.turns or self.rng.random() >= self.config.backchannel_share:
            return
        last = self.turns[-1]
        chosen = sounds[int(self.rng.integers(len(sounds)))]
        sound, bounds = _trim(chosen, _bounds(chosen), MARGIN)
        length = len(sound.pcm) / RATE
        early, late = last.reply_start + 0.2, last.reply_end - length - 0.1
        if early >= late:
            return
        start = round(float(self.rng.uniform(early, late)) * RATE)
        self.user[start : start + len(sound.pcm)] += self.levelled(sound.pcm, float(self.rng.uniform(-8.0, 0.0)))
        text = " ".join(word for word, _, _ in sound.words)
        last.backchannels.append((text, start / RATE + bounds[0], start / RATE + bounds[1]))

    def place(self, turn: Turn, complete: Complete, sounds: Sequence[Spoken]) -> bool:
        """Give `turn` its place; false, with nothing changed, if it no longer fits into the scene."""
        onset = self.barge_in(turn)
        kind: Literal["plain", "pause", "barge_in"] = "plain" if onset is None else "barge_in"
        user, bounds = _trim(turn.user, turn.bounds or _bounds(turn.user), MARGIN)
        pauses: list[Span] = []
        if turn.known and self.rng.random() < self.config.pause_share:
            places = pause_places([word for word, _, _ in user.words], lambda text: complete(text, self.said))
            if places:
                seconds = float(self.rng.uniform(*self.config.pause))
                user, span = insert_pause(user, places[int(self.rng.integers(len(places)))], seconds)
                bounds = (bounds[0], bounds[1] + span[1] - span[0])
                pauses, kind = [span], "pause" if onset is None else kind
        begin = onset if onset is not None else self.quiet + (self.gap() if self.turns else 0.0)
        at = max(0, round((begin - bounds[0]) * RATE))
        shift = at / RATE
        words = [(word, start + shift, min(end, bounds[1]) + shift) for word, start, end in user.words]
        user_end = bounds[1] + shift

        free = self.free
        for word, _, end in words if turn.known else []:
            free = max(step_at(end + WORD_DELAY), free) + len(self.tokenizer.encode(word))
        decision = max(step_at(user_end + self.config.hold), free)
        if onset is not None:  # the reply before must be over: stopped, or said to its end
            cut = self.cut_step(onset)
            decision = max(decision, 1 + (self.text_end if cut is None else cut))
        reply = _trim(turn.reply, _bounds(turn.reply), REPLY_MARGIN)[0].pcm if turn.reply else self.system[:0]
        reply_start = step_sound(decision)
        reply_end = reply_start + len(reply) / RATE
        text_end = decision + len(self.tokenizer.encode(turn.exchange.reply))
        if (max(reply_end, step_sound(text_end)) + self.tail) * RATE > len(self.user):
            return False

        if onset is not None:
            self.cut(self.cut_step(onset))
        else:
            self.backchannel(sounds)
        self.user[at : at + len(user.pcm)] += self.levelled(user.pcm, float(self.rng.uniform(-2.0, 2.0)))
        sound = round(reply_start * RATE)
        self.system[sound : sound + len(reply)] += reply
        self.free, self.text_end = decision + 1, text_end
        self.said.append(turn.exchange)
        self.turns.append(
            SceneTurn(
                kind=kind,
                known=turn.known,
                words=words if turn.known else [],
                user_start=bounds[0] + shift,
                user_end=user_end,
                decision=decision,
                reply=turn.exchange.reply,
                reply_start=reply_start,
                reply_end=reply_end,
                pauses=[(start + shift, end + shift) for start, end in pauses],
            )
        )
        return True

    def scene(self) -> Scene:
        rest = self.tail if self.turns else float(self.rng.uniform(*self.config.stretch))
        frames = min(self.config.frames, -(-round((self.quiet + rest) * RATE) // FRAME))
        return Scene(self.user[: frames * FRAME].copy(), self.system[: frames * FRAME].copy(), self.turns)


def compose(
    turns: Sequence[Turn],
    rng: np.random.Generator,
    config: SceneConfig,
    tokenizer: TextTokenizer,
    complete: Complete = lambda text, said: False,
    backchannels: Sequence[Spoken] = (),
) -> Scene:
    """Lay `turns` on one time line as `config` draws it; none of them gives a stretch of silence.

    Args:
        tokenizer: decides how many frames the words take, which can move a reply by a frame or two.
        complete: true for a text that is a whole question after the exchanges given: a turn is never held after one.
        backchannels: short sounds in the user's voice that may fall into replies.

    Turns that no longer fit into `config.frames` are left out.
    """
    stage = _Stage(rng, config, tokenizer)
    for turn in turns:
        if not stage.place(turn, complete, backchannels):
            break
    stage.backchannel(backchannels)
    return stage.scene()


def with_echo(scene: Scene, rng: np.random.Generator, config: SceneConfig) -> Pcm:
    """The user's channel (T,), in some scenes with the system's voice leaking into the microphone."""
    if rng.random() >= config.echo_share:
        return scene.user
    delay, level = float(rng.uniform(*config.echo_delay)), float(rng.uniform(*config.echo_db))
    return echo(scene.user, scene.system, delay, level)


def with_aside(scene: Scene, heard: Pcm, aside: Pcm, rng: np.random.Generator, config: SceneConfig) -> Pcm:
    """What is `heard` (T,) of a scene while somebody farther off talks to another: `aside` (N,), in a room.

    It begins once the user has finished his first turn, since from then on it can be told who is meant. Nothing of it
    is labelled: it is neither to be taken down nor answered.
    """
    far = reverb(aside, room(rng))
    far = gain(far, speech_level(scene.user) + float(rng.uniform(*config.aside_db)) - speech_level(far))
    earliest = round(scene.turns[0].user_end * RATE)
    start = int(rng.integers(earliest, max(earliest + 1, len(heard) - RATE)))
    mixed = heard.copy()
    mixed[start : start + len(far)] += far[: len(heard) - start]
    return mixed


def frame_labels(scene: Scene, tokenizer: TextTokenizer) -> NDArray[np.int32]:
    """What each step of `scene` is to say: (F, 4) int32 with columns heard, text, speaking, mask.

    heard     each word's tokens, one a frame, from the first step that heard `WORD_DELAY` beyond it; EOT at the
              decision; UNK just before the EOT of speech whose words are not to be learned.
    text      the reply's tokens, one a frame from the decision, then END; CUT where the reply is stopped; `ABSENT`
              in dictation.
    speaking  1 where the system's own reply sounds during the frame.
    mask      0 where `heard` is not to be learned: inside speech whose words are unknown, and after each sentence of
              a dictation, since nobody knows whether it is a turn's end.

    Raises:
        ValueError: the scene was composed with a tokenizer that needs fewer frames.
    """
    labels = np.zeros((scene.frames, 4), dtype=np.int32)
    labels[:, MASK] = 1
    free = 0
    for turn in scene.turns:
        for word, _, end in turn.words:
            tokens = tokenizer.encode(word)
            first = max(step_at(end + WORD_DELAY), free)
            free = first + len(tokens)
            labels[first:free, HEARD] = tokens
        if free > turn.decision:
            raise ValueError(f"words of the turn at {turn.user_start:.2f} s go past its decision: another tokenizer?")
        labels[turn.decision, HEARD] = EOT
        free = turn.decision + 1
        if not turn.known:
            labels[int(turn.user_start * RATE) // FRAME : turn.decision - 1, MASK] = 0
            labels[turn.decision - 1, HEARD] = UNK
        stop = scene.frames if turn.cut_at is None else step_at(turn.cut_at)
        text = [*tokenizer.encode(turn.reply), END][: stop - turn.decision]
        labels[turn.decision : turn.decision + len(text), TEXT] = text
        if turn.cut_at is not None:
            labels[stop, TEXT] = CUT
        if turn.reply_end > turn.reply_start:
            last = -(-round(turn.reply_end * RATE) // FRAME)
            labels[turn.decision + 1 : last, SPEAKING] = 1
    if not scene.answered:
        labels[:, TEXT] = ABSENT
        onsets = [step_at(turn.user_start) for turn in scene.turns[1:]]
        for turn, onset in zip(scene.turns, [*onsets, scene.frames], strict=True):
            labels[turn.decision : max(onset, turn.decision + 1), MASK] = 0
    return labels
