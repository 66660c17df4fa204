"""Other speakers out of a recording: the same words at the same times from another throat, at another pitch.

A few synthesisers and readers make few voices. Moving formants and melody (Praat's "Change gender": overlap-add at the
pitch periods, Moulines and Charpentier 1990, after resampling) makes many of each, natural women's and children's among
them, and leaves the labels true. Praat is under the GPL: only what makes training data may import this module.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from duologue.data.spoken import RATE, Spoken
from duologue.errors import DataError

FLOOR, CEILING = 70.0, 420.0  # Hz, where a voice's pitch is looked for
LOWEST, HIGHEST = 80.0, 300.0  # Hz, what a median may be moved to
SHORTEST = 0.1  # seconds that can be analysed


@dataclass(frozen=True)
class Throat:
    """How a voice is changed: factors on its median pitch, its formants, and the range of its melody.

    Raises:
        ValueError: the melody would be widened, which can move a pitch below zero, and then Praat never ends.
    """

    pitch: float
    formants: float
    melody: float

    def __post_init__(self) -> None:
        if not 0 <= self.melody <= 1:
            raise ValueError(f"a melody's range is multiplied by 0 to 1, not by {self.melody}")

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Self:
        """A throat up to an octave higher or a third lower; higher ones are shorter, as in people."""
        pitch = float(np.exp(rng.uniform(-0.3, 0.7)))
        formants = float(np.clip(np.exp(0.2 * np.log(pitch) + rng.uniform(-0.1, 0.1)), 0.85, 1.25))
        return cls(pitch, formants, float(rng.uniform(0.5, 1.0)))


def revoice(spoken: Spoken, throat: Throat) -> Spoken:
    """The same words, sample for sample as long, said by another throat; what has no pitch is left alone.

    Raises:
        DataError: Praat is not installed.
    """
    try:
        import parselmouth
        from parselmouth.praat import call, run
    except ImportError as error:
        raise DataError("other throats need the package praat-parselmouth; pip install 'duologue[synth]'") from error
    if spoken.duration < SHORTEST:
        return spoken
    sound = parselmouth.Sound(spoken.pcm.astype(np.float64), RATE)
    track = sound.to_pitch(pitch_floor=FLOOR, pitch_ceiling=CEILING).selected_array["frequency"]
    voiced = track[track > 0]
    if not len(voiced):
        return spoken
    median = float(np.clip(np.median(voiced) * throat.pitch, LOWEST, HIGHEST))
    run("random_initializeWithSeedUnsafelyButPredictably(1)")  # where nothing is voiced, its periods are drawn
    try:
        changed = call(sound, "Change gender", FLOOR, CEILING, throat.formants, median, throat.melody, 1.0)
    except parselmouth.PraatError:  # a murmur too short or too hoarse for it
        return spoken
    return replace(spoken, pcm=changed.values[0, : len(spoken.pcm)].astype(np.float32))
