"""Checkpoints: written whole or not at all, the newest found again, the oldest removed.

A checkpoint is a folder `checkpoints/step-0001200` of a run with `model.safetensors`, `ema.safetensors` (the averaged
weights, where they are kept), `optimizer.pt` and `state.json`; the file `checkpoints/latest` names the newest.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from duologue.atomic import write_text
from duologue.errors import DuologueError, ModelError
from duologue.nn.weights import put_weights, read_tensors
from duologue.train.optim import Ema

Optimizers = Mapping[str, torch.optim.Optimizer]


def save(
    run: Path, state: Mapping[str, Any], modules: nn.Module, optimizers: Optimizers, ema: Ema | None, *, keep: int
) -> Path:
    """Write the checkpoint of `state["step"]` and remove all but the newest `keep`.

    Raises:
        DuologueError: the disk is full or not writable; the checkpoints before this one are untouched.
    """
    folder = run / "checkpoints"
    target = folder / name(state["step"])
    temporary = folder / f".{target.name}"
    try:
        shutil.rmtree(temporary, ignore_errors=True)  # what a killed run left
        temporary.mkdir(parents=True)
        _save_weights(modules, temporary / "model.safetensors")
        if ema is not None:
            with ema.applied():
                _save_weights(modules, temporary / "ema.safetensors")
        torch.save({key: optimizer.state_dict() for key, optimizer in optimizers.items()}, temporary / "optimizer.pt")
        extra = {"ema_updates": ema.updates} if ema is not None else {}
        (temporary / "state.json").write_text(json.dumps({**state, **extra}, indent=1))
        for file in temporary.iterdir():
            with file.open("rb+") as handle:  # a late disk-full error must come before the rename
                os.fsync(handle.fileno())
        if target.exists():
            shutil.rmtree(target)
        os.replace(temporary, target)
        write_text(folder / "latest", target.name + "\n")
    except (OSError, RuntimeError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        before = latest(run)
        kept = f"{before} is untouched" if before else "there is no earlier one"
        reason = str(error).splitlines()[0]
        raise DuologueError(f"cannot write checkpoint {target}: {reason}; {kept}; free space and run again") from error
    others = [path for path in steps(run) if path != target]
    for old in others[: max(0, len(others) - keep + 1)]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def name(step: int) -> str:
    """Return the folder name of the checkpoint of `step`."""
    return f"step-{step:07d}"


def steps(run: Path) -> list[Path]:
    """List the complete checkpoints of a run, oldest first."""
    return sorted((run / "checkpoints").glob("step-*"))


def latest(run: Path) -> Path | None:
    """Find the newest checkpoint of a run; None if there never was one.

    Raises:
        ModelError: `latest` names a checkpoint that is not there; going on from step 0 would hide the loss.
    """
    pointer = run / "checkpoints" / "latest"
    if pointer.exists():
        named = pointer.parent / pointer.read_text().strip()
        if not (named / "state.json").is_file():
            raise ModelError(f"{pointer} names {named.name}, which is not there; write another step's name into it")
        return named
    found = steps(run)
    return found[-1] if found else None


def load(path: Path, modules: nn.Module, optimizers: Optimizers, ema: Ema | None) -> dict[str, Any]:
    """Restore weights, averages and optimiser state from one checkpoint; return its `state`.

    Hyper-parameters (rates, betas, decay) stay as the optimisers were made, so that a changed recipe takes effect.

    Raises:
        ModelError: a file is missing or damaged, or does not fit the modules or optimisers.
    """
    state: dict[str, Any]
    try:
        state = json.loads((path / "state.json").read_text())
        saved = torch.load(path / "optimizer.pt", map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds for a damaged file
        hint = f"name an earlier step in {path.parent / 'latest'}"
        raise ModelError(f"cannot read checkpoint {path}: {_line(error)}; {hint}") from error
    if set(saved) != set(optimizers):
        held, wanted = ", ".join(sorted(saved)), ", ".join(sorted(optimizers))
        raise ModelError(f"{path} holds the optimisers {held}, the task has {wanted}; use a new folder")
    _load_file(modules, path / "model.safetensors")
    if ema is not None and (path / "ema.safetensors").exists():
        with ema.applied():
            _load_file(modules, path / "ema.safetensors")
        ema.updates = state["ema_updates"]
    elif ema is not None:  # averaging was turned on for the rest of the run
        ema.reset()
    for key, optimizer in optimizers.items():
        fresh = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
        try:
            optimizer.load_state_dict(saved[key])
        except (ValueError, KeyError) as error:
            raise ModelError(f"{path}: optimiser {key} does not fit: {_line(error)}; use a new folder") from error
        for group, values in zip(optimizer.param_groups, fresh, strict=True):
            group.update(values)
    return state


def load_weights(module: nn.Module, path: str | os.PathLike[str], *, prefix: str = "", averaged: bool = True) -> None:
    """Load the weights of a run (its newest checkpoint), one checkpoint folder or a safetensors file into `module`.

    Args:
        prefix: take only the weights under this name, such as "generator." of an adversarial task.
        averaged: prefer the moving average where the checkpoint has one.

    Raises:
        ModelError: there are no weights at `path`, or they do not fit.
    """
    place = Path(path)
    if (place / "checkpoints").is_dir():
        place = latest(place) or place
    if place.is_dir():
        average = place / "ema.safetensors"
        place = average if averaged and average.exists() else place / "model.safetensors"
    _load_file(module, place, prefix)


def _save_weights(modules: nn.Module, path: Path) -> None:
    # Each name gets a copy of its own, for safetensors refuses tensors that share memory (tied weights).
    save_file({name: t.detach().to("cpu", copy=True).contiguous() for name, t in modules.state_dict().items()}, path)


def _load_file(module: nn.Module, path: Path, prefix: str = "") -> None:
    if not path.is_file():
        raise ModelError(f"no weights at {path}; give a run folder, a checkpoint folder or a .safetensors file")
    tensors = {name.removeprefix(prefix): t for name, t in read_tensors(path).items() if name.startswith(prefix)}
    put_weights(tensors, module, f"{path} is of a model with another configuration: it")


def _line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
