"""Speech coders that everybody knows, to stand beside ours: Opus (RFC 6716) and Codec2 (Rowe), both streamed.

Measuring alone imports this module: the libraries that bring Opus come with others under the GPL.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from duologue.systems.base import Pcm
from duologue.systems.coders import Coder, Tokens


class OpusCoder(Coder):
    """Opus for speech at 6 kbit/s in packets of 20 ms, by libopus as FFmpeg's libraries bring it."""

    said = 48000
    bitrate = 6000
    late = 312  # the encoder's look-ahead for speech, 6.5 ms

    def __init__(self) -> None:
        super().__init__()
        import av

        self._encoder = av.AudioCodecContext.create("libopus", "w")
        self._encoder.sample_rate, self._encoder.layout, self._encoder.format = self.heard, "mono", "s16"
        self._encoder.bit_rate = self.bitrate
        self._encoder.options = {"application": "voip", "frame_duration": "20"}
        self._decoder = av.AudioCodecContext.create("libopus", "r")
        self._decoder.sample_rate, self._decoder.layout = self.said, "mono"
        self._heard = 0

    def push(self, pcm: Pcm) -> Pcm:
        import av

        frame = av.AudioFrame.from_ndarray(_int16(pcm)[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = self.heard, self._heard, Fraction(1, self.heard)
        self._heard += len(pcm)
        parts = [np.zeros(0, np.float32)]
        for packet in self._encoder.encode(frame):
            self.bits += 8 * packet.size
            for decoded in self._decoder.decode(packet):
                samples = decoded.to_ndarray().reshape(-1)
                scale = 32768 if samples.dtype == np.int16 else 1
                parts.append((samples / scale).astype(np.float32))
        return np.concatenate(parts)


class Codec2Coder(Coder):
    """Codec2 at 3.2 kbit/s, a sinusoidal vocoder for radio: 8 kHz, 64 bits every 20 ms.

    The phases of what is unvoiced are drawn from one source for all that runs in a process, so no two runs are equal.
    """

    heard = said = 8000
    frame = 160
    bitrate = 3200
    late = 160  # it analyses 40 ms, and says the middle of them
    tokens = Tokens(8, 256, 50.0)

    def __init__(self) -> None:
        super().__init__()
        import pycodec2

        self._codec = pycodec2.Codec2(self.bitrate)

    def push(self, pcm: Pcm) -> Pcm:
        packet: bytes = self._codec.encode(_int16(pcm))
        self.bits += 8 * len(packet)
        back: Pcm = (self._codec.decode(packet) / 32768).astype(np.float32)
        return back

    def encode(self, pcm: Pcm) -> NDArray[np.int64]:
        packets = [self._codec.encode(_int16(frame)) for frame in pcm.reshape(-1, self.frame)]
        return np.stack([np.frombuffer(packet, np.uint8) for packet in packets], axis=1).astype(np.int64)


def _int16(pcm: Pcm) -> NDArray[np.int16]:
    return np.clip(np.round(pcm * 32768), -32768, 32767).astype(np.int16)
