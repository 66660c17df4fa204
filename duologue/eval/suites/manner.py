"""The manner suite: what becomes of how something is said? The same words, whispered, in haste, loudly, by others.

A case is one question said in several manners that differ in one thing, each in a conversation of its own.

    right         whether the reply is still right, beside that to the first manner, which is plain
    follows       Pearson's correlation, over the manners of a case, of the user's F0 (median, in octaves), pace
                  (syllables a second), level (dBFS) or voicing (share that is voiced) with the reply's; 0 where all
                  replies are alike (a tenth of what makes users differ), not measured where the users are
    by chance     the control: of all the ways to deal the replies out anew to the manners, the share in which they
                  follow as well; a half where nothing follows, and with five manners 1 in 120 at the least

A codec says back what it hears, so there the same figures tell how much of a manner survives it; with how alike the
speakers are before and after (SECS), and the RMSE of F0. Every model's codec is judged beside the model.

Your own cases: one audio a manner, the plain one first; facts {"turn": {"reply": "in the kitchen"}} as in `answers`.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from math import factorial
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from duologue.audio.augment import gain, speech_level
from duologue.audio.files import load
from duologue.data import domain
from duologue.data.recordings import Recordings
from duologue.data.splits import ESPEAK_DEV_ACCENTS, ESPEAK_TEST_ACCENTS, voice_split
from duologue.data.synthesize import speak
from duologue.data.voices import NORMAL_PITCH, NORMAL_RATE, Voice, voices
from duologue.errors import DataError
from duologue.eval.converse import Say, converse
from duologue.eval.metrics import RATE, Pcm
from duologue.eval.prosody import Prosody, compare_f0, correlation, prosody
from duologue.eval.recognize import domain_recognizer, general_recognizer
from duologue.eval.speakers import similarity
from duologue.eval.suites.base import Case, Mark, Measure, Outcome, Suite, Value
from duologue.eval.suites.measures import mean, percent
from duologue.eval.suites.turn import Turn, turn_of
from duologue.eval.truth import heard_truly
from duologue.systems.base import System
from duologue.systems.coders import CoderSystem
from duologue.systems.oracle import expect
from duologue.systems.registry import is_named

PACES = {"plain": NORMAL_RATE, "slow": 105, "slower than plain": 140, "faster than plain": 220, "fast": 280}
PITCHES = {"plain": NORMAL_PITCH, "low": 15, "lower than plain": 32, "higher than plain": 68, "high": 85}
LEVELS = {"plain": -26.0, "soft": -46.0, "softer than plain": -36.0, "louder than plain": -21.0, "loud": -16.0}  # dBFS
WHISPERS = {"plain": "", "whispered": "+whisper", "by a woman": "+f3", "whispered by a woman": "+whisperf"}
SPEAKERS = 5
ORDERS = 720
_SPREADS = {"f0": 0.08, "pace": 0.3, "level": 2.0, "voicing": 0.15}
"""Standard deviations over a case's manners (octaves, syllables a second, dB, share) below which they are alike."""
_MOVES = 0.1  # of those: replies that differ less say the same, and how they differ is their synthesiser's rounding


class MannerSuite(Suite):
    """What becomes of how something is said, in the content of the reply and in its prosody."""

    name = "manner"
    title = "Manner: is it heard how things are said?"
    default_cases = 3
    principal = ("right", "f0_follows", "f0_by_chance", "pace_follows", "level_follows", "voicing_follows")
    measures: ClassVar[tuple[Measure, ...]] = (
        percent("right", "right in text", over="asked"),
        percent("right_spoken", "right as spoken", over="asked", recognised=True, beside="right_true"),
        percent("right_true", "true speech, same judge", recognised=True, better=None),
        percent("right_plain", "right in text, said plainly"),
        *(
            measure
            for name, title in (("f0", "F0"), ("pace", "pace"), ("level", "level"), ("voicing", "voicing"))
            for measure in (
                mean(f"{name}_follows", f"{title} follows"),
                mean(f"{name}_by_chance", f"{title} by chance", better=None),
            )
        ),
        mean("secs", "SECS"),
        mean("f0_rmse", "F0 RMSE", 0, "lower", unit="cents"),
    )  # fmt: skip

    @cached_property
    def recordings(self) -> Recordings | None:
        """People saying single words, where there are any."""
        return Recordings(self.speech, self.split) if self.speech else None

    def subjects(self, systems: Sequence[str]) -> Sequence[str]:
        """The systems, and the codecs inside those that are models."""
        return list(dict.fromkeys([*systems, *(f"codec:{name}" for name in systems if not is_named(name))]))

    def families(self) -> dict[str, str]:
        known = {
            "pace": "from slow to fast",
            "pitch": "from low to high",
            "level": "from soft to loud",
            "whisper": "aloud and whispered",
            "speakers": f"by {SPEAKERS} held-out synthetic voices",
        }
        return known | ({"people": f"a single word, by {SPEAKERS} held-out people"} if self._shared_words else {})

    def draw(self, family: str, index: int) -> Case:
        rng = np.random.default_rng([zlib.crc32(family.encode()), zlib.crc32(self.split.encode()), index])
        if family == "people":
            word = list(self._shared_words)[index % len(self._shared_words)]
            paths = self._shared_words[word]
            chosen = rng.permutation(len(paths))[:SPEAKERS].tolist()
            return _case(family, index, domain.understand(word), {f"speaker {n}": load(paths[n]) for n in chosen})
        exchange = domain.sample(rng, self.split, held="none")
        while exchange.history or not exchange.reply:
            exchange = domain.sample(rng, self.split, held="none")
        voice = self._voices(rng)[0]
        if family == "level":
            plain = speak(exchange.user, voice).pcm
            said = {name: np.clip(gain(plain, db - speech_level(plain)), -1, 1) for name, db in LEVELS.items()}
        else:
            manners = {
                "pace": lambda: {name: voice.model_copy(update={"rate": rate}) for name, rate in PACES.items()},
                "pitch": lambda: {name: voice.model_copy(update={"pitch": pitch}) for name, pitch in PITCHES.items()},
                "whisper": lambda: {name: self._of_accent(variant) for name, variant in WHISPERS.items()},
                "speakers": lambda: {one.speaker: one for one in self._voices(rng)[:SPEAKERS]},
            }[family]()
            said = {name: speak(exchange.user, one).pcm for name, one in manners.items()}
        return _case(family, index, exchange, said)

    def hold(self, case: Case, system: System, seed: int = 0) -> Outcome:
        if not case.audio:
            raise DataError(f"case {case.name} has no audio; it needs one a manner, the plain one first")
        if isinstance(system, CoderSystem):
            return _survives(case, system)
        turn = turn_of(case)
        held = [_ask(system, name, pcm, turn, seed) for name, pcm in case.audio.items()]
        values: dict[str, Value] = {"asked": len(held)}
        if turn.reply:
            recognizer = domain_recognizer() if turn.key else general_recognizer()
            transcripts = [recognizer.transcribe(one.sound) for one in held]
            values |= {
                "right": sum(turn.right(one.text) for one in held),
                "right_spoken": sum(map(turn.right, transcripts)),
                "right_true": turn.right(heard_truly(turn.reply, recognizer)),
                "right_plain": turn.right(held[0].text),
            }
        values |= _follows(list(case.audio.values()), [one.sound for one in held])
        detail = {"user": turn.user, "reply": turn.reply, "replies": {one.name: one.text for one in held}}
        marks, audio = _joined(held)
        return Outcome(values, detail, marks, audio)

    def _voices(self, rng: np.random.Generator) -> list[Voice]:
        """The held-out voices that do not whisper, mixed."""
        held = [one for one in voices("espeak") if voice_split("espeak", one.name) == self.split and not one.whisper]
        if len(held) < SPEAKERS:
            raise DataError(f"this machine lacks synthetic voices of the {self.split} split; install espeakng-loader")
        return [held[place] for place in rng.permutation(len(held))]

    def _of_accent(self, variant: str) -> Voice:
        accent = min(ESPEAK_TEST_ACCENTS if self.split == "test" else ESPEAK_DEV_ACCENTS)
        return Voice(engine="espeak", name=accent + variant)

    @cached_property
    def _shared_words(self) -> dict[str, list[Path]]:
        """The words of people that are a question and were said by enough speakers: one recording of each."""
        found: dict[str, dict[str, Path]] = {}
        for speakers in (self.recordings.words if self.recordings else {}).values():
            for speaker, said in sorted(speakers.items()):
                for path, word in sorted(said):
                    found.setdefault(word, {}).setdefault(speaker, path)
        enough = {word: list(by.values()) for word, by in sorted(found.items()) if len(by) >= SPEAKERS}
        return {word: paths for word, paths in enough.items() if domain.understand(word).reply}


@dataclass(frozen=True)
class _Held:
    """One manner: the conversation (2, T), the user's and the reply's seconds in it, its words and its sound."""

    name: str
    audio: Pcm
    user: tuple[float, float]
    replied: tuple[float, float] | None
    text: str
    sound: Pcm


def _case(family: str, index: int, exchange: domain.Exchange, said: dict[str, Pcm]) -> Case:
    return Case(family, f"{family}/{index}", said, {"turn": Turn.of(exchange).fact()})


def _ask(system: System, name: str, pcm: Pcm, turn: Turn, seed: int) -> _Held:
    expect(system, [turn.cue(pcm)])
    record = converse(system, [Say(pcm)], seed)
    span = record.reply_sound(0)
    sound = np.zeros(0, np.float32) if span is None else record.reply(span)
    return _Held(name, record.audio, record.sounds[0], span, record.text(record.turn(0)), sound)


def _survives(case: Case, system: CoderSystem) -> Outcome:
    before, after = list(case.audio.values()), [system.play(pcm).pcm for pcm in case.audio.values()]
    values = _follows(before, after)
    pairs = list(zip(before, after, strict=True))
    alike = [cosine for pair in pairs if (cosine := similarity(*pair)) is not None]
    matches = [match for pair in pairs if (match := compare_f0(*pair))]
    values["secs"] = float(np.mean(alike)) if alike else None
    values["f0_rmse"] = float(np.mean([match.rmse for match in matches])) if matches else None
    audio = np.stack([np.concatenate(before), np.concatenate(after)])
    return Outcome(values, {"manners": list(case.audio)}, audio=audio)


def _follows(users: Sequence[Pcm], replies: Sequence[Pcm]) -> dict[str, Value]:
    """Correlations of what users do with what replies do, and in how many ways of dealing them out they are as high."""
    found = [(prosody(user), prosody(reply)) for user, reply in zip(users, replies, strict=True)]
    heard = [(_features(one), _features(other)) for one, other in found if one is not None and other is not None]
    values: dict[str, Value] = {}
    for place, (feature, spread) in enumerate(_SPREADS.items()):
        pairs = np.array([(one[place], other[place]) for one, other in heard])
        pairs = pairs[np.isfinite(pairs).all(1)] if len(pairs) else np.zeros((0, 2))
        if len(pairs) >= 3 and pairs[:, 0].std() >= spread:
            asked, replied = pairs.T
            moves = replied.std() >= _MOVES * spread
            values[f"{feature}_follows"] = correlation(asked, replied) if moves else 0.0
            values[f"{feature}_by_chance"] = _by_chance(asked, replied) if moves else 0.5
    return values


def _by_chance(asked: NDArray[np.float64], replied: NDArray[np.float64]) -> float:
    """The share of all orders of the replies (of many, of `ORDERS` drawn ones) that correlate as well; ties by half."""
    rng = np.random.default_rng(0)
    few = factorial(len(replied)) <= ORDERS
    orders = permutations(replied) if few else (rng.permutation(replied) for _ in range(ORDERS))
    found = np.array([correlation(asked, np.array(order)) for order in orders])
    given = correlation(asked, replied)
    return float(np.mean(found > given + 1e-9) + np.mean(np.abs(found - given) <= 1e-9) / 2)


def _features(said: Prosody) -> NDArray[np.float64]:
    """In the order of `_SPREADS`; a whisper has no F0."""
    return np.array([np.nan if said.f0 is None else np.log2(said.f0), said.pace, said.level, said.voicing])


def _joined(held: Sequence[_Held]) -> tuple[list[Mark], Pcm]:
    """All conversations of a case one after the other, (2, T)."""
    marks, start = [], 0.0
    for one in held:
        marks.append(Mark(channel="user", start=start + one.user[0], end=start + one.user[1], label=one.name))
        if one.replied is not None:
            first, last = one.replied
            marks.append(Mark(channel="system", start=start + first, end=start + last, label=one.text))
        start += one.audio.shape[1] / RATE
    return marks, np.concatenate([one.audio for one in held], axis=1)
