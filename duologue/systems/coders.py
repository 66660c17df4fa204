"""Speech codecs as systems: what is heard goes through a codec, frame by frame, and is said back.

So a codec is judged as it would run in a call: streamed, with the delay that it really has. Ours stand beside coders
that everybody knows: Opus at 6 kbit/s (RFC 6716), G.711 (ITU-T, 1988) and Codec2 at 3.2 kbit/s (Rowe).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import firwin, lfilter

from duologue.audio.g711 import mulaw_decode, mulaw_encode
from duologue.codec.base import Codec
from duologue.errors import ConfigError, ModelError
from duologue.systems.base import Conversation, Pcm, Reply, System, SystemCard, Timing
from duologue.systems.registry import load_codec

RATE = 16000
_PROBE = 16  # frames after which a decoder has shown how much it ever keeps back
_TAPS = 32  # of a filter between two rates, for each sample at the lower one


@dataclass(frozen=True)
class Tokens:
    """What a frame of a coder is made of: `books` whole numbers below `cardinality`, `rate` frames a second."""

    books: int
    cardinality: int
    rate: float


@dataclass(frozen=True)
class Returned:
    """What came back through a codec.

    Attributes:
        pcm: as long as what was sent and aligned with it.
        bits: sent in `seconds`, the last of which are silence that pushes the end of the sound through.
        compute: seconds that it took.
    """

    pcm: Pcm
    bits: int
    seconds: float
    compute: float


class Coder(ABC):
    """An encoder and the decoder that hears it, for one conversation.

    Attributes:
        heard: samples a second of what it takes.
        said: samples a second of what it gives.
        frame: samples that it takes at a time.
        late: samples, at `said`, by which what it gives lies behind what it took.
        bitrate: bits a second that it is set to.
        tokens: where its code is one of whole numbers on a grid of frames.
    """

    heard: int = RATE
    said: int = RATE
    frame: int = RATE // 50
    late: int = 0
    bitrate: float
    tokens: Tokens | None = None

    def __init__(self) -> None:
        self.bits = 0
        """Sent so far."""

    @abstractmethod
    def push(self, pcm: Pcm) -> Pcm:
        """A frame (frame,) there and back: the samples that are ready."""

    def encode(self, pcm: Pcm) -> NDArray[np.int64]:
        """The tokens (books, frames) that whole frames (frames * frame,) are sent as, by a coder that heard nothing.

        Raises:
            ModelError: it sends no tokens.
        """
        raise ModelError("this codec sends no tokens; only its sound can be judged")


class NeuralCoder(Coder):
    """A codec of ours, streamed."""

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        card = codec.card
        self.heard = self.said = card.sample_rate
        self.frame, self.late = card.hop, card.delay_samples
        self.tokens = Tokens(card.books, card.cardinality, card.frame_rate)
        self.bitrate = card.bitrate
        self._codec, self._bits = codec, round(card.bitrate / card.frame_rate)
        self._encoder, self._decoder = codec.init_encoder(1), codec.init_decoder(1)

    def push(self, pcm: Pcm) -> Pcm:
        import torch

        codes = self._codec.encode_step(torch.from_numpy(pcm)[None], self._encoder)
        self.bits += self._bits
        back: Pcm = self._codec.decode_step(codes, self._decoder)[0].numpy()
        return back

    def encode(self, pcm: Pcm) -> NDArray[np.int64]:
        import torch

        codes: NDArray[np.int64] = self._codec.encode(torch.from_numpy(pcm)[None])[0].numpy()
        return codes


class G711Coder(Coder):
    """Mu-law at 8 kHz, 64 kbit/s: the telephone."""

    heard = said = 8000
    frame = 160
    bitrate = 64000

    def push(self, pcm: Pcm) -> Pcm:
        codes = mulaw_encode(pcm)
        self.bits += 8 * len(codes)
        return mulaw_decode(codes)


PEERS: dict[str, tuple[str, str]] = {
    "opus": ("duologue.eval.peers:OpusCoder", "av"),
    "g711": ("duologue.systems.coders:G711Coder", ""),
    "codec2": ("duologue.eval.peers:Codec2Coder", "pycodec2"),
}
"""The coders that are not models: what makes each, and the package that it needs.

They are named and not imported: the libraries of some bring code under the GPL, which nothing that talks may import.
"""


def peers() -> list[str]:
    """The names of those peers whose packages are installed."""
    return [name for name, (_, package) in PEERS.items() if not package or find_spec(package)]


def load(name: str) -> CoderSystem:
    """A codec as a system: one of `PEERS`, "box", a codec's or a model's folder.

    Raises:
        ConfigError: a peer's package is not installed.
        ModelError: there is no such codec, or its files do not fit each other.
    """
    if name not in PEERS:
        if name != "box" and not Path(name).is_dir():
            raise ModelError(f"codec:{name}: no such codec; there are {', '.join(PEERS)}, box, and a codec's folder")
        codec, _ = load_codec(name if name == "box" else Path(name))
        return CoderSystem(f"codec:{name}", lambda: NeuralCoder(codec), codec.card.parameters)
    maker, package = PEERS[name]
    if name not in peers():
        raise ConfigError(f"codec:{name} needs the package {package}; pip install 'duologue[eval]' brings it")
    module, _, kind = maker.partition(":")
    return CoderSystem(f"codec:{name}", getattr(import_module(module), kind))


class CoderSystem(System):
    """Says back what it hears, through a codec.

    Attributes:
        delay: samples at 16 kHz from a sound to its return on the time line of a conversation: a frame to hear it, what
            the codec looks ahead or overlaps, and what resampling holds back.
        bitrate: measured on silence and noise, half of each; a coder of variable rate spends what it wants.
    """

    def __init__(self, name: str, make: Callable[[], Coder], parameters: int | None = None) -> None:
        self.make = make
        coder = make()
        frame = coder.frame * RATE / coder.heard
        if not frame.is_integer():
            raise ModelError(f"{name} has frames of {frame:.1f} samples at 16 kHz; only whole ones can be streamed")
        self.tokens = coder.tokens
        line = _Line(coder, 0)
        self.withheld = _withheld(line, round(frame))
        self.delay = round(frame) + line.late + self.withheld
        latency = 1000 * self.delay / RATE
        self.card = SystemCard(
            name=name,
            summary=f"says back what it hears: {coder.bitrate / 1000:g} kbit/s, frames of {1000 * frame / RATE:g} ms",
            hears=("codes",),
            says=("speech",),
            sample_rate=RATE,
            frame_rate=RATE / frame,
            latency_ms=latency,
            parameters=parameters,
        )

    def open(self, seed: int = 0) -> CoderConversation:
        """Begin a conversation; the seed changes nothing."""
        return CoderConversation(self)

    def play(self, pcm: Pcm) -> Returned:
        """What becomes of (T,) at 16 kHz in a conversation of its own, laid over the original by `delay`."""
        frame = self.card.frame
        heard = np.pad(pcm, (0, self.delay + -(len(pcm) + self.delay) % frame))
        said, compute = [np.zeros(frame, np.float32)], 0.0
        with self.open() as conversation:
            for start in range(0, len(heard), frame):
                reply = conversation.step(heard[start : start + frame])
                said.append(reply.pcm)
                compute += sum(event.compute_ms for event in reply.events if isinstance(event, Timing)) / 1000
            bits = conversation.bits
        back = np.concatenate(said)[self.delay : self.delay + len(pcm)]
        return Returned(back, bits, len(heard) / RATE, compute)

    def encode(self, pcm: Pcm) -> NDArray[np.int64]:
        """The tokens of (T,) at 16 kHz, (books, frames), as they are sent; silence fills up the last frame.

        Raises:
            ModelError: it sends no tokens.
        """
        coder = self.make()
        whole = np.pad(pcm, (0, -len(pcm) % self.card.frame))
        return coder.encode(_Converter(RATE, coder.heard).push(whole))


class CoderConversation(Conversation):
    """One stream through a codec."""

    def __init__(self, system: CoderSystem) -> None:
        super().__init__(system.card)
        self._line = _Line(system.make(), system.withheld)

    def _answer(self, pcm: Pcm) -> Reply:
        return Reply(self._line.push(pcm))

    @property
    def bits(self) -> int:
        """Sent so far."""
        return self._line.coder.bits


class _Converter:
    """Changes the rate by a whole factor, as a telephone does: a short symmetric filter, `late` samples at 16 kHz.

    `audio.resample` is better and works in blocks of a fifth of a second, which no call waits for.
    """

    def __init__(self, source: int, target: int) -> None:
        high, low = max(source, target), min(source, target)
        if high % low or RATE not in (source, target):
            raise ModelError(f"a codec at {source if target == RATE else target} Hz cannot be streamed at {RATE} Hz")
        self._up, self._down = target // low, source // low
        factor = high // low
        self._taps = firwin(_TAPS * factor + 1, 0.92 / factor) * self._up if factor > 1 else np.ones(1)
        self._state = np.zeros(len(self._taps) - 1)
        self.late = (len(self._taps) - 1) // 2 * RATE // high

    def push(self, pcm: Pcm) -> Pcm:
        """The next samples; their number is a multiple of the factor where the rate falls."""
        spread = np.zeros(len(pcm) * self._up)
        spread[:: self._up] = pcm
        filtered, self._state = lfilter(self._taps, 1.0, spread, zi=self._state)
        return np.asarray(filtered[:: self._down], np.float32)


class _Line:
    """A coder between converters of rate, with `ahead` samples of silence said first, so that a frame is always ready.

    Attributes:
        late: samples at 16 kHz by which its signal is late, those of `ahead` apart.
    """

    def __init__(self, coder: Coder, ahead: int) -> None:
        self.coder = coder
        self._before, self._after = _Converter(RATE, coder.heard), _Converter(coder.said, RATE)
        self.late = self._before.late + round(coder.late * RATE / coder.said) + self._after.late
        self._heard = np.zeros(0, np.float32)
        self._ready = np.zeros(ahead, np.float32)

    def push(self, pcm: Pcm) -> Pcm:
        """A frame at 16 kHz to as many samples, or to fewer while they are still inside."""
        self._heard = np.concatenate([self._heard, self._before.push(pcm)])
        size = self.coder.frame
        while len(self._heard) >= size:
            chunk, self._heard = self._heard[:size], self._heard[size:]
            self._ready = np.concatenate([self._ready, self._after.push(self.coder.push(chunk))])
        out, self._ready = self._ready[: len(pcm)], self._ready[len(pcm) :]
        return np.clip(out, -1, 1)


def _withheld(line: _Line, frame: int) -> int:
    """The most samples that a line ever owes: heard and not yet ready to be said."""
    silence, said, most = np.zeros(frame, np.float32), 0, 0
    for step in range(1, _PROBE + 1):
        said += len(line.push(silence))
        most = max(most, step * frame - said)
    return most
