"""A conversation to look at and listen to: two waveforms on one time line with its turns, and a player in the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from duologue.audio.files import load_channels
from duologue.eval.metrics import RATE, Pcm
from duologue.eval.suites.base import Mark

LONGEST = 40.0  # seconds that are shown and embedded; the file beside the report has all
COLUMNS = 360  # of a waveform
STEPS = (0.5, 1, 2, 5, 10, 20, 60)  # seconds between ticks
SIDES = ("user", "system")


class Room:
    """How much more audio may go into a section of the page."""

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, text: str) -> bool:
        """Whether a text still fits; if so its room is taken."""
        fits = len(text) <= self.left
        self.left -= len(text) if fits else 0
        return fits


def timeline(path: Path, marks: Sequence[Mark], room: Room) -> str:
    """The time line of a stereo file (user, system) as HTML, with its player where there is room for the sound.

    Raises:
        AudioError: the file is missing or damaged.
    """
    whole = load_channels(path, RATE)
    audio = whole[:, : round(LONGEST * RATE)]
    seconds = audio.shape[1] / RATE
    channels = "".join(
        f'<div class="channel {side}"><span class="side">{side}</span>{_waveform(pcm)}'
        f"{''.join(_mark(mark, seconds) for mark in marks if mark.channel == side and mark.start < seconds)}</div>"
        for side, pcm in zip(SIDES, audio, strict=True)
    )
    cut = (
        f'<p class="note">The first {LONGEST:.0f} s of {whole.shape[1] / RATE:.0f} s.</p>'
        if len(whole[0]) > len(audio[0])
        else ""
    )
    player = (
        f'<audio controls preload="none" src="data:audio/mpeg;base64,{base64.b64encode(mp3(audio)).decode()}"></audio>'
        if room.left
        else ""
    )
    if not player or not room.take(player):
        player = f'<p class="note">To be heard in <code>{escape(f"{path.parent.name}/{path.name}")}</code>.</p>'
    return (
        f'<figure class="talk" data-seconds="{seconds:.3f}"><div class="line">{channels}<i class="head"></i></div>'
        f'<div class="seconds">{_ticks(seconds)}</div>{player}{cut}</figure>'
    )


def mp3(audio: Pcm) -> bytes:
    """(2, T) at 16 kHz as MP3, which every browser plays."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(audio, -1, 1).T, RATE, format="MP3", subtype="MPEG_LAYER_III")
    return buffer.getvalue()


def _waveform(pcm: NDArray[np.float32]) -> str:
    """The span of the samples in each of `COLUMNS`, drawn in a box of COLUMNS x 100; louder than 0.1 to fit."""
    columns = np.array_split(pcm, COLUMNS)
    scale = max(0.1, float(np.abs(pcm).max(initial=0)))
    strokes = []
    for place, column in enumerate(columns):
        low, high = (float(edge(column)) if len(column) else 0.0 for edge in (np.min, np.max))
        top, size = round(50 - 46 * high / scale), max(1, round(46 * (high - low) / scale))
        strokes.append(f"M{place} {top}v{size}")
    return (
        f'<svg viewBox="0 0 {COLUMNS} 100" preserveAspectRatio="none" aria-hidden="true">'
        f'<path d="{"".join(strokes)}"/></svg>'
    )


def _mark(mark: Mark, seconds: float) -> str:
    left, right = (100 * min(max(time, 0.0), seconds) / seconds for time in (mark.start, mark.end))
    label = escape(mark.label, quote=True)
    times = f"{mark.start:.2f} to {mark.end:.2f} s"
    return (
        f'<span class="mark" style="left:{left:.2f}%;width:{max(right - left, 0.4):.2f}%" title="{label}, {times}">'
        f"{label}</span>"
    )


def _ticks(seconds: float) -> str:
    step = next((step for step in STEPS if seconds / step <= 8), STEPS[-1])
    times = np.arange(0, seconds * 0.97, step)
    return "".join(f'<span style="left:{100 * time / seconds:.2f}%">{time:g}&#8239;s</span>' for time in times)
