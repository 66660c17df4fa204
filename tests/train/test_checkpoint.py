"""Checkpoints: which stay, how weights are found again, and what does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from duologue.errors import ModelError
from duologue.train import checkpoint
from duologue.train.optim import Ema, optimizer_for


class Tied(nn.Module):
    """One matrix under two names."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(5, width)
        self.out = nn.Linear(width, 5, bias=False)
        self.out.weight = self.embed.weight


def write(run: Path, net: Tied, step: int, keep: int = 2, ema: Ema | None = None) -> Path:
    return checkpoint.save(run, {"step": step}, net, {"all": optimizer_for(net, 1e-3)}, ema, keep=keep)


def test_keeps_the_newest(tmp_path: Path) -> None:
    net = Tied()
    for step in (1, 20, 300):
        write(tmp_path, net, step)
    assert [path.name for path in checkpoint.steps(tmp_path)] == ["step-0000020", "step-0000300"]
    newest = checkpoint.latest(tmp_path)
    assert newest is not None and newest.name == "step-0000300"
    (tmp_path / "checkpoints" / "latest").write_text("step-0000020\n")  # the user goes back
    assert checkpoint.latest(tmp_path) == tmp_path / "checkpoints" / "step-0000020"
    write(tmp_path, net, 25)
    assert [path.name for path in checkpoint.steps(tmp_path)] == ["step-0000025", "step-0000300"]
    assert checkpoint.latest(tmp_path) == tmp_path / "checkpoints" / "step-0000025"
    assert checkpoint.latest(tmp_path / "nothing") is None


def test_weights_come_back_from_run_checkpoint_or_file(tmp_path: Path) -> None:
    net = Tied()
    ema = Ema(net, 0.5)
    average = ema.shadow[0].clone()
    with torch.no_grad():
        net.embed.weight.add_(1.0)
    place = write(tmp_path, net, 7, ema=ema)
    for path in (tmp_path, place, place / "ema.safetensors"):
        fresh = Tied()
        checkpoint.load_weights(fresh, path)
        assert torch.equal(fresh.out.weight, average)
    checkpoint.load_weights(fresh, tmp_path, averaged=False)
    assert torch.equal(fresh.out.weight, net.embed.weight)
    part = nn.Embedding(5, 8)
    checkpoint.load_weights(part, tmp_path, prefix="embed.")
    assert torch.equal(part.weight, average)


def test_what_does_not_fit_is_one_line(tmp_path: Path) -> None:
    place = write(tmp_path, Tied(), 7)
    with pytest.raises(ModelError, match=r"embed.weight as \(5, 8\), not \(5, 4\)"):
        checkpoint.load_weights(Tied(4), tmp_path)
    with pytest.raises(ModelError, match=r"lacks bias"):
        checkpoint.load_weights(nn.Linear(8, 5), tmp_path, prefix="out.")
    with pytest.raises(ModelError, match=r"has an unknown embed\.weight and 1 more"):
        checkpoint.load_weights(nn.Module(), tmp_path)
    with pytest.raises(ModelError, match="no weights at"):
        checkpoint.load_weights(Tied(), tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="holds the optimisers all, the task has other"):
        checkpoint.load(place, Tied(), {"other": optimizer_for(Tied(), 1e-3)}, None)
    damaged = place / "model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.raises(ModelError, match="truncated"):
        checkpoint.load_weights(Tied(), tmp_path)


def test_a_changed_rate_takes_effect_on_resume(tmp_path: Path) -> None:
    net = Tied()
    place = write(tmp_path, net, 7)
    other = optimizer_for(net, 5e-2, betas=(0.5, 0.6))
    checkpoint.load(place, net, {"all": other}, None)
    assert {group["lr"] for group in other.param_groups} == {5e-2}
    assert {group["betas"] for group in other.param_groups} == {(0.5, 0.6)}
