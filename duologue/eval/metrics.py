"""What is measured, and how sure it is: word errors, intelligibility, quality, latency, codebook use, intervals.

Nothing here is clipped, censored or skipped: a negative latency is a reply that began too early, an empty transcript
counts every word as deleted, and a mean of nothing is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import jiwer
import numpy as np
import pystoi
from numpy.typing import ArrayLike, NDArray

from duologue.audio.vad import speech_bounds
from duologue.errors import AudioError, DataError

Pcm = NDArray[np.float32]

RATE = 16000
SILENCE_DBFS = -50.0  # 10 ms that are softer than this are not a sound one answers with


@dataclass(frozen=True)
class Errors:
    """Edits that turn references into hypotheses; `words` is the length of the references (or its characters)."""

    substitutions: int
    deletions: int
    insertions: int
    words: int

    @property
    def rate(self) -> float:
        """Errors per reference word; over 1 where more was inserted than there was to say."""
        return (self.substitutions + self.deletions + self.insertions) / self.words


def word_errors(references: Sequence[str], hypotheses: Sequence[str]) -> Errors:
    """Edits in words (WER) over all pairs of lower-case sentences.

    Raises:
        DataError: the lists differ in length, are empty, or a reference is empty.
    """
    return _errors(jiwer.process_words, references, hypotheses)


def character_errors(references: Sequence[str], hypotheses: Sequence[str]) -> Errors:
    """Edits in characters (CER), spaces included; raises as `word_errors`."""
    return _errors(jiwer.process_characters, references, hypotheses)


def _errors(process: Any, references: Sequence[str], hypotheses: Sequence[str]) -> Errors:
    if len(references) != len(hypotheses) or not references or not all(map(str.strip, references)):
        raise DataError(
            f"{len(references)} references for {len(hypotheses)} hypotheses; an error rate needs as many of both, "
            "at least one, and no empty reference"
        )
    out = process(list(references), list(hypotheses))
    return Errors(out.substitutions, out.deletions, out.insertions, out.hits + out.substitutions + out.deletions)


def stoi(clean: Pcm, degraded: Pcm) -> float:
    """Short-time objective intelligibility of (T,) at 16 kHz, about 0 to 1 (Taal et al. 2011).

    Raises:
        AudioError: the lengths differ, or there are less than about 0.4 s of speech to judge.
    """
    _same_length(clean, degraded)
    if speech_bounds(clean) is None or len(clean) < 0.4 * RATE:
        raise AudioError(f"STOI needs 0.4 s of speech; {len(clean) / RATE:.2f} s were given, perhaps silent")
    return float(pystoi.stoi(clean, degraded, RATE))


def pesq(clean: Pcm, degraded: Pcm) -> float:
    """Wide-band PESQ of (T,) at 16 kHz, 1.04 to 4.64 (ITU-T P.862.2).

    Raises:
        AudioError: the lengths differ, or no speech is found in one of the signals.
    """
    import pesq as pesq_itu  # compiles C on installation, and what trains needs other measures of this module alone

    _same_length(clean, degraded)
    if not (clean.any() and degraded.any()):
        raise AudioError("PESQ compares two sounds; one of these is silent")
    try:
        return float(pesq_itu.pesq(RATE, clean, degraded, "wb"))
    except pesq_itu.PesqError as error:
        raise AudioError(f"PESQ finds no speech to judge in {len(clean) / RATE:.2f} s of audio") from error


def _same_length(clean: Pcm, degraded: Pcm) -> None:
    if clean.shape != degraded.shape or clean.ndim != 1:
        raise AudioError(f"two signals of one length are compared, (T,) each, not {clean.shape} and {degraded.shape}")


def sound_bounds(pcm: Pcm) -> tuple[float, float] | None:
    """Seconds of the first and after the last sound of a system in (T,), or None where it is silent.

    Speech by its energy, with hiss below -50 dBFS taken for silence however even it is.
    """
    if len(pcm) == 0:
        return None
    blocks = np.pad(pcm, (0, -len(pcm) % 160)).reshape(-1, 160)
    if np.sqrt(np.square(blocks, dtype=np.float64).mean(1)).max() < 10 ** (SILENCE_DBFS / 20):
        return None
    return speech_bounds(pcm)


def response_latency(user: Pcm, reply: Pcm) -> float | None:
    """Seconds from the end of the user's last sound to the onset of the reply, both (T,) at 16 kHz on one time line.

    Negative where the reply began before the user had ended. None where either is silent.
    """
    asked, answered = speech_bounds(user), sound_bounds(reply)
    return None if asked is None or answered is None else answered[0] - asked[1]


@dataclass(frozen=True)
class BookUse:
    """How one codebook is used: the share of its codes that occur, and 2 to the entropy of their distribution."""

    use: float
    perplexity: float


def codebook_use(codes: ArrayLike, size: int) -> list[BookUse]:
    """The use of each book in codes (books, frames) with values in 0..size-1.

    Raises:
        DataError: there are no frames, or a code is out of range.
    """
    table = np.asarray(codes)
    if table.ndim != 2 or table.shape[1] == 0 or table.min() < 0 or table.max() >= size:
        raise DataError(f"codes have shape {table.shape}; wanted (books, frames) with values in 0..{size - 1}")
    books = []
    for row in table:
        share = np.bincount(row, minlength=size) / len(row)
        entropy = -float((share[share > 0] * np.log2(share[share > 0])).sum())
        books.append(BookUse(float((share > 0).mean()), 2**entropy))
    return books


def percentile(values: Iterable[float], q: float) -> float:
    """The q-th percentile (0 to 100), linear between neighbours.

    Raises:
        DataError: there are no values.
    """
    found = np.asarray(list(values), float)
    if not found.size:
        raise DataError("a percentile of no values; measure at least one case")
    return float(np.percentile(found, q))


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95% interval, from `count` cases."""

    value: float
    low: float
    high: float
    count: int

    def text(self, scale: float = 1.0, digits: int = 1) -> str:
        """The figure as it is printed: "85.2 [81.0, 89.1]"."""
        return f"{self.value * scale:.{digits}f} [{self.low * scale:.{digits}f}, {self.high * scale:.{digits}f}]"


def bootstrap(values: ArrayLike, statistic: Any = np.mean, draws: int = 2000, seed: int = 0) -> Interval:
    """A statistic of cases with its 95% percentile-bootstrap interval (Efron 1979).

    Args:
        values: one number a case (n,), or a row a case (n, k) that stays together: a WER resamples (errors, words).
        statistic: takes samples and the keyword `axis`, along which the cases lie; `ratio` is the one for rates.
        draws: how often the cases are drawn again, with replacement.
        seed: of the draws, so that a table can be made again.

    Raises:
        DataError: there are no cases.
    """
    cases = np.asarray(values, float)
    if not len(cases):
        raise DataError("an interval of no cases; measure at least one")
    rng = np.random.default_rng(seed)
    drawn = statistic(cases[rng.integers(0, len(cases), (draws, len(cases)))], axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(float(statistic(cases, axis=0)), float(low), float(high), len(cases))


def bootstrap_clusters(
    clusters: Sequence[NDArray[np.float64]], statistic: Any = np.mean, draws: int = 2000, seed: int = 0
) -> Interval:
    """As `bootstrap`, of clusters of cases (n_i,) or (n_i, k) that are drawn again as wholes.

    Raises:
        DataError: there are no cases.
    """
    if not clusters:
        raise DataError("an interval of no cases; measure at least one")
    rng = np.random.default_rng(seed)
    picks = rng.integers(0, len(clusters), (draws, len(clusters)))
    drawn = [statistic(np.concatenate([clusters[pick] for pick in some]), axis=0) for some in picks]
    low, high = np.percentile(drawn, [2.5, 97.5])
    cases = np.concatenate(clusters)
    return Interval(float(statistic(cases, axis=0)), float(low), float(high), len(cases))


def ratio(rows: NDArray[np.float64], axis: int = 0) -> NDArray[np.float64]:
    """Sum of the first column over sum of the second, (..., n, 2): a rate over all cases, long ones counting more."""
    hits, tried = np.moveaxis(rows.sum(axis), -1, 0)
    rate: NDArray[np.float64] = hits / tried
    return rate


def share(hits: Iterable[bool], count: int | None = None) -> Interval:
    """The share of cases that hold, with the 95% interval of Wilson (1927): right at 0, at 1 and for few cases too.

    Args:
        hits: of independent cases.
        count: how many cases they stand for, where several are one case asked again.

    Raises:
        DataError: there are no cases.
    """
    cases = [bool(hit) for hit in hits]
    n = len(cases)
    if not n:
        raise DataError("a share of no cases; measure at least one")
    p, z = sum(cases) / n, 1.959964
    centre, spread = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low, high = max(0.0, float((centre - spread) / scale)), min(1.0, float((centre + spread) / scale))
    return Interval(p, low, high, count or n)
