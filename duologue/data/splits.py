"""Who is held out: the one rule that keeps training, development and test voices apart.

Settings are chosen on "dev"; "test" is run once, for the figures that are published.

Real speakers: the SHA-1 of the speaker's name puts about 80% of them into "train", 8% into "dev" and 12% into "test",
the same on every machine and whatever else the corpus holds. Free Spoken Digits has four speakers here, so it
follows a list instead: nicolas is "test", the other three are "train" (chosen by name, before any model was trained).
A recording without a speaker (a noise, a room) is split by its own name in the same way.

Synthetic voices:
    espeak    an accent or a variant held out holds out every voice that uses it; accents en-gb-scotland and variants
              f4, m3, linda, edward, edward2 are "test"; accent en-gb-x-gbclan and variants f2, m7, belinda, adam are
              "dev" (test wins where a voice mixes both); the rest are "train".
    flite     awb, a Scot, is never trained on, though other voices of his synthesiser are: "test". kal, kal16 and rms
              are "train".
              slt is "assistant": the voice the system answers in, never a user's.
    pico      both voices are "train".
    festival  every voice is "dev": a synthesiser that training never hears, for development.
"""

from __future__ import annotations

import hashlib
from typing import Literal

from duologue.errors import DataError

Split = Literal["train", "dev", "test"]
VoiceSplit = Literal["train", "dev", "test", "assistant"]

TRAIN_SHARE = 0.80
DEV_SHARE = 0.08
FSDD_TEST = frozenset({"fsdd_nicolas"})
ESPEAK_TEST_ACCENTS = frozenset({"en-gb-scotland"})
ESPEAK_TEST_VARIANTS = frozenset({"f4", "m3", "linda", "edward", "edward2"})
ESPEAK_DEV_ACCENTS = frozenset({"en-gb-x-gbclan"})
ESPEAK_DEV_VARIANTS = frozenset({"f2", "m7", "belinda", "adam"})
FLITE_TEST = frozenset({"awb", "awb_time"})
ASSISTANT = "slt"


def speaker_split(speaker: str) -> Split:
    """The split of a real speaker, named as in the manifests ("sc_0c540988", "ls_1034", "fsdd_lucas").

    Raises:
        DataError: the name is empty.
    """
    if not speaker:
        raise DataError("a recording has no speaker, so it cannot be split; give its own path as the name instead")
    if speaker.startswith("fsdd_"):
        return "test" if speaker in FSDD_TEST else "train"
    place = int.from_bytes(hashlib.sha1(speaker.encode()).digest()[:8]) / 2**64
    if place < TRAIN_SHARE:
        return "train"
    return "dev" if place < TRAIN_SHARE + DEV_SHARE else "test"


def voice_split(engine: str, name: str) -> VoiceSplit:
    """The split of a synthetic voice: ("espeak", "en-us+f4") -> "test", ("flite", "slt") -> "assistant".

    Raises:
        DataError: the engine is not one of espeak, flite, festival, pico.
    """
    if engine == "festival":
        return "dev"
    if engine == "flite":
        if name == ASSISTANT:
            return "assistant"
        return "test" if name in FLITE_TEST else "train"
    if engine == "pico":
        return "train"
    if engine != "espeak":
        raise DataError(f"no synthesiser is called {engine!r}; it is one of espeak, flite, festival, pico")
    accent, _, variant = name.lower().rpartition("/")[2].partition("+")
    if accent in ESPEAK_TEST_ACCENTS or variant in ESPEAK_TEST_VARIANTS:
        return "test"
    return "dev" if accent in ESPEAK_DEV_ACCENTS or variant in ESPEAK_DEV_VARIANTS else "train"
