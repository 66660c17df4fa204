"""What was said, according to a recogniser that is not ours: pocketsphinx with a language model of the domain.

Its acoustic model (CMU en-us) and dictionary come in its wheel, so judging needs no network. It only knows the words it
is given and leans towards sentences of the domain: always report its error on true speech of the same sentences beside
any figure.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pocketsphinx

from duologue.data import domain
from duologue.errors import AudioError
from duologue.eval.ngram import NGram
from duologue.lm.words import words_of

Pcm = npt.NDArray[np.float32]
TimedWord = tuple[str, float, float]

RATE = 16000
FRAME_SECONDS = 0.01
PADDING_SECONDS = 0.25  # the recogniser's batch normalisation needs some silence around a short answer
SENTENCES = 4000  # that a language model of the domain is estimated from
log = logging.getLogger(__name__)


def normalize(text: str) -> str:
    """`text` as the recogniser spells it: lower-case words, numbers and signs spelled out, parted by one space.

    So does whatever is judged pass: "It's 42." of a language model, a user's own facts.
    """
    straight = re.sub("[\u2018\u2019]", "'", text)
    unquoted = re.sub(r"(?<!\w)'(.+?)'(?!\w)", r"\1", straight)
    return " ".join(word.rstrip("'") for word in words_of(unquoted))


@cache
def dictionary() -> dict[str, list[str]]:
    """CMUdict as pocketsphinx ships it: word -> its pronunciations in ARPABET, the usual one first."""
    entries: dict[str, list[str]] = {}
    path = Path(pocketsphinx.get_model_path("en-us/cmudict-en-us.dict"))
    for line in path.read_text().splitlines():
        word, _, phones = line.partition(" ")
        entries.setdefault(word.partition("(")[0], []).append(phones)
    return entries


@cache
def pronunciations(word: str) -> tuple[str, ...]:
    """ARPABET pronunciations of `word`: CMUdict's, else the one flite's letter-to-sound rules give, else none."""
    if word in dictionary():
        return tuple(dictionary()[word])
    if shutil.which("flite") is None:
        return ()
    spoken = subprocess.run(["flite", "-ps", "-t", word, "none"], capture_output=True, text=True, check=False).stdout
    phones = ["AH" if phone == "ax" else phone.upper() for phone in spoken.split() if phone != "pau"]
    return (" ".join(phones),) if phones else ()


class Recognizer:
    """A speech recogniser that expects sentences like `sentences` and can hear every word of them and of `words`.

    Can be sent to other processes; the decoder is built in each at first use.

    Attributes:
        missing: words with no known pronunciation, which it can therefore never hear.

    Raises:
        DataError: there are no sentences.
    """

    def __init__(self, sentences: Iterable[str], words: Iterable[str] = ()) -> None:
        self._decoder: pocketsphinx.Decoder | None = None
        lines = [normalize(sentence) for sentence in sentences]
        wanted = {word for text in (*lines, *words) for word in normalize(text).split()}
        lexicon = {word: pronunciations(word) for word in sorted(wanted)}
        self.missing = [word for word, spoken in lexicon.items() if not spoken]
        if self.missing:
            log.warning("no pronunciation is known, so these words cannot be heard: %s", " ".join(self.missing))
        self.words = [word for word, spoken in lexicon.items() if spoken]
        self._lexicon = "".join(
            f"{word}{f'({number})' if number > 1 else ''} {phones}\n"
            for word, spoken in lexicon.items()
            for number, phones in enumerate(spoken, 1)
        )
        self._arpa = NGram(lines, self.words).arpa()

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_decoder": None}

    def transcribe(self, pcm: Pcm) -> str:
        """The words of `pcm` ((T,) float32 in [-1, 1] at 16 kHz), "" where none were heard.

        Raises:
            AudioError: `pcm` is not one channel or holds NaN or infinity.
        """
        return " ".join(word for word, _, _ in self.transcribe_timed(pcm))

    def transcribe_timed(self, pcm: Pcm) -> list[TimedWord]:
        """The words of `pcm` with their start and end in seconds."""
        if pcm.ndim != 1 or not np.isfinite(pcm).all():
            raise AudioError(f"the recogniser wants one channel of finite samples, not shape {pcm.shape}")
        if not pcm.any():
            return []
        decoder = self._ready()
        padded = np.pad(pcm, round(PADDING_SECONDS * RATE))
        decoder.start_utt()
        decoder.process_raw((np.clip(padded, -1, 1) * 32767).astype("<i2").tobytes(), full_utt=True)
        decoder.end_utt()
        heard: list[TimedWord] = []
        for segment in decoder.seg() or ():
            word = segment.word.partition("(")[0]
            if word and not word.startswith(("<", "[")):
                start = segment.start_frame * FRAME_SECONDS - PADDING_SECONDS
                heard.append((word, max(0.0, start), (segment.end_frame + 1) * FRAME_SECONDS - PADDING_SECONDS))
        return heard

    def transcribe_many(self, clips: Sequence[Pcm], workers: int | None = None) -> list[str]:
        """`transcribe` for each clip, over `workers` processes (one a core where not given)."""
        workers = min(workers or os.cpu_count() or 1, len(clips))
        if workers <= 1:
            return [self.transcribe(clip) for clip in clips]
        # not fork: a parent that has run torch holds threads that a forked child would wait for
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, context, initializer=_install, initargs=(self,)) as pool:
            return list(pool.map(_transcribe, clips, chunksize=8))

    def _ready(self) -> pocketsphinx.Decoder:
        if self._decoder is None:
            self._decoder = self._make_decoder()
        return self._decoder

    def _make_decoder(self) -> pocketsphinx.Decoder:
        with tempfile.TemporaryDirectory() as folder:
            lexicon, arpa = Path(folder, "words.dict"), Path(folder, "domain.arpa")
            lexicon.write_text(self._lexicon)
            arpa.write_text(self._arpa)
            return _decoder(lexicon, arpa)


class GeneralRecognizer(Recognizer):
    """The recogniser as it comes, with its own model of everyday English: for speech outside the domain.

    It is slower and errs far more, on true speech too.
    """

    def __init__(self) -> None:
        self._decoder = None
        self.missing, self.words = [], list(dictionary())

    def _make_decoder(self) -> pocketsphinx.Decoder:
        model = Path(pocketsphinx.get_model_path("en-us"))
        return _decoder(model / "cmudict-en-us.dict", model / "en-us.lm.bin")


@cache
def domain_recognizer(sentences: int = SENTENCES) -> Recognizer:
    """A recogniser that expects the domain's replies, as training draws them, and knows all its words."""
    return _expecting("reply", sentences)


@cache
def question_recognizer() -> Recognizer:
    """A recogniser that expects what users of the domain say, as training draws it, and knows all its words."""
    return _expecting("user", SENTENCES)


@cache
def general_recognizer() -> Recognizer:
    """The recogniser of everyday English."""
    return GeneralRecognizer()


def _expecting(side: Literal["user", "reply"], sentences: int) -> Recognizer:
    rng = np.random.default_rng(0)
    lines: list[str] = []
    while len(lines) < sentences:
        lines += [getattr(exchange, side) for exchange in domain.dialogue(rng, "train", 3)]
        lines.append(getattr(domain.sample(rng, "train"), side))
    return Recognizer(filter(None, lines), domain.vocabulary())


def _decoder(lexicon: Path, model: Path) -> pocketsphinx.Decoder:
    acoustic = pocketsphinx.get_model_path("en-us/en-us")
    return pocketsphinx.Decoder(hmm=acoustic, dict=str(lexicon), lm=str(model), loglevel="FATAL")


_worker: Recognizer | None = None


def _install(recognizer: Recognizer) -> None:
    global _worker
    _worker = recognizer


def _transcribe(pcm: Pcm) -> str:
    assert _worker is not None
    return _worker.transcribe(pcm)
