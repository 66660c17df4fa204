"""The user's side of a Realtime session: what is said becomes items, and the words that are heard their transcripts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from duologue.serve.faults import RealtimeError
from duologue.serve.items import Item
from duologue.serve.session import Session
from duologue.serve.turns import UserIdle, UserStarted, UserStopped

SHORTEST = 0.1  # seconds of sound that can be committed


class Emit(Protocol):
    """Sends an event of this type and with these fields."""

    def __call__(self, kind: str, **fields: Any) -> None: ...


class Hearing:
    """Turns one after the other; each is open until it is over, and its transcript until no more words will come."""

    def __init__(
        self, session: Session, emit: Emit, add: Callable[[Item], None], transcribes: Callable[[], bool]
    ) -> None:
        """`add` takes every turn that is over; `transcribes`: the client wants transcripts."""
        self._session, self._emit, self._add, self._transcribes = session, emit, add, transcribes
        self._open: Item | None = None  # the turn that is going on
        self._said: Item | None = None  # the last one, until its transcript is complete
        self._committed = 0.0  # seconds of the client's sound that belong to items

    def start(self, moment: UserStarted) -> None:
        self.settle()
        self._open = _turn()
        start = int(1000 * moment.at)
        self._emit("input_audio_buffer.speech_started", audio_start_ms=start, item_id=self._open.id)

    def stop(self, moment: UserStopped) -> bool:
        """False where no turn was going on."""
        if self._open is None:
            return False
        end = int(1000 * moment.at)
        self._emit("input_audio_buffer.speech_stopped", audio_end_ms=end, item_id=self._open.id)
        self._close()
        return True

    def idle(self, moment: UserIdle) -> None:
        """Nobody said anything for so long that it counts as a turn."""
        self._open = _turn()
        self._emit(
            "input_audio_buffer.timeout_triggered",
            audio_start_ms=int(1000 * moment.since),
            audio_end_ms=int(1000 * moment.at),
            item_id=self._open.id,
        )
        self._close()

    def commit(self) -> None:
        """The client says that what it sent so far is a turn.

        Raises:
            RealtimeError: it sent hardly anything.
        """
        self._session.commit()
        seconds = self._session.sent - self._committed
        if seconds < SHORTEST:
            raise RealtimeError(
                "Error committing input audio buffer: buffer too small. Expected at least 100ms of audio, "
                f"but buffer only has {1000 * seconds:.2f}ms of audio.",
                "input_audio_buffer_commit_empty",
            )
        self._close()

    def clear(self) -> None:
        """What was sent and belongs to no item yet is forgotten."""
        self._session.clear()
        self._open, self._committed = None, self._session.sent

    def word(self, word: str) -> None:
        item = self._open or self._said
        if item is None:
            return
        said = item.content[0]["transcript"]
        item.content[0]["transcript"] = f"{said} {word}" if said else word
        if self._transcribes():
            self._emit(
                "conversation.item.input_audio_transcription.delta",
                item_id=item.id,
                content_index=0,
                delta=f" {word}" if said else word,
            )

    def settle(self) -> None:
        """No more words of the last turn will come."""
        item, self._said = self._said, None
        if item is not None and self._transcribes():
            self._emit(
                "conversation.item.input_audio_transcription.completed",
                item_id=item.id,
                content_index=0,
                transcript=item.content[0]["transcript"] or "",
                usage={"type": "duration", "seconds": round(item.seconds, 2)},
            )

    def _close(self) -> None:
        """What the user said since the last time becomes an item."""
        item = self._open or _turn()
        item.seconds = self._session.sent - self._committed
        self._open, self._committed = None, self._session.sent
        self.settle()
        self._said = item
        self._add(item)


def _turn() -> Item:
    return Item("user", [{"type": "input_audio", "transcript": None}])
