"""A program for torchrun: the speakers of a small curriculum; it notes which processes have synthesised."""

from __future__ import annotations

import sys
from pathlib import Path

from duologue.data import synthesize
from duologue.train import curriculum, distributed
from recipes.tiny import config


def main(folder: Path) -> None:
    rank = distributed.start(distributed.device_for("cpu")).rank
    write = synthesize._write_chunk

    def noted(chunk: synthesize._Chunk, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"made-by-{rank}").touch()
        write(chunk, folder)

    synthesize._write_chunk = noted
    codec, talker = config.codec.model_copy(update={"users": 10}), config.talker.model_copy(update={"replies": 10})
    users, voice = curriculum._speakers(config.model_copy(update={"codec": codec, "talker": talker}), folder, None)
    (folder / f"found-by-{rank}").write_text(f"{len(users)} {len(voice)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
