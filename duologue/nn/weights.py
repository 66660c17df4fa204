"""Weights on disk: safetensors in which large matrices may be stored as int8 with a scale for each row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from duologue.atomic import atomic
from duologue.errors import ModelError
from duologue.nn.int8 import SMALLEST, to_int8

SCALE = ".int8_scale"


def pack(weights: Mapping[str, Tensor], int8: tuple[str, ...]) -> dict[str, Tensor]:
    """Make weights small: float16, and int8 by row for the matrices whose name begins with one of `int8`."""
    packed: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if not tensor.is_floating_point():
            packed[name] = tensor.contiguous()
        elif name.startswith(int8) and tensor.dim() == 2 and tensor.numel() >= SMALLEST:
            packed[name], packed[name + SCALE] = to_int8(tensor)
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


def holds_int8(path: Path) -> bool:
    """Whether a safetensors file, which has been read before, holds weights that were packed as int8."""
    with safe_open(path, "pt") as file:
        names: list[str] = file.keys()
    return any(name.endswith(SCALE) for name in names)


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
