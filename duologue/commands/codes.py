"""A recording as codec tokens in a file: safetensors with the codes and all it takes to read them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from duologue.atomic import atomic
from duologue.codec.base import CodecCard
from duologue.errors import DataError

FORMAT = "duologue-codes-1"


@dataclass(frozen=True)
class Codes:
    """One recording.

    Attributes:
        codes: (books, frames) uint16; the last frames hold the silence that flushes the codec's delay.
        samples: length of the recording at the codec's rate.
        codec: the card of the codec that made them.
        weights: fingerprint of that codec's weights.
    """

    codes: NDArray[np.uint16]
    samples: int
    codec: CodecCard
    weights: str

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            DuologueError: it cannot be written.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import save_file

        card = self.codec.model_dump_json()
        metadata = {"format": FORMAT, "samples": str(self.samples), "codec": card, "weights": self.weights}
        with atomic(path) as temporary:
            try:
                save_file({"codes": np.ascontiguousarray(self.codes)}, temporary, metadata)
            except SafetensorError as error:
                raise DataError(f"cannot write {path}: {error}; nothing was kept") from error

    @classmethod
    def load(cls, path: Path) -> Codes:
        """Read a file that `save` wrote.

        Raises:
            DataError: it is missing, truncated or not such a file.
        """
        from pydantic import ValidationError
        from safetensors import SafetensorError, safe_open

        if not path.is_file():
            raise DataError(f"{path}: no such file; give codes that `duologue codec encode` wrote")
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != FORMAT:
                    raise DataError(f"{path} holds no codes; give a file that `duologue codec encode` wrote")
                card = CodecCard.model_validate_json(metadata["codec"])
                codes, samples, weights = file.get_tensor("codes"), int(metadata["samples"]), metadata["weights"]
        except (OSError, SafetensorError, KeyError, ValueError, ValidationError) as error:
            raise DataError(f"{path} is truncated or damaged; encode the recording again") from error
        shape = (card.books, frames(samples, card))
        if codes.shape != shape or codes.dtype != np.uint16 or codes.max(initial=0) >= card.cardinality:
            raise DataError(f"{path} is damaged: its codes do not fit its own description {shape}; encode it again")
        return cls(codes, samples, card, weights)

    def require(self, codec: CodecCard, weights: str, path: Path) -> None:
        """Make sure that a codec can read these codes.

        Raises:
            DataError: they were made by another codec.
        """
        if (self.codec, self.weights) != (codec, weights):
            made, given = f"{self.codec.name} {self.weights}", f"{codec.name} {weights}"
            raise DataError(f"{path} was encoded with {made}, and this codec is {given}; name the first with --codec")


def frames(samples: int, codec: CodecCard) -> int:
    """Frames of codes that hold `samples` and the silence that pushes the last of them out of the decoder."""
    return -(-(samples + codec.delay_samples) // codec.hop)
