"""What a machine's arithmetic is asked for."""

from __future__ import annotations

import torch

from duologue.nn.arithmetic import fast_bf16, flushed_denormals


def test_a_processor_is_known_by_what_it_says_of_itself() -> None:
    named = {"avx512_bf16", "amx_bf16"}
    try:
        with open("/proc/cpuinfo") as lines:
            flags = next((set(line.split()) for line in lines if line.startswith("flags")), set())
    except OSError:
        flags = set()
    assert fast_bf16(torch.device("cpu")) == bool(named & flags)


def test_what_is_too_small_becomes_zero_and_only_meanwhile() -> None:
    small = torch.tensor([1e-39])
    with flushed_denormals():
        assert (small * 0.5).item() == 0
    assert (small * 0.5).item() > 0
