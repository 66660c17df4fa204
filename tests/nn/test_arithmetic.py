"""What a machine's arithmetic is asked for."""

from __future__ import annotations

import threading

import torch

from duologue.nn.arithmetic import fast_bf16, flush_denormals


def test_a_processor_is_known_by_what_it_says_of_itself() -> None:
    named = {"avx512_bf16", "amx_bf16"}
    try:
        with open("/proc/cpuinfo") as lines:
            flags = next((set(line.split()) for line in lines if line.startswith("flags")), set())
    except OSError:
        flags = set()
    assert fast_bf16(torch.device("cpu")) == bool(named & flags)


def test_what_is_too_small_becomes_zero_in_the_thread_that_asked() -> None:
    small, found = torch.tensor([1e-39]), []

    def work() -> None:
        flush_denormals()
        found.append((small * 0.5).item())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [0.0]
