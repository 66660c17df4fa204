"""Silero VAD (Silero Team 2024, MIT): a small recurrent network that tells speech from all other sound.

Its weights come in the wheel of silero-vad. They are run here by onnxruntime without that package's own code, which
keeps the state of a single stream inside the network's wrapper.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from duologue.errors import ModelError
from duologue.systems.base import Pcm
from duologue.systems.cascade.stages import RATE

FILE = "data/silero_vad_16k_op15.onnx"
CONTEXT = 64  # samples before each hop that the network wants to see again
STATE = (2, 1, 128)


class SileroDetector:
    """One network for all conversations; each has a state of its own.

    Raises:
        ModelError: silero-vad or onnxruntime is not installed.
    """

    hop = 512

    def __init__(self) -> None:
        if (found := importlib.util.find_spec("silero_vad")) is None or found.origin is None:
            raise ModelError("Silero's voice detector needs the package silero-vad; pip install 'duologue[eval]'")
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            raise ModelError("Silero's voice detector needs onnxruntime; pip install 'duologue[eval]'") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        path = Path(found.origin).parent / FILE
        self.network = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def open(self) -> SileroDetection:
        """Begin with one conversation."""
        return SileroDetection(self)


class SileroDetection:
    """The state of one conversation: the network's, and the samples that are not a whole hop yet."""

    def __init__(self, detector: SileroDetector) -> None:
        self._network = detector.network
        self._state = np.zeros(STATE, np.float32)
        self._heard = np.zeros(CONTEXT, np.float32)  # the context of the next hop, and what there is of the hop

    def hear(self, pcm: Pcm) -> list[float]:
        """The next (T,) samples at 16 kHz; the probability of speech in each 32 ms that are complete with them."""
        self._heard = np.concatenate((self._heard, pcm))
        probabilities = []
        while len(self._heard) >= CONTEXT + SileroDetector.hop:
            window = self._heard[None, : CONTEXT + SileroDetector.hop]
            inputs = {"input": window, "state": self._state, "sr": np.array(RATE, np.int64)}
            probability, self._state = self._network.run(None, inputs)
            probabilities.append(float(probability.item()))
            self._heard = self._heard[SileroDetector.hop :]
        return probabilities
