"""A codec's codes on the frame grid of the model: all codes of 80 ms in one row, as they are heard in conversation."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from duologue.codec.base import Codec
from duologue.data.dialogues import FRAME, Pcm
from duologue.data.spoken import RATE
from duologue.errors import DataError


def codes_a_frame(codec: Codec) -> int:
    """Codes in a frame of 80 ms: the books of its codec frames, one codec frame after the other.

    Raises:
        DataError: the codec has another rate, or its frames do not fill 80 ms.
    """
    card = codec.card
    if card.sample_rate != RATE or FRAME % card.hop:
        frames = f"frames of {card.hop} samples at {card.sample_rate} Hz"
        raise DataError(f"the codec {card.name} has {frames}; to be heard they must divide {FRAME} at {RATE} Hz")
    return FRAME // card.hop * card.books


def encode_frames(codec: Codec, pcm: Pcm) -> NDArray[np.int64]:
    """The codes (F, codes a frame) of a user's channel (T,), T a multiple of 1280."""
    codes = codec.encode(torch.from_numpy(pcm)[None])[0]  # (books, codec frames)
    return codes.T.reshape(-1, codes_a_frame(codec)).numpy()


def codec_digest(folder: Path) -> str:
    """What tells one codec from another: a digest of the files in its folder that its codes depend on.

    Raises:
        DataError: the folder holds no codec.
    """
    digest = blake2b(digest_size=16)
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise DataError(f"{folder / name} is missing; a codec's folder holds config.json and model.safetensors")
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()
