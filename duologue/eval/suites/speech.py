"""The speech suite: does the reply say its own text, does it sound well, is it always the same voice, is it lively?

A case is a conversation of some questions; all that is judged is on the system's side of it.

    WER, CER       the text stream against what a recogniser that is not ours hears in the reply; beside it the same
                   recogniser's error on a synthesiser's speech of the right replies, and as "of true speech" that on
                   its speech of the system's own text, so what it misses by itself is seen
    DNSMOS         what listeners would say of all replies together (`quality.dnsmos`)
    one voice      similarity of the speakers of two replies of different words, and of all replies to the voice on the
                   system's card; beside them two clips of one held-out speaker, and of two (`speakers`)
    prosody        semitones between the lows and highs of F0, syllables a second

Your own cases: audio "question" ("question 2" …); for the calibration of voices "voice 1" and "voice 2" by one speaker,
"another voice" by another. No facts are needed; {"replies": […]} holds the right replies, which the oracle says. They
are heard by the recogniser of everyday English, drawn cases (facts "domain") by that of the domain.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import cached_property, lru_cache
from itertools import combinations
from typing import Any, ClassVar

import numpy as np

from duologue.data import domain
from duologue.data.splits import voice_split
from duologue.data.synthesize import speak
from duologue.data.voices import Voice, voices
from duologue.errors import DataError
from duologue.eval.clips import ClipDrawer
from duologue.eval.converse import Say, converse
from duologue.eval.metrics import RATE, Pcm, character_errors, word_errors
from duologue.eval.prosody import prosody
from duologue.eval.quality import clicks, clipped_share, dnsmos, silence_share
from duologue.eval.questions import QuestionDrawer
from duologue.eval.recognize import Recognizer, domain_recognizer, general_recognizer, normalize
from duologue.eval.speakers import embed, similarity, tellable
from duologue.eval.suites.base import Case, Measure, Outcome, Suite, Value
from duologue.eval.suites.marks import turn_marks
from duologue.eval.suites.measures import mean, percent
from duologue.eval.suites.turn import roles
from duologue.eval.truth import heard_truly
from duologue.systems.base import System, SystemCard
from duologue.systems.oracle import Cue, expect

QUESTIONS = 3
LONG_REPLY = 7  # words
EXCERPT = 3.0  # seconds of a person's reading, about as long as a reply
REFERENCE = "it is two and the day after monday is tuesday, please say it again and i will count to seven"
ANOTHER = 1000  # from a clip's number to that of another speaker's


def _rate(name: str, title: str, of: str, over: str = "words", recognised: bool = True, **more: Any) -> Measure:
    return Measure(name=name, title=title, kind="ratio", of=of, over=over, better="lower", recognised=recognised,
                   **{"unit": "%", "scale": 100, "digits": 1, **more})  # fmt: skip


class SpeechSuite(Suite):
    """The sound of what a system says."""

    name = "speech"
    title = "Speech: does it say its text, well, and in one voice?"
    default_cases = 6
    measures: ClassVar[tuple[Measure, ...]] = (
        percent("replied", "replied", over="asked"),
        _rate("wer", "WER of its text", "errors", beside="wer_replies"),
        _rate("substitutions", "of it substitutions", "substituted", beside="wer_replies"),
        _rate("deletions", "deletions", "deleted", beside="wer_replies"),
        _rate("insertions", "insertions", "inserted", beside="wer_replies"),
        _rate("cer", "CER", "character_errors", "characters", beside="cer_replies"),
        _rate("wer_true", "WER of true speech", "true_errors", beside="wer_replies"),
        _rate("wer_replies", "WER of true speech of the right replies", "reply_errors", "reply_words"),
        _rate("cer_replies", "CER of the same", "reply_character_errors", "reply_characters"),
        mean("dnsmos", "DNSMOS", of="overall"),
        mean("dnsmos_signal", "of the speech", of="signal"),
        mean("dnsmos_background", "of the background", of="background"),
        mean("silence", "silent inside", 1, "lower", unit="%", scale=100),
        _rate("clicks", "clicks", "clicks", "seconds", recognised=False, unit="a second", scale=1, digits=2),
        mean("clipped", "cut off", 2, "lower", unit="%", scale=100),
        mean("one_voice", "one voice"),
        mean("reference", "the card's voice"),
        mean("same", "one speaker, for comparison", better=None),
        mean("different", "two speakers", better=None),
        mean("range", "F0 range", 1, None, unit="semitones"),
        mean("pace", "pace", 1, None, unit="syllables a second"),
    )  # fmt: skip

    @cached_property
    def drawer(self) -> QuestionDrawer:
        """What draws the questions."""
        return QuestionDrawer(self.split, self.speech)

    @cached_property
    def clips(self) -> ClipDrawer:
        """What draws the clips of other speakers."""
        return ClipDrawer(self.split, self.speech)

    def families(self) -> dict[str, str]:
        return {
            "dialogue": "replies of all lengths, in dialogues whose questions lean on each other",
            "long": f"replies of {LONG_REPLY} words and more",
        }

    def draw(self, family: str, index: int) -> Case:
        if family == "dialogue":
            drawn = self.drawer.draw("context", index)
            exchanges, speech, voice = drawn.exchanges[:QUESTIONS], drawn.speech[:QUESTIONS], drawn.voice
        else:
            rng = np.random.default_rng([zlib.crc32(family.encode()), zlib.crc32(self.split.encode()), index])
            asker = self._voice(rng)
            exchanges = tuple(self._long(rng) for _ in range(QUESTIONS))
            speech, voice = tuple(speak(one.user, asker).pcm for one in exchanges), asker.key()
        audio = dict(zip(roles(len(speech)), speech, strict=True)) | self._calibration(index)
        facts = {
            "voice": voice,
            "domain": True,
            "users": [one.user for one in exchanges],
            "replies": [one.reply for one in exchanges],
        }
        return Case(family, f"{family}/{index}", audio, facts)

    def hold(self, case: Case, system: System, seed: int = 0) -> Outcome:
        questions = [case.audio[role] for role in roles(len(case.audio)) if role in case.audio]
        if not questions:
            raise DataError(f'case {case.name} has no audio "question"')
        users, replies = (case.facts.get(name, [""] * len(questions)) for name in ("users", "replies"))
        told = zip(questions, replies, users, strict=True)
        expect(system, [Cue(pcm, reply, words=user) for pcm, reply, user in told])
        record = converse(system, [Say(pcm) for pcm in questions], seed)
        spans = [record.reply_sound(index) for index in range(len(questions))]
        sounds = [record.reply(span) for span in spans if span is not None]
        texts = [record.text(record.turn(index)) for index in range(len(questions))]
        said = [text for text, span in zip(texts, spans, strict=True) if span is not None]
        recognizer = domain_recognizer() if case.facts.get("domain") else general_recognizer()
        heard = [recognizer.transcribe(record.reply(record.turn(index))) for index in range(len(questions))]
        values: dict[str, Value] = {"asked": len(questions), "replied": len(sounds)}
        values |= _words(texts, heard, recognizer) | _replies(replies, recognizer)
        values |= _sound(sounds) | _voice(sounds, said, system.card)
        if "another voice" in case.audio:
            values["same"] = similarity(case.audio["voice 1"], case.audio["voice 2"])
            values["different"] = similarity(case.audio["voice 1"], case.audio["another voice"])
        detail = {"voice": case.facts.get("voice"), "says": texts, "sounds like": heard}
        return Outcome(values, detail, turn_marks(record, users, texts), record.audio)

    def _voice(self, rng: np.random.Generator) -> Voice:
        held = [voice for voice in voices("espeak") if voice_split("espeak", voice.name) == self.split]
        if not held:
            raise DataError(f"this machine has no synthetic voice of the {self.split} split; install espeakng-loader")
        return held[int(rng.integers(len(held)))]

    def _long(self, rng: np.random.Generator) -> domain.Exchange:
        while True:
            exchange = domain.sample(rng, self.split, held="none")
            if len(exchange.reply.split()) >= LONG_REPLY and not exchange.history:
                return exchange

    def _calibration(self, index: int) -> dict[str, Pcm]:
        """Two clips of one held-out speaker and one of another: people by turns with synthetic voices."""
        if self.speech and index % 2:
            one, two = (self.clips.draw("reading", index + place).pcm for place in (0, 1))
            length = round(EXCERPT * RATE)
            first, second, other = one[:length], one[-length:], two[:length]
        else:
            clip = self.clips.draw("synthetic", index)
            engine, _, name = clip.voice.partition("/")
            again = self.clips.draw("assistant", index).text
            first, second = clip.pcm, speak(again, Voice.model_validate({"engine": engine, "name": name})).pcm
            place = next(n for n in range(index + 1, index + ANOTHER) if self._speaker(n) != clip.voice)
            other = self.clips.draw("synthetic", place).pcm
        return {"voice 1": first, "voice 2": second, "another voice": other}

    def _speaker(self, index: int) -> str:
        return self.clips.draw("synthetic", index).voice


def _words(texts: Sequence[str], heard: Sequence[str], recognizer: Recognizer) -> dict[str, Value]:
    """Edits from the text stream to what is heard, and from the same text to what is heard of true speech."""
    said = [(text, sound) for text, sound in zip(map(normalize, texts), heard, strict=True) if text]
    if not said:
        return {}
    words, characters = word_errors(*zip(*said, strict=True)), character_errors(*zip(*said, strict=True))
    true = word_errors([text for text, _ in said], [heard_truly(text, recognizer) for text, _ in said])
    return {
        "words": words.words,
        "errors": round(words.rate * words.words),
        "substituted": words.substitutions,
        "deleted": words.deletions,
        "inserted": words.insertions,
        "characters": characters.words,
        "character_errors": round(characters.rate * characters.words),
        "true_errors": round(true.rate * true.words),
    }


def _replies(replies: Sequence[str], recognizer: Recognizer) -> dict[str, Value]:
    """Edits from the right replies to what is heard of true speech of them."""
    told = [(text, heard_truly(text, recognizer)) for text in map(normalize, replies) if text]
    if not told:
        return {}
    words, characters = word_errors(*zip(*told, strict=True)), character_errors(*zip(*told, strict=True))
    return {
        "reply_words": words.words,
        "reply_errors": round(words.rate * words.words),
        "reply_characters": characters.words,
        "reply_character_errors": round(characters.rate * characters.words),
    }


def _sound(sounds: Sequence[Pcm]) -> dict[str, Value]:
    if not sounds:
        return {}
    joined = np.concatenate(sounds)
    opinion, said = dnsmos(joined), [found for sound in sounds if (found := prosody(sound)) is not None]
    ranges = [one.range for one in said if one.range is not None]
    return {
        "overall": opinion.overall,
        "signal": opinion.signal,
        "background": opinion.background,
        "seconds": len(joined) / RATE,
        "clicks": sum(map(clicks, sounds)),
        "silence": float(np.mean([silence_share(sound) for sound in sounds])),
        "clipped": clipped_share(joined),
        "range": float(np.mean(ranges)) if ranges else None,
        "pace": float(np.mean([one.pace for one in said])) if said else None,
    }


def _voice(sounds: Sequence[Pcm], texts: Sequence[str], card: SystemCard) -> dict[str, Value]:
    """How alike the replies' speakers are among each other, and to the voice that the card names.

    Of a system that says the same words again in the same sound, that would tell nothing.
    """
    spoken = zip(sounds, texts, strict=True)
    embedded = [(embed(sound), text) for sound, text in spoken if tellable(sound)]
    apart = [(one, other) for one, other in combinations(embedded, 2) if not one[1] or one[1] != other[1]]
    pairs = [float(one @ other) for (one, _), (other, _) in apart]
    reference = _reference(card.voices)
    together = np.concatenate(sounds) if sounds else np.zeros(0, np.float32)
    return {
        "one_voice": float(np.mean(pairs)) if pairs else None,
        "reference": None if reference is None else similarity(together, reference),
    }


@lru_cache(maxsize=8)
def _reference(names: tuple[str, ...]) -> Pcm | None:
    """Some seconds of the synthetic voice that a card names, as "slt" or "espeak/en-us"; None where it is no such."""
    found = (voice for name in names for voice in voices() if name in (voice.speaker, voice.name))
    voice = next(found, None)
    return None if voice is None else speak(REFERENCE, voice).pcm
