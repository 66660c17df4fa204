"""How many conversations at once a server holds in real time: more and more talkers, until it breaks."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from duologue.audio.files import load
from duologue.audio.vad import speech_bounds
from serving.served import Served, percentile, since
from serving.talker import CHUNK, Talker, chunks

QUESTION = Path(__file__).parents[2] / "examples" / "question.wav"
PAUSE = 5.0  # seconds between two questions, for the reply
JOIN = 0.05  # seconds between two talkers who come
BORNE = 0.001  # share of late frames up to which a load is held
BROKEN = 0.05  # share beyond which more load is not tried

Level = dict[str, Any]


def script(question: Path = QUESTION, pause: float = PAUSE) -> tuple[list[str], int]:
    """The messages of a question and the pause after it, and how many of them there are up to its last sound."""
    pcm = load(question, 16000)
    _, end = speech_bounds(pcm) or (0.0, len(pcm) / 16000)
    return chunks(pcm, 16000, pause), math.ceil(end / CHUNK)


async def hold(
    url: str, key: str | None, count: int, seconds: float, warm: float, question: Path, served: Served | None
) -> Level:
    """`count` talkers at once: what they and the server saw in `seconds`, after `warm` more in which all are there."""
    loop, asked = script(question)
    golden = (5**0.5 - 1) / 2  # spreads what they say over time, however many they are
    talkers = [Talker(url, key, loop, asked, phase=index * golden % 1) for index in range(count)]
    begin = time.monotonic() + count * JOIN + warm
    end = begin + seconds
    runs: list[asyncio.Task[None]] = []
    for talker in talkers:
        runs.append(asyncio.create_task(talker.run(end + warm)))
        await asyncio.sleep(JOIN)
    await asyncio.sleep(max(0.0, begin - time.monotonic()))
    before = await asyncio.to_thread(served.counters) if served else {}
    await asyncio.sleep(max(0.0, end - time.monotonic()))
    after = await asyncio.to_thread(served.counters) if served else {}
    memory = served.memory() if served else None
    await asyncio.gather(*runs)
    level = {"conversations": count, "seconds": seconds, **_seen([talker.taken for talker in talkers], begin, end)}
    if served:
        level |= _counted(since(before, after)) | {"memory_mib": memory}
        level["added_ms"] = _spread([1000 * each for t in talkers for each in t.taken.added(begin, end)])
        if level["added_ms"] is not None:  # without the model's own share of it, the steps in which replies sounded
            own = level["reply_step_ms"]
            level["beyond_ms"] = {share: level["added_ms"][share] - own for share in ("p50", "p99")}
    level["held"] = not level["refused"] and level["reply_late_share"] < BORNE
    level["punctual"] = level["held"] and (level.get("step_late_share") or 0.0) < BORNE
    return level


def _seen(takes: Sequence[Any], begin: float, end: float) -> Level:
    counts = [taken.frames(begin, end) for taken in takes]
    frames, late = (sum(column) for column in zip(*counts, strict=True))
    errors: Counter[str] = sum((taken.errors for taken in takes), Counter())
    return {
        "reply_frames": frames,
        "reply_late": late,
        "reply_late_share": late / max(1, frames),
        "answer_ms": _spread([1000 * wait for taken in takes for came, wait in taken.waits if begin <= came < end]),
        "refused": sum(taken.refused for taken in takes),
        "errors": dict(errors),
    }


def _counted(told: dict[str, float]) -> Level:
    """What the server itself has counted, of all frames, whether or not anything was said in them."""
    frames, steps = told["duologue_frames_total"], told["duologue_step_seconds_count"]
    replies = told["duologue_reply_step_seconds_count"]
    own = [percentile(told, "duologue_added_latency_seconds", share) for share in (0.5, 0.99)]
    return {
        "step_frames": int(frames),
        "step_late": int(told["duologue_late_total"]),
        "step_late_share": told["duologue_late_total"] / max(1.0, frames),
        "filled_with_silence": int(told["duologue_silences_total"]),
        "step_ms": 1000 * told["duologue_step_seconds_sum"] / max(1.0, steps),
        "reply_step_ms": 1000 * told["duologue_reply_step_seconds_sum"] / max(1.0, replies),
        "rows_a_step": frames / max(1.0, steps),
        "waiting_for_step_ms": None if own[0] is None else {"p50": 1000 * own[0], "p99": 1000 * (own[1] or 0)},
    }


def _spread(milliseconds: Sequence[float]) -> dict[str, float] | None:
    """Median and 99th percentile; None without data."""
    if not milliseconds:
        return None
    p50, p99 = np.percentile(milliseconds, (50, 99))
    return {"p50": float(p50), "p99": float(p99), "count": len(milliseconds)}


def memory_of_one(levels: Sequence[Level]) -> float | None:
    """MiB that each more conversation costs, by a line through what the levels took."""
    points = [(level["conversations"], level["memory_mib"]) for level in levels if level.get("memory_mib")]
    if len(points) < 2:
        return None
    counts, memory = np.array(points).T
    return float(np.polyfit(counts, memory, 1)[0])


def capacity(levels: Sequence[Level], criterion: str = "held") -> int:
    """The largest load that was held (or "punctual": each step done in time as well), with all smaller ones."""
    best = 0
    for level in sorted(levels, key=lambda each: int(each["conversations"])):
        if not level[criterion]:
            break
        best = level["conversations"]
    return best
