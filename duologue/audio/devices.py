"""The sound card, full duplex: blocks from the microphone while blocks go to the loudspeaker.

Needs the extra `mic`: the package sounddevice over the PortAudio library, imported only when a card is opened.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import numpy as np

from duologue.errors import DeviceError

_QUIET = 1e-3  # a block below this peak can be left out unheard
_PATIENCE = 3.0  # seconds without a block after which the card is gone
_BEHIND = 5.0  # seconds of unheard audio after which the listener will not catch up


class Duplex:
    """The default microphone and loudspeaker as one conversation at `rate`, in blocks of `block` samples.

        with Duplex() as duplex:
            for block in duplex:
                duplex.play(conversation.step(block).pcm)

    A reply to a block that comes before the next block ends is heard right after it. A late one is heard late, and the
    delay is made up in the next silence. Ctrl-C ends the `with` block without an error, so put what is to be kept, such
    as a `Writer`, outside of it.
    """

    def __init__(self, rate: int = 16000, block: int = 1280) -> None:
        self.rate, self.block = rate, block
        self._heard: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()
        self._replies: deque[np.ndarray] = deque()
        self._stream: Any = None

    def __enter__(self) -> Self:
        """Open the card.

        Raises:
            DeviceError: sounddevice, PortAudio, a microphone or a loudspeaker is missing.
        """
        sounddevice = _sounddevice()
        if -1 in sounddevice.default.device:
            raise DeviceError("there is no microphone or no loudspeaker; plug them in, or talk by file")
        try:
            self._stream = sounddevice.Stream(
                self.rate, self.block, channels=1, dtype="float32", latency="low", callback=self._exchange
            )
            self._stream.start()
        except sounddevice.PortAudioError as error:
            self._close()
            why = " ".join(str(error).split())
            raise DeviceError(
                f"the sound card does not open at {self.rate} Hz ({why}); choose another default card, or talk by file"
            ) from error
        return self

    def __iter__(self) -> Iterator[np.ndarray]:
        """Blocks (block,) float32 as they are heard, without end.

        Raises:
            DeviceError: the card has gone, or the caller is too slow for real time.
        """
        while True:
            try:
                block = self._heard.get(timeout=_PATIENCE)
            except queue.Empty:
                raise DeviceError("the microphone gives no more sound; is it still plugged in?") from None
            behind = self._heard.qsize() * self.block / self.rate
            if behind > _BEHIND:
                raise DeviceError(f"the answers are {behind:.0f} s behind the microphone; this machine is too busy")
            yield block

    def play(self, reply: np.ndarray) -> None:
        """Let a block (block,) float32 be heard after those already waiting; does not wait itself."""
        if reply.shape != (self.block,):
            raise ValueError(f"expected a block ({self.block},), got {reply.shape}")
        self._replies.append(np.clip(reply, -1, 1))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._close()
        return isinstance(error, KeyboardInterrupt)

    def _close(self) -> None:
        if self._stream is not None:
            self._stream.close(ignore_errors=True)
            self._stream = None

    def _exchange(self, heard: np.ndarray, played: np.ndarray, frames: int, time: Any, status: Any) -> None:
        """Called by the card's own thread at every block: one in, one out."""
        self._heard.put(heard[:, 0].copy())
        while len(self._replies) > 1 and np.abs(self._replies[0]).max() < _QUIET:
            self._replies.popleft()
        played[:, 0] = self._replies.popleft() if self._replies else 0


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError as error:
        raise DeviceError("the microphone needs the package sounddevice: pip install 'duologue[mic]'") from error
    except OSError as error:
        raise DeviceError(
            "the microphone needs the PortAudio library: apt install libportaudio2, or brew install portaudio"
        ) from error
    return sounddevice
