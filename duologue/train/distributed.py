"""Data parallelism under torchrun: every process holds the whole model and its own share of each batch."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from duologue.errors import ConfigError, DeviceError

BUCKET = 1 << 23
"""Elements that travel in one message (32 MB of float32)."""


@dataclass(frozen=True)
class World:
    """This process among those of the run."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this process writes files, validates and speaks to the user."""
        return self.rank == 0


def world() -> World:
    """Read this process's place from torchrun's environment; alone where there is none.

    Raises:
        ConfigError: a variable that torchrun sets is not a number.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    try:
        rank, size, local_rank = (int(os.environ.get(name, size)) for name, size in zip(names, "010", strict=True))
    except ValueError as error:
        raise ConfigError(f"{', '.join(names)} must be whole numbers: {error}; let torchrun set them") from error
    return World(rank, size, local_rank)


def device_for(wanted: str) -> torch.device:
    """Turn "auto", "cpu" or "cuda" into this process's device.

    Raises:
        DeviceError: "cuda" was asked for and is not there, or this machine has fewer GPUs than processes.
    """
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise DeviceError("device cuda was asked for, but PyTorch sees no GPU; use device=cpu or install a CUDA build")
    local = world().local_rank
    if local >= torch.cuda.device_count():
        raise DeviceError(f"process {local} has no GPU of its own ({torch.cuda.device_count()} here); start fewer")
    return torch.device("cuda", local)


def start(device: torch.device) -> World:
    """Join the process group (gloo on CPU, nccl on GPU) if torchrun started us and nobody joined yet."""
    here = world()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if here.size > 1 and not dist.is_initialized():
        # The others wait while the first process validates or makes data, and the limit must outlast the longest. They
        # need none to notice its death: torchrun ends them.
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(days=7))
        atexit.register(_leave)
    return here


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def parallel() -> bool:
    """Whether there is more than one process to agree with."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def barrier() -> None:
    """Wait for all processes."""
    if parallel():
        dist.barrier()


@contextmanager
def first_alone() -> Iterator[None]:
    """A block for making files: the first process goes through it alone, then the others, who find all made."""
    first = world().first
    if not first:
        barrier()
    yield
    if first:
        barrier()


def total(tensor: Tensor) -> Tensor:
    """Sum `tensor` over all processes in place and return it; for statistics such as a codebook's use."""
    if parallel():
        dist.all_reduce(tensor)
    return tensor


def mean(tensor: Tensor) -> Tensor:
    """Average `tensor` over all processes in place and return it."""
    return total(tensor).div_(dist.get_world_size()) if parallel() else tensor


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Average the gradients over all processes; one that a process lacks counts there as zero."""
    if not parallel():
        return
    present = torch.tensor([p.grad is not None for p in parameters], dtype=torch.int32, device=parameters[0].device)
    dist.all_reduce(present, dist.ReduceOp.MAX)
    gradients = []
    for parameter, somewhere in zip(parameters, present.tolist(), strict=True):
        if somewhere:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
    _in_buckets(gradients, mean)


def synchronise(module: nn.Module) -> None:
    """Give every process the first one's weights and buffers."""
    if parallel():
        _in_buckets([p.data for p in module.parameters()], _from_first)
        synchronise_buffers(module)


def synchronise_buffers(module: nn.Module) -> None:
    """Give every process the first one's buffers, so that what a forward pass updates stays one and the same."""
    if parallel():
        _in_buckets(list(module.buffers()), _from_first)


def _from_first(tensor: Tensor) -> Tensor:
    dist.broadcast(tensor, 0)
    return tensor


@torch.no_grad()
def _in_buckets(tensors: Iterable[Tensor], collective: Callable[[Tensor], Tensor]) -> None:
    """Run an in-place collective over `tensors`, few large messages instead of many small ones."""
    kinds: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        kinds.setdefault(tensor.dtype, []).append(tensor)
    for group in kinds.values():
        bucket: list[Tensor] = []
        for tensor in group:
            if bucket and sum(t.numel() for t in bucket) + tensor.numel() > BUCKET:
                _flat(bucket, collective)
                bucket = []
            bucket.append(tensor)
        _flat(bucket, collective)


def _flat(bucket: list[Tensor], collective: Callable[[Tensor], Tensor]) -> None:
    flat = collective(torch.cat([t.reshape(-1) for t in bucket]))
    for tensor, part in zip(bucket, torch.split(flat, [t.numel() for t in bucket]), strict=True):
        tensor.copy_(part.view_as(tensor))
