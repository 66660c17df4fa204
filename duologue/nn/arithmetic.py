"""What this machine's arithmetic is good at, for those who may choose among precisions."""

from __future__ import annotations

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


def flush_denormals() -> None:
    """Let numbers too small for float32's full precision be zero: attention makes many, and each costs a hundredfold.

    It holds for this thread and those that it starts, so it comes before the first product of a process.
    """
    torch.set_flush_denormal(True)
