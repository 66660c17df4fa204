"""Systems that are measured beside a model and rest on what measures it: the domain's text, its synthesisers.

They are found by name in `systems.registry`, which does not import them: what talks stays free of the GPL.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from duologue.audio.vad import speech_bounds
from duologue.data import flite
from duologue.data.splits import ASSISTANT
from duologue.data.spoken import RATE
from duologue.data.voices import Voice
from duologue.errors import ModelError
from duologue.systems.cascade.config import CascadeConfig, Domain, Energy, Espeak, Pocketsphinx, read
from duologue.systems.cascade.energy import EnergyDetector
from duologue.systems.cascade.silero import SileroDetector
from duologue.systems.cascade.stages import Answerer, Recognizer, Synthesizer, VoiceDetector
from duologue.systems.cascade.system import CascadeSystem
from duologue.systems.oracle import OracleSystem
from duologue.systems.playback import Sound


def oracle() -> OracleSystem:
    """The ceiling, in the voice from which the assistant's was learned."""
    return OracleSystem(say, ASSISTANT)


@lru_cache(maxsize=4096)
def say(text: str) -> Sound:
    """A text in the assistant's synthetic voice, from its first sound to its last.

    Raises:
        DataError: flite is not installed, or does not say the text.
    """
    spoken = flite.speak(text, Voice(engine="flite", name=ASSISTANT))
    start, end = speech_bounds(spoken.pcm, RATE) or (0.0, spoken.duration)
    return Sound(spoken.pcm, spoken.words).part(start, end, RATE)


def cascade(file: str = "") -> CascadeSystem:
    """The cascade of a file, or the one in the box.

    Raises:
        ConfigError: the file is missing or wrong.
        ModelError: a package or a model of a stage is missing.
    """
    return build(read(Path(file).expanduser()) if file else CascadeConfig())


def build(config: CascadeConfig) -> CascadeSystem:
    """A cascade of these stages; raises ModelError where a package or a model of a stage is missing."""
    try:
        return CascadeSystem(
            _detector(config),
            _recognizer(config),
            _answerer(config),
            _synthesizer(config),
            config.endpointing,
            config.name,
        )
    except ModuleNotFoundError as error:
        line = f"the cascade {config.name} needs the package {error.name}; pip install 'duologue[eval,synth]' brings it"
        raise ModelError(line) from error


def _detector(config: CascadeConfig) -> VoiceDetector:
    if isinstance(config.detector, Energy):
        return EnergyDetector(config.detector.above)
    return SileroDetector()


def _recognizer(config: CascadeConfig) -> Recognizer:
    if isinstance(config.recognizer, Pocketsphinx):
        from duologue.eval.stages import DomainRecognizer

        return DomainRecognizer()
    from duologue.systems.cascade.pretrained import PretrainedRecognizer

    return PretrainedRecognizer(config.recognizer.model)


def _answerer(config: CascadeConfig) -> Answerer:
    if isinstance(config.answerer, Domain):
        from duologue.eval.stages import DomainAnswerer

        return DomainAnswerer()
    from duologue.systems.cascade.pretrained import ChatAnswerer

    return ChatAnswerer(config.answerer.model, config.answerer.instructions, config.answerer.longest)


def _synthesizer(config: CascadeConfig) -> Synthesizer:
    if isinstance(config.synthesizer, Espeak):
        from duologue.eval.stages import EspeakSynthesizer

        return EspeakSynthesizer(config.synthesizer.voice, config.synthesizer.rate)
    from duologue.systems.cascade.pretrained import PretrainedSynthesizer

    stage = config.synthesizer
    return PretrainedSynthesizer(stage.model, stage.vocoder, stage.speaker)
