"""Whose voice it is: the similarity of two recordings' speakers, and what it is for the same and for two speakers.

The embedding is Resemblyzer's (GE2E, Wan et al. 2018), its network in its package. A similarity says little by itself:
it hangs on length, words and channel, so every figure stands beside those of pairs of held-out speakers.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duologue.errors import AudioError
from duologue.eval.metrics import RATE, Pcm, sound_bounds

Embedding = NDArray[np.float32]
SHORTEST = 0.4  # seconds between first and last sound from which a voice can be told


@cache
def _encoder() -> tuple[Any, Any]:
    """Resemblyzer's network and its preparation of a signal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old names of scipy and setuptools, in its own modules
        from resemblyzer import VoiceEncoder, preprocess_wav

    return VoiceEncoder("cpu", verbose=False), preprocess_wav


def tellable(pcm: Pcm) -> bool:
    """Whether there is enough sound in (T,) at 16 kHz to tell whose voice it is."""
    bounds = sound_bounds(pcm)
    return bounds is not None and bounds[1] - bounds[0] >= SHORTEST


def embed(pcm: Pcm) -> Embedding:
    """The voice of (T,) at 16 kHz as a vector of length one, (256,).

    Raises:
        AudioError: less than 0.4 s of sound is in it.
    """
    if not tellable(pcm):
        raise AudioError(f"a voice needs {SHORTEST} s of sound to be told; {len(pcm) / RATE:.2f} s were given")
    encoder, prepare = _encoder()
    voiced = prepare(np.asarray(pcm, np.float32))
    # its detector may take all of a whisper or a vocoder for noise; then the sound is judged as it is
    kept = voiced if len(voiced) >= SHORTEST * RATE else pcm
    embedding: Embedding = encoder.embed_utterance(kept)
    return embedding


def similarity(first: Pcm, second: Pcm) -> float | None:
    """The cosine of the voices of two signals, (T,) and (S,): 1 for one voice; None where one of them is too short."""
    return float(embed(first) @ embed(second)) if tellable(first) and tellable(second) else None
