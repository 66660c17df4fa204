"""What commands ask of the files they are given before any work begins."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from duologue.errors import AudioError, ConfigError


class Header(NamedTuple):
    """Channels and seconds, as an audio file's header gives them."""

    channels: int
    duration: float


def header(path: Path) -> Header:
    """The header of an audio file that `audio.files` has opened before.

    Raises:
        AudioError: it is a pipe or a device, which cannot be read twice.
    """
    import soundfile

    if not path.is_file():
        raise AudioError(f'{path} is not a regular file; write it to one first, or pipe raw PCM into "duologue talk -"')
    info = soundfile.info(path)
    return Header(info.channels, info.duration)


def keep(given: Path | None, *targets: Path | None) -> None:
    """Refuse to write over what was given, or two things into one file.

    Raises:
        ConfigError: a target is the given file itself, or another target.
    """
    written: set[Path] = set()
    for target in targets:
        if target is None:
            continue
        if given and target.exists() and given.exists() and target.samefile(given):
            raise ConfigError(f"{target} would be overwritten; write somewhere else with -o")
        if target.resolve() in written:
            raise ConfigError(f"{target} would be written twice; name a file for each")
        written.add(target.resolve())
