"""What this machine's arithmetic is good at, for those who may choose among precisions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def fast_bf16(device: torch.device) -> bool:
    """Whether products of bfloat16 matrices are faster here than those of float32.

    A processor with neither AMX nor AVX-512 BF16 has to emulate them, which takes five times as long.
    """
    if device.type == "cpu":
        # PyTorch has no public question for this; where it cannot be asked, float32 is never wrong.
        asked = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
        return any(bool(ask()) for ask in asked if ask is not None)
    return device.type == "cuda" and torch.cuda.is_bf16_supported()


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Let numbers too small for float32's full precision be zero: attention makes many, and each costs a hundredfold.

    It holds for this thread, and those that it starts meanwhile keep it; so it comes before a process's first product.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)  # whoever else computes in this thread may count on them
