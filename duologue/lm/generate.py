"""Conversation, frame by frame: 80 ms of the user in, 80 ms of the system out, for a batch of independent rows.

The one path from microphone to loudspeaker: `step` reads from top to bottom in the order in which sound flows.

The thinker thinks twice. With the sound, frame by frame: what was heard, whose turn it is, when to reply and when to
stop. And in inner speech, over the words alone, in which no time passes but when one is heard or said: what to reply.
To answer, words are all that it needs, and it has read many more than it will ever hear; what sound adds to them, and
the frames that lie between them, made every seventh answer to a question that had been heard right a wrong one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from duologue.audio.features import LogMelState
from duologue.errors import TextError
from duologue.lm.backbone import BackboneState
from duologue.lm.model import FRAME, SpeechLM
from duologue.lm.reader import Reader, ReaderState
from duologue.lm.streams import FREE
from duologue.lm.text import CUT, END, EOT, PAD
from duologue.lm.words import words_of
from duologue.nn.arithmetic import flushed_denormals
from duologue.nn.streaming import State

TOLD = 256  # pieces of text that may wait to be read
FADE = 160  # samples over which a reply dies away when it is cut


@dataclass
class ConversationState(State):
    """All that mutates in the conversations of a batch."""

    log_mel: LogMelState
    encoder: State
    thinker: BackboneState
    inner: BackboneState  # the thinker's too, in inner speech
    reader: ReaderState
    talker: BackboneState
    decoder: State
    speaking: Tensor  # (B,) 1 while a reply sounds
    replying: Tensor  # (B,) 1 while a reply's words are being decided
    heard_ids: Tensor  # (B, 32) pieces of the user's word that is not whole yet, plus 1
    told_ids: Tensor  # (B, TOLD) pieces that the user wrote, which wait to be read, plus 1
    hurry: Tensor  # (B,) how much faster than usual replies are spoken: at 0.5 half as fast again


@dataclass
class StepOutput:
    """What one frame brought, for every row of the batch."""

    pcm: Tensor  # (B, 1280) float32 in [-1, 1]
    heard: list[list[str]]  # the user's words completed in this frame
    text: list[list[str]]  # the reply's words decided in this frame
    spoken: list[list[tuple[str, float, float]]]  # reply words whose sound ended: start, end in s from this frame's
    turn_end: list[bool]  # the user's turn was judged over
    speaking: list[bool]  # a reply sounds in this frame
    cut: list[bool]  # the reply was stopped because the user spoke over it
    ended: list[bool]  # a reply came to its end with this frame


class Generator:
    """Holds conversations with one model; all state is in what `init_state` returns."""

    def __init__(self, model: SpeechLM) -> None:
        self.model = model
        self.sampling = model.config.sampling
        self.reader = Reader(model.tokenizer, model.speller, model.pacer)
        heard = {stream.name for stream in model.config.thinker_layout.heard}
        self.hears_features, self.hears_codes = "user" in heard, "user_codes" in heard

    def init_state(self, batch: int, seed: int = 0) -> ConversationState:
        """The state of `batch` conversations that have not begun; `seed` matters only where a stream is sampled."""
        model = self.model
        state = ConversationState(
            model.log_mel.init_state(batch),
            cast(State, model.codec.init_encoder(batch)),
            model.thinker.init_state(batch),
            model.thinker.init_state(batch),
            self.reader.init_state(batch),
            model.talker.init_state(batch),
            cast(State, model.codec.init_decoder(batch)),
            torch.zeros(batch, dtype=torch.int64),
            torch.zeros(batch, dtype=torch.int64),
            torch.zeros(batch, 32, dtype=torch.int64),
            torch.zeros(batch, TOLD, dtype=torch.int64),
            torch.zeros(batch),
        )
        for part in (state.thinker, state.inner, state.talker):
            part.seed += seed
        return state

    @torch.inference_mode()
    def tell(self, text: str, state: ConversationState, row: int = 0) -> None:
        """Let a row read a turn of the user, a piece a frame from its next step on, as if it had heard the words.

        It has learned to answer words before it learned to hear them.

        Raises:
            TextError: more than `TOLD` pieces would wait; none of the text is read.
        """
        waiting = state.told_ids[row][state.told_ids[row] > 0].tolist()
        pieces = self.model.tokenizer.encode(" ".join(words_of(text)))
        told = [*waiting, *(piece + 1 for piece in pieces), EOT + 1]
        if len(told) > TOLD:
            room = TOLD - len(waiting) - 1
            message = f"the text is too long: it has {len(pieces)} pieces, of which {room} can be read now"
            raise TextError(f"{message}; write less at a time")
        state.told_ids[row] = 0
        state.told_ids[row, : len(told)] = torch.tensor(told)

    @torch.inference_mode()
    def pace(self, pace: float, state: ConversationState, row: int = 0) -> None:
        """Let a row's replies be spoken `pace` times as fast as the voice is, from the next phone on."""
        state.hurry[row] = pace - 1

    @flushed_denormals()
    @torch.inference_mode()
    def step(self, pcm: Tensor, state: ConversationState, active: Tensor | None = None) -> StepOutput:
        """Hear pcm (B, 1280), say the next frame. Rows where `active` (B,) is false sleep: nothing in them changes."""
        rows = list(range(len(pcm))) if active is None else active.nonzero()[:, 0].tolist()
        out = StepOutput(
            torch.zeros(len(pcm), FRAME),
            *([[] for _ in pcm] for _ in range(3)),  # type: ignore[arg-type]
            *([False] * len(pcm) for _ in range(4)),
        )
        if not rows:
            return out
        told = state.told_ids[rows, 0].tolist()
        said = self._think(pcm, state, rows, told)
        for row, piece, heard, text in zip(
            rows, told, said["heard"][:, 0].tolist(), said["text"][:, 0].tolist(), strict=True
        ):
            if not piece:  # what was read has not been heard
                self._hear_word(row, heard, state, out)
            self._take_word(row, text, state, out)
        self._talk(rows, state, out)
        return out

    def _think(self, pcm: Tensor, state: ConversationState, rows: list[int], told: list[int]) -> dict[str, Tensor]:
        """The thinker's frame in these rows (N,): a piece each of what was heard and what is to be said, (N, 1).

        Rows that are `told` a piece, plus 1, take it for what they heard.
        """
        places = _places(rows, len(pcm))
        here = slice(None) if places is None else places
        pcm = pcm[here]
        heard: dict[str, Tensor] = {"speaking": state.speaking[here, None]}
        if self.hears_features:
            with state.log_mel.only(places) as log_mel:
                heard["user"] = self.model.log_mel.step(pcm, log_mel)
        if self.hears_codes:
            with state.encoder.only(places) as encoder:
                heard["user_codes"] = self.model.codec.encode_step(pcm, encoder).transpose(1, 2).flatten(1)
        forced: dict[str, Tensor] = {}
        if any(told):
            forced["heard"] = torch.tensor([[piece - 1 if piece else FREE] for piece in told])
            state.told_ids[here] = state.told_ids[here].roll(-1, 1)
            state.told_ids[here, -1] = 0
        with state.thinker.only(places) as thinker:
            said = self.model.thinker.step(heard, thinker, self.sampling, forced=forced)
            replying = state.replying[here, None] > 0
            # What has meaning in inner speech; all other frames do not exist there.
            events = ((said["heard"] != PAD) | (said["text"] != PAD) | replying)[:, 0].nonzero()[:, 0].tolist()
            if events:
                given = said["heard"][events], said["text"][events], replying[events]
                said["text"][events] = self._put_in_words(*given, state, [rows[event] for event in events])
                self.model.thinker.rewrite("text", said["text"], thinker)
        return said

    def _put_in_words(
        self, heard: Tensor, text: Tensor, replying: Tensor, state: ConversationState, rows: list[int]
    ) -> Tensor:
        """Inner speech in these rows: the pieces of the reply that stand for those that the sound made of it, (N, 1).

        Whether anything is said, and whether it is to stop, is for the sound to tell, and which words for the words. A
        reply is thought to its end whatever is heard meanwhile, if it is not stopped.
        """
        thinks = replying & (text != CUT)
        speaks = thinks | (text > CUT)
        forced = {"heard": heard.masked_fill(thinks, PAD)}
        with state.inner.only(_places(rows, len(state.speaking))) as inner:
            said = self.model.thinker.step({}, inner, self.sampling, forced=forced)["text"]
            chosen = torch.where(speaks & (said != PAD) & (said != CUT), said, text)
            self.model.thinker.rewrite("text", chosen, inner)
        return chosen

    def _hear_word(self, row: int, heard: int, state: ConversationState, out: StepOutput) -> None:
        """Act on the piece of the user's words that the thinker wrote in one row."""
        tokenizer = self.model.tokenizer
        if heard == EOT:
            out.turn_end[row] = True
        elif heard > END and heard != CUT:
            pending = [*[piece - 1 for piece in state.heard_ids[row].tolist() if piece > 0][-31:], heard]
            state.heard_ids[row] = 0
            if tokenizer.closes_word(heard):
                out.heard[row].append(tokenizer.decode(pending))
            else:
                state.heard_ids[row, : len(pending)] = torch.tensor(pending) + 1

    def _take_word(self, row: int, text: int, state: ConversationState, out: StepOutput) -> None:
        """Act on the piece of the reply that the thinker wrote in one row."""
        if text == CUT:
            out.cut[row] = bool(state.speaking[row])
            state.replying[row] = 0
        elif text == END:
            self.reader.finish(state.reader, row)
            state.replying[row] = 0
        elif text != PAD:
            if not state.replying[row]:
                self._begin_reply(row, state)
            word = self.reader.put(text, state.reader, row)
            if word is not None:
                out.text[row].append(word)

    def _begin_reply(self, row: int, state: ConversationState) -> None:
        """A new reply starts from a clean score, talker and decoder; one that still sounds gives way to it."""
        only = torch.zeros(len(state.speaking), dtype=torch.bool)
        only[row] = True
        seed = state.talker.seed[row].item()
        for part in (state.reader, state.talker, state.decoder):
            part.reset(only)
        state.talker.seed[row] = seed
        state.replying[row] = 1

    def _talk(self, rows: list[int], state: ConversationState, out: StepOutput) -> None:
        """The talker's frame: the score's next 80 ms to codes, the codes to sound, in the rows that speak."""
        speaking = [row for row in rows if self.reader.busy(state.reader, row)]
        state.speaking[rows] = 0
        if not speaking:
            return
        reads = [self.reader.read(state.reader, row, 1 + state.hurry[row].item()) for row in speaking]
        heard = {
            "sounds": torch.tensor([read.sounds for read in reads]),
            "ahead": torch.tensor([read.ahead for read in reads]),
        }
        places = _places(speaking, len(state.speaking))
        with state.talker.only(places) as talker:
            codes = self.model.talker.step(heard, talker, self.sampling)["codes"]
        codes = codes.clamp_min(0).view(len(speaking), self.model.codec_frames, -1).transpose(1, 2)
        with state.decoder.only(places) as decoder:
            pcm = self.model.codec.decode_step(codes, decoder).clamp(-1, 1)
        over = torch.zeros(len(state.speaking), dtype=torch.bool)
        for row, read, sound in zip(speaking, reads, pcm, strict=True):
            out.speaking[row] = True
            out.spoken[row] = read.words
            if out.cut[row]:
                sound[:FADE] *= torch.linspace(1, 0, FADE)
                sound[FADE:] = 0
            out.ended[row] = out.cut[row] or not self.reader.busy(state.reader, row)
            over[row] = out.ended[row]
            state.speaking[row] = not out.ended[row]
            out.pcm[row] = sound
        if over.any():
            state.reader.reset(over)


def _places(rows: list[int], size: int) -> Tensor | None:
    """Rows for `State.only`."""
    return None if len(rows) == size else torch.tensor(rows)
