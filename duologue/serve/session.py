"""One conversation of one client, whatever the protocol: sound in, turns, words and sound out.

A session holds a slot of an engine. It lives on the event loop; what the engine tells on its thread is taken over
there. What happens is told in order, as `Moment`s, to the one who holds the session.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from duologue.serve.sound import Format, Inward, Outward
from duologue.serve.turns import QUIET, Change, OwnTurns, Turns, UserIdle, UserStarted, UserStopped
from duologue.serve.voiced import Voiced
from duologue.systems.base import FunctionCall, HeardWord, Pcm, TextWord, Tool, Turn
from duologue.systems.engine import Engine, EngineFullError, Heard, Slot, SlotLostError
from duologue.systems.rows import Saved

PATIENCE = 5.0  # seconds of conversation that a reply, once it is wanted, is waited for


@dataclass(frozen=True)
class UserWord:
    """The system has heard a word of the user."""

    word: str


@dataclass(frozen=True)
class ReplyStarted:
    """The system begins to speak."""


@dataclass(frozen=True)
class ReplyWord:
    """A word of the reply, decided shortly before it sounds."""

    word: str


@dataclass(frozen=True)
class ReplySound:
    """The next sound of the reply in the client's format.

    Attributes:
        step: in which it was said; None for the last of a reply, which resampling holds back.
        since: of the first, seconds since the user's last sound, if the user said anything.
    """

    data: bytes
    step: Heard | None = None
    since: float | None = None


@dataclass(frozen=True)
class Called:
    """The system calls a function of the client's; the reply goes on once the result is given."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class ReplyEnded:
    """The reply is over; `cut`: because the user spoke over it."""

    cut: bool


@dataclass(frozen=True)
class NoReply:
    """A reply was wanted, and the system said nothing."""


@dataclass(frozen=True)
class Broken:
    """The conversation ended with an error of the system."""

    error: Exception


Moment = Change | UserWord | ReplyStarted | ReplyWord | ReplySound | Called | ReplyEnded | NoReply | Broken


@dataclass(frozen=True)
class Copy:
    """A conversation as it is at one moment, for another session to go on with.

    Attributes:
        frames: what the user has said and the system has not heard yet.
        replying: a reply sounds, which the other is not to go on with.
    """

    saved: Saved
    frames: list[Pcm]
    replying: bool


class Session:
    """See the module's docstring. `await open()` before, `await close()` after."""

    def __init__(self, engine: Engine, tell: Callable[[Moment], None]) -> None:
        self.engine = engine
        self.replying = False
        self.heard_frames = 0  # of the user that the system has heard
        self.said_frames = 0
        self.frames = 0  # of conversation, silence in the stead of a client that sent nothing among them
        self.sent = 0.0  # seconds that the client has sent
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._slot: Slot | None = None
        self._turns: Turns
        self._in: Inward
        self._out: Outward
        self._dropping = False  # a reply that was cancelled still comes from a system that can't be stopped
        self._early: list[str] = []  # words decided before their reply sounds
        self._user = False  # the user has the floor, as the client was told
        self._held: list[UserStarted | UserWord] = []  # said over a reply that goes on
        self._inserted = False  # the turn that the system hears is known already
        self._wanted: int | None = None  # frames for which a wanted reply will still be waited for
        self._voiced = Voiced()
        self._first = False  # the reply has begun and nothing of it was told
        self._silences = 0  # frames in a row without anything from the client or a reply

    async def open(self, seed: int = 0, saved: Saved | None = None) -> None:
        """Take a slot.

        Raises:
            EngineFullError: none is free.
        """
        joining = asyncio.ensure_future(asyncio.to_thread(self.engine.join, self._listen, seed, saved))
        try:
            self._slot = await asyncio.shield(joining)
        except asyncio.CancelledError:  # nobody waits any more, but the slot is being taken: it must come back
            with contextlib.suppress(EngineFullError):
                await asyncio.to_thread((await joining).leave)
            raise
        card = self.engine.card
        self.set_formats(Format("pcm", card.sample_rate), Format("pcm", card.sample_rate))
        self._turns = OwnTurns(self.slot)

    @property
    def slot(self) -> Slot:
        assert self._slot is not None, "open the session first"
        return self._slot

    @property
    def held(self) -> bool:
        """Whether it holds a slot."""
        return self._slot is not None

    @property
    def owned(self) -> bool:
        """Whether the system decides on turns by itself."""
        return self._turns.owned

    async def close(self) -> None:
        if self._slot is not None:
            slot, self._slot = self._slot, None
            await asyncio.to_thread(slot.leave)

    async def park(self) -> Saved:
        """Close, so that another session can `open` with what is returned.

        Raises:
            SlotLostError: the conversation has ended.
        """
        slot, self._slot = self._slot, None
        if slot is None:
            raise SlotLostError("the conversation has ended")
        return await asyncio.to_thread(slot.park)

    def set_formats(self, inward: Format, outward: Format) -> None:
        """The client's formats from now on."""
        card = self.engine.card
        self._in = Inward(inward, card.sample_rate, card.frame)
        self._out = Outward(outward, card.sample_rate)

    def set_turns(self, make: Callable[[Slot], Turns]) -> None:
        """Who decides on turns from now on."""
        self.slot.run(fills=False)
        self._turns = make(self.slot)

    def hear(self, data: bytes) -> bool:
        """What the client sends, in pieces of any size; False where it was too much and part of it was dropped."""
        return self._take(self._in.push(data))

    def commit(self) -> None:
        """What was sent so far is whole: hear the last part of a frame too."""
        self._take(self._in.flush())
        self._turns.commit()

    def insert(self, data: bytes, format: Format) -> None:
        """Sound that the client has from elsewhere: the user says it now, and no turn of the system's is told of it."""
        card = self.engine.card
        inward = Inward(format, card.sample_rate, card.frame)
        self._inserted = self.owned and not self._user
        for frame in [*inward.push(data), *inward.flush()]:
            self._turns.insert(frame)

    async def copy(self) -> Copy | None:
        """The conversation as it is now; None where the system cannot hold it twice."""
        copied = await asyncio.to_thread(self.slot.copy)
        if copied is None:
            return None
        saved, frames = copied
        return Copy(saved, [*frames, *self._turns.waiting()], self.replying or self._dropping)

    async def go_on_from(self, copy: Copy) -> None:
        """Do what is left to do where a session was opened with what `copy` saved."""
        if copy.replying:
            await asyncio.to_thread(self.slot.hush)
        for frame in copy.frames:
            self._turns.insert(frame)

    def clear(self) -> None:
        """Forget what was sent since the last turn and not heard yet."""
        self._in.clear()
        self._turns.clear()

    def answer(self) -> None:
        """Have a reply made now; `ReplyStarted` or `NoReply` follows."""
        self._turns.answer()
        self._want()

    def cancel(self) -> None:
        """Stop the reply that sounds or was wanted; nothing more is told of it."""
        sounded, self.replying, self._wanted = self.replying, False, None
        self._inserted = False
        self._early.clear()
        self._out.flush()
        self._settle()
        if sounded:
            self._dropping = True
            self._loop.run_in_executor(None, self._hush, self.slot)

    async def reads(self) -> bool:
        """Whether the system takes text."""
        return await asyncio.to_thread(self.slot.reads)

    async def read(self, text: str) -> bool:
        """Give the user's text to the system; False where it takes none.

        Raises:
            TextError: it is too long; none of it is read.
        """
        return await asyncio.to_thread(self.slot.read, text)

    async def pace(self, pace: float) -> None:
        """Let replies be spoken `pace` times as fast, where the system can."""
        await asyncio.to_thread(self.slot.pace, pace)

    async def offer(self, tools: Sequence[Tool]) -> None:
        """Functions that the system may call from now on; only for one that can call any."""
        await asyncio.to_thread(self.slot.offer, tools)

    async def give(self, results: Mapping[str, str]) -> None:
        """What calls came to, by their ids."""
        await asyncio.to_thread(self.slot.give, results)

    async def go_on(self) -> None:
        """Let the system reply to what it was given; `answer` as well, so that it has the time."""
        await asyncio.to_thread(self.slot.go_on)

    def _take(self, frames: list[Pcm]) -> bool:
        for frame in frames:
            self.sent += self.engine.frame_seconds
            self._voiced.hear(frame)
            for change in self._turns.hear(frame, self.sent):
                self._note(change)
        full, self._turns.full = self._turns.full, False
        return not full

    def _note(self, change: Change) -> None:
        if (isinstance(change, UserStopped) and change.answer) or isinstance(change, UserIdle):
            self._want()
        self._tell(change)
        if isinstance(change, UserStarted) and self._turns.interrupts and (self.replying or self._wanted is not None):
            self.cancel()
            self._tell(ReplyEnded(cut=True))

    def _want(self) -> None:
        """A reply is being made; where one sounds already, that is it."""
        if not self.replying:
            self._wanted = self.slot.waiting + round(PATIENCE / self.engine.frame_seconds)

    def _settle(self) -> None:
        if self._turns.settle():
            self._want()

    def _hush(self, slot: Slot) -> None:
        if slot.hush():
            self._loop.call_soon_threadsafe(self._forget)

    def _forget(self) -> None:
        """The system has stopped: what it says from now on is another reply."""
        self._dropping = False
        self._early.clear()

    def _listen(self, told: Heard | Exception) -> None:
        """On the engine's thread."""
        self._loop.call_soon_threadsafe(self._follow, told)

    def _follow(self, told: Heard | Exception) -> None:
        if self._slot is None:
            return  # closed while this was on its way
        if isinstance(told, Exception):
            self._slot = None
            self._tell(Broken(told))
            return
        self.frames += 1
        self.heard_frames += not told.silence
        ended: ReplyEnded | None = None
        called = False
        for event in told.reply.events:
            match event:
                case HeardWord():
                    self._hear_word(event.word)
                case TextWord():
                    self._say_word(event.word)
                case FunctionCall() if not self._dropping:
                    called = True
                    self._tell(Called(event.id, event.name, event.arguments))
                case Turn(kind="user_started" | "user_stopped"):
                    self._own_turn(event.kind == "user_started")
                case Turn(kind="reply_started"):
                    self._begin()
                case Turn(kind="reply_ended" | "interrupted"):
                    ended = ReplyEnded(event.kind == "interrupted")
        if self.replying:
            self.said_frames += 1
            if data := self._out.push(told.reply.pcm):
                since = self._voiced.since() if self._first else None
                self._first = False
                self._tell(ReplySound(data, told, since))
        if ended:
            self._end(ended)
        elif called and not self.replying:
            self._wanted = None
            self._tell(ReplyEnded(cut=False))
            self._settle()
        self._wait(told.silence)

    def _hear_word(self, word: str) -> None:
        if self._inserted:
            return
        if self._held:
            self._held.append(UserWord(word))
        else:
            self._tell(UserWord(word))

    def _say_word(self, word: str) -> None:
        if self.replying:
            self._tell(ReplyWord(word))
        elif not self._dropping:
            self._early.append(word)

    def _own_turn(self, started: bool) -> None:
        """The system's own account of a turn; over a reply that goes on, a murmur is no turn."""
        if not self._turns.owned:
            return
        if self._inserted:
            self._inserted = started
            return
        at = self.heard_frames * self.engine.frame_seconds
        if started and self.replying:
            self._held = [UserStarted(at)]
        elif started:
            self._start_user(UserStarted(at))
        elif self._held:
            self._held.clear()
        elif self._user:
            self._stop_user()

    def _start_user(self, started: UserStarted) -> None:
        if not self._user:
            self._user = True
            self._tell(started)

    def _stop_user(self) -> None:
        self._user = False
        self._tell(UserStopped(self.heard_frames * self.engine.frame_seconds, answer=False))

    def _begin(self) -> None:
        if self._turns.owned and self._user:
            self._stop_user()
        self._dropping, self.replying, self._wanted, self._first = False, True, None, True
        self._inserted = False
        self._tell(ReplyStarted())
        for word in self._early:
            self._tell(ReplyWord(word))
        self._early.clear()

    def _end(self, ended: ReplyEnded) -> None:
        self._dropping = False
        if not self.replying:
            return
        self.replying = False
        if data := self._out.flush():
            self._tell(ReplySound(data))
        if ended.cut:
            self._release()
        self._tell(ended)
        self._release()
        self._settle()

    def _release(self) -> None:
        """What the user said over the reply was a turn after all."""
        held, self._held = self._held, []
        for moment in held:
            if isinstance(moment, UserStarted):
                self._start_user(moment)
            else:
                self._tell(moment)

    def _wait(self, silence: bool) -> None:
        """Give up on a reply that does not come, and let a conversation rest in which nothing happens.

        Every frame counts that was not there yet when the reply was asked for: a microphone may send for ever.
        """
        if self._wanted is not None:
            self._wanted -= 1
            if self._wanted <= 0:
                self._wanted, self._inserted = None, False
                self._settle()
                self._tell(NoReply())
        self._silences = self._silences + 1 if silence and not self.replying and self._wanted is None else 0
        if self._silences * self.engine.frame_seconds >= QUIET:
            self._silences = 0
            self.slot.run(fills=False)
