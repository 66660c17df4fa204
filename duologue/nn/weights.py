"""Weights on disk: safetensors in which large matrices may be stored as int8 with a scale for each row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from duologue.atomic import atomic
from duologue.errors import ModelError

SCALE = ".int8_scale"
SMALLEST = 16_384  # values below which packing saves nothing worth an error


def pack(weights: Mapping[str, Tensor], int8: tuple[str, ...]) -> dict[str, Tensor]:
    """Make weights small: float16, and int8 by row for the matrices whose name begins with one of `int8`.

    A row's values are divided by its largest magnitude over 127 and rounded, an error below 0.4% of that magnitude.
    """
    packed: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if not tensor.is_floating_point():
            packed[name] = tensor.contiguous()
        elif name.startswith(int8) and tensor.dim() == 2 and tensor.numel() >= SMALLEST:
            scale = tensor.abs().amax(dim=1, keepdim=True).clamp_min(1e-12).half().float() / 127
            packed[name] = (tensor / scale).round().clamp(-127, 127).to(torch.int8)
            packed[name + SCALE] = scale
        else:
            packed[name] = tensor.half().contiguous()
    return packed


def unpack(packed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undo `pack`: all floating-point weights as float32."""
    weights: dict[str, Tensor] = {}
    for name, tensor in packed.items():
        if name.endswith(SCALE):
            continue
        if name + SCALE in packed:
            weights[name] = tensor.float() * packed[name + SCALE]
        else:
            weights[name] = tensor.float() if tensor.is_floating_point() else tensor
    return weights


def write_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write a safetensors file, whole or not at all."""
    with atomic(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, temporary)


def read_weights(path: Path, module: nn.Module) -> None:
    """Load a safetensors file, packed or not, into `module`.

    Raises:
        ModelError: the file is missing, truncated, or holds other tensors than the module.
    """
    put_weights(read_tensors(path), module, f"{path} does not fit config.json: it")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, unpacked.

    Raises:
        ModelError: the file is missing or truncated.
    """
    if not path.is_file():
        raise ModelError(f"{path} is missing; copy the whole folder again")
    try:
        return unpack(load_file(path))
    except (SafetensorError, OSError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ModelError(f"{path} is truncated or no safetensors file ({reason}); copy it again") from error


def put_weights(weights: Mapping[str, Tensor], module: nn.Module, where: str) -> None:
    """Load `weights` into `module`, which must have the very same tensors; `where` begins the line of an error.

    Raises:
        ModelError: a tensor is missing, unknown or of another shape.
    """
    wanted = module.state_dict()
    for kind, names in (("lacks", wanted.keys() - weights.keys()), ("has an unknown", weights.keys() - wanted.keys())):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ModelError(f"{where} {kind} {min(names)}{more}")
    for name, tensor in weights.items():
        if tensor.shape != wanted[name].shape:
            raise ModelError(f"{where} has {name} as {tuple(tensor.shape)}, not {tuple(wanted[name].shape)}")
    module.load_state_dict(dict(weights))
