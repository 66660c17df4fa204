"""What a model was trained on, told from the data itself: for its card."""

from __future__ import annotations

from pathlib import Path

from duologue.data.manifest import read
from duologue.data.splits import speaker_split
from duologue.data.voices import Engine, Voice, voices

SYNTHETIC: dict[Engine, str] = {
    "espeak": "espeak-ng (the program is GPL-3.0, its sound is not)",
    "flite": "flite's kal, kal16 and rms (BSD-like)",
    "pico": "SVOX Pico's two voices (Apache-2.0)",
}


def trained_on(voice: Voice, speech: Path | None) -> tuple[str, ...]:
    """A line for each source of a run: the synthetic voices, then each corpus of the folder `speech` with its licence
    and how much of it lies in the training split.

    Raises:
        DataError: a manifest cannot be read.
    """
    users = ", ".join(said for engine, said in SYNTHETIC.items() if voices(engine))
    lines = [f"questions said by {users}", f"replies said by {voice.engine}'s {voice.name}, the model's own voice"]
    for path in sorted(speech.glob("*/manifest.jsonl")) if speech is not None else []:
        corpus = path.parent.name
        entries = [entry for entry in read(path) if entry.lang == "en"]
        speakers = {entry.speaker for entry in entries if entry.speaker}
        heard = {speaker for speaker in speakers if speaker_split(speaker) == "train"}
        sounds = [entry for entry in entries if entry.label in ("noise", "rir")]
        used = [entry for entry in sounds if speaker_split(f"{corpus}/{entry.path}") == "train"]
        licences = sorted({str((entry.model_extra or {}).get("license", "see its LICENSE")) for entry in entries})
        if heard:
            lines.append(f"{corpus}: {len(heard)} of {len(speakers)} speakers ({'; '.join(licences)})")
        elif used:
            lines.append(f"{corpus}: {len(used)} of {len(sounds)} noises or rooms ({'; '.join(licences)})")
    return tuple(lines)
