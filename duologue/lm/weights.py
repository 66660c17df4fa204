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
    if not path.is_file():
        raise ModelError(f"{path} is missing; a model folder holds config.json, model.safetensors and tokenizer.json")
    try:
        weights = unpack(load_file(path))
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is truncated or no safetensors file ({error}); copy it again") from error
    expected = module.state_dict()
    for name in sorted(expected.keys() ^ weights.keys()):
        where = "is not in the file" if name in expected else "is not in the model that config.json describes"
        raise ModelError(f"{path} does not fit config.json: {name} {where}")
    for name, tensor in weights.items():
        if tensor.shape != expected[name].shape:
            shapes = f"{tuple(tensor.shape)} in the file, {tuple(expected[name].shape)} by config.json"
            raise ModelError(f"{path} does not fit config.json: {name} is {shapes}")
    module.load_state_dict(weights)
