"""Where the time goes between the user's last sound and the reply's first, in a live conversation."""

from __future__ import annotations

from duologue.eval.converse import Record

AUDIO = {"endpoint": "waits for silence", "audio": "waits for more audio"}
"""What passes on the audio's own clock: the silence that tells a cascade that the turn is over, and the rest."""
MACHINE = {
    "recognition": "waits for the recogniser",
    "answer": "waits for the answer's text",
    "synthesis": "waits for the synthesiser",
    "computing": "waits for other computing",
}
"""What the machine adds to it: a cascade's stages, and the rest."""
PARTS = {**AUDIO, **MACHINE}


def waits(record: Record, index: int) -> dict[str, float]:
    """Seconds that the reply to a turn waited for each of `PARTS`; nothing where there was none.

    They add up to `latency + lag`. A stage counts as far as the reply waited for it: what is told of a stage that was
    done while a frame was still being heard belongs to that frame.
    """
    sound, latency = record.reply_sound(index), record.latency(index)
    if sound is None or latency is None:
        return {}
    told = record.stages((record.says[index][0], sound[0]))
    found = {}
    for whole, parts in ((latency, AUDIO), (record.lag(sound[0]), MACHINE)):
        *stages, rest = parts
        left = whole
        for stage in stages:
            if stage in told:
                found[stage] = min(told[stage], max(left, 0.0))
                left -= found[stage]
        found[rest] = left
    return found
