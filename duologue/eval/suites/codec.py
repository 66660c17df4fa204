"""The codec suite: what of speech comes back through a codec, as it runs in a call.

Every codec is a system that says back what it hears (`systems.coders`), streamed frame by frame; what came back is laid
over the original by the delay on its card, and `lag` shows what was wrong about that. Our codec stands beside Opus at
6 kbit/s, G.711 and Codec2 on the same held-out clips of synthetic voices and of people.

    PESQ-WB, STOI      quality and intelligibility beside the original (ITU-T P.862.2; Taal et al. 2011)
    mel distance       mean difference of log-mel spectra
    F0 RMSE, r         of the fundamental frequency, where both are voiced
    SECS               cosine of the speakers' embeddings before and after (Resemblyzer)
    delta WER          words that two recognisers get wrong after the codec, less those they get wrong before it
    model kbit/s       what a small language model needs for its tokens (`modelability`)
    RTF                computing per second of speech, on one thread

Where a codec gives back no sound, or no voice, of a clip that has one, its clip is not left out but counts as the worst
there is on each scale: PESQ 1.0 (what is heard at all has 1.04 or more), STOI 0, SECS 0, and of F0 a correlation of 0
and an RMSE as wide as the range in which F0 is looked for.

Your own cases: audio "clip"; facts {"text": "what is said in it"} if words are to be counted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np

from duologue.data.splits import Split
from duologue.errors import ConfigError
from duologue.eval.clips import Clip, ClipDrawer, Group
from duologue.eval.metrics import RATE, Pcm, codebook_use, pesq, sound_bounds, stoi, word_errors
from duologue.eval.modelability import TokenModel
from duologue.eval.prosody import HIGHEST, LOWEST, compare_f0
from duologue.eval.quality import lag, mel_distance
from duologue.eval.recognize import Recognizer, domain_recognizer, general_recognizer, normalize
from duologue.eval.speakers import similarity, tellable
from duologue.eval.suites.base import Case, Measure, Outcome, Suite, Value
from duologue.eval.suites.measures import mean
from duologue.systems.base import System
from duologue.systems.coders import CoderSystem, peers
from duologue.systems.registry import is_named

SHORTEST = 1.0  # seconds of a clip whose quality and intelligibility can be told
SILENT_PESQ = 1.0  # the foot of its scale
F0_RANGE = 1200 * math.log2(HIGHEST / LOWEST)  # cents
LEARNED = 150  # clips of training voices, some six minutes
APART = 5  # of so many voices the clips of one are not learned from: they tell how far the model is to be trusted
STEPS = 120  # of training the small language model


def _words(name: str, title: str, of: str, recognizer: str, better: Any = "lower", beside: str = "") -> Measure:
    how: dict[str, Any] = {"unit": "%", "scale": 100, "digits": 1, "recognised": True, "beside": beside}
    return Measure(name=name, title=title, kind="ratio", of=of, over=f"{recognizer}_words", better=better, **how)


class CodecSuite(Suite):
    """What a codec keeps of held-out speech."""

    name = "codec"
    title = "Codecs: what of speech comes back"
    default_cases = 4
    principal = ("pesq", "stoi", "delta_wer_domain", "delta_wer_general", "secs")
    measures: ClassVar[tuple[Measure, ...]] = (
        mean("pesq", "PESQ-WB"),
        mean("stoi", "STOI", 3),
        mean("mel", "mel distance", 1, "lower", unit="dB"),
        mean("f0_rmse", "F0 RMSE", 0, "lower", unit="cents"),
        mean("f0_correlation", "F0 correlation"),
        mean("secs", "SECS"),
        _words("delta_wer_domain", "delta WER, domain", "domain_added", "domain", beside="wer_domain"),
        _words("delta_wer_general", "delta WER, general", "general_added", "general", beside="wer_general"),
        _words("wer_domain", "WER of the original, domain", "domain_before", "domain", None),
        _words("wer_general", "WER of the original, general", "general_before", "general", None),
        Measure(name="kbps", title="bitrate", kind="ratio", of="bits", over="seconds", unit="kbit/s", scale=1e-3,
                digits=2, better="lower"),
        Measure(name="model_kbps", title="model needs", kind="ratio", of="model_bits", over="model_seconds",
                unit="kbit/s", scale=1e-3, digits=2, better="lower"),
        mean("codebook_use", "codes used", 0, unit="%", scale=100),
        mean("perplexity", "perplexity of a book", 0, None),
        mean("delay", "delay", 0, "lower", unit="ms"),
        mean("lag", "of it not on the card", 1, None, unit="ms"),
        Measure(name="rtf", title="RTF", kind="ratio", of="compute", over="seconds", digits=3, better="lower"),
    )  # fmt: skip

    def __init__(self, split: Split = "dev", speech: Path | None = None) -> None:
        super().__init__(split, speech)
        self._transcripts: dict[tuple[str, str], str] = {}

    def families(self) -> dict[str, str]:
        return {str(group): what for group, what in self.drawer.groups().items()}

    @cached_property
    def drawer(self) -> ClipDrawer:
        """What draws the clips."""
        return ClipDrawer(self.split, self.speech)

    def subjects(self, systems: Sequence[str]) -> Sequence[str]:
        """The codecs inside of models and those named themselves, then the peers that are installed."""
        ours = [name if is_named(name) else f"codec:{name}" for name in systems]
        named = [name for name in ours if name.startswith("codec:")]
        return list(dict.fromkeys([*named, *(f"codec:{name}" for name in peers())]))

    def draw(self, family: str, index: int) -> Case:
        clip = self.drawer.draw(cast(Group, family), index)
        # the domain's recogniser cannot know the words of a book
        facts = {"text": clip.text, "voice": clip.voice, "domain": family != "reading"}
        return Case(family, f"{family}/{index}", {"clip": clip.pcm}, facts)

    def hold(self, case: Case, system: System, seed: int = 0) -> Outcome:
        if not isinstance(system, CoderSystem):
            raise ConfigError(f"{system.card.name} is no codec; name one as codec:box, codec:FOLDER or codec:opus")
        before, back = case.audio["clip"], system.play(case.audio["clip"])
        after = back.pcm
        values: dict[str, Value] = {
            "bits": back.bits,
            "seconds": back.seconds,
            "compute": back.compute,
            "delay": system.card.latency_ms,
        }
        values |= _sound(before, after)
        detail: dict[str, Any] = {name: case.facts.get(name) for name in ("text", "voice")}
        text = normalize(case.facts.get("text", ""))
        if text:
            for name in ("domain", "general") if case.facts.get("domain") else ("general",):
                said, heard = self._transcript(name, case), _recognizer(name).transcribe(after)
                detail |= {f"{name}_before": said, f"{name}_after": heard}
                values |= _wer(name, text, said, heard)
        if system.tokens is not None:
            values |= _tokens(system, before)
        return Outcome(values, detail, audio=np.stack([before, after]))

    def _transcript(self, recognizer: str, case: Case) -> str:
        """What a recogniser hears in the original; once for all codecs."""
        key = recognizer, case.name
        if key not in self._transcripts:
            self._transcripts[key] = _recognizer(recognizer).transcribe(case.audio["clip"])
        return self._transcripts[key]


def _sound(before: Pcm, after: Pcm) -> dict[str, Value]:
    """What comparing two aligned sounds tells, as far as the first allows it; the worst where the second is silent."""
    values: dict[str, Value] = {"mel": mel_distance(before, after)}
    bounds, silent = sound_bounds(before), sound_bounds(after) is None
    if bounds is None:
        return values
    if not silent:
        values["lag"] = 1000 * lag(before, after)
    if tellable(before):
        values["secs"] = similarity(before, after) or 0.0
    if bounds[1] - bounds[0] >= SHORTEST:
        values["pesq"] = SILENT_PESQ if silent else pesq(before, after)
        values["stoi"] = 0.0 if silent else stoi(before, after)
    match = compare_f0(before, after)
    if match is not None:
        values |= {"f0_rmse": match.rmse, "f0_correlation": match.correlation}
    elif compare_f0(before, before) is not None:
        values |= {"f0_rmse": F0_RANGE, "f0_correlation": 0.0}
    return values


def _wer(name: str, text: str, before: str, after: str) -> dict[str, Value]:
    counts = [word_errors([text], [heard]) for heard in (before, after)]
    first, second = (round(one.rate * one.words) for one in counts)
    return {f"{name}_before": first, f"{name}_added": second - first, f"{name}_words": counts[0].words}


def _tokens(system: CoderSystem, clip: Pcm) -> dict[str, Value]:
    model, use, perplexity = _model(system)
    codes = system.encode(clip)
    bits = {"model_bits": model.bits(codes), "model_seconds": len(clip) / RATE}
    return {**bits, "codebook_use": use, "perplexity": perplexity}


@lru_cache(maxsize=4)
def _model(system: CoderSystem) -> tuple[TokenModel, float, float]:
    """A language model of a codec's tokens; the share of the codes in use and their perplexity, means over books.

    All are of the same clips of training voices, so that no case has to be long enough to show a book's use.
    """
    assert system.tokens is not None
    clips = _corpus()
    corpus = [system.encode(clip.pcm) for clip in clips]
    books = codebook_use(np.concatenate(corpus, axis=1), system.tokens.cardinality)
    use, perplexity = (float(np.mean(values)) for values in zip(*((b.use, b.perplexity) for b in books), strict=True))
    apart = set(sorted({clip.voice for clip in clips})[::APART])
    learned, others = (
        [codes for clip, codes in zip(clips, corpus, strict=True) if (clip.voice in apart) is held]
        for held in (False, True)
    )
    return TokenModel(system.tokens, learned, others, STEPS), use, perplexity


@lru_cache(maxsize=1)
def _corpus() -> list[Clip]:
    drawer = ClipDrawer("train")
    return [drawer.draw("synthetic", index) for index in range(LEARNED)]


def _recognizer(name: str) -> Recognizer:
    return domain_recognizer() if name == "domain" else general_recognizer()
