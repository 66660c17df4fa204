"""Quantisers: codes that say what they stand for, learn, stay in use, and travel."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from duologue.nn.quantize import FSQ, EMACodebook, ResidualVQ

KINDS = ("ema", "normalized", "fsq")
LEVELS = {16: (4, 4), 32: (4, 4, 2)}


def quantizer(size: int, books: int, kind: str, **settings: float) -> ResidualVQ:
    levels = LEVELS[size] if kind == "fsq" else ()
    return ResidualVQ(8, size, books, kind, levels=levels, **settings)  # type: ignore[arg-type]


def clusters(count: int, n: int = 512, dim: int = 8, noise: float = 0.02) -> torch.Tensor:
    """(n, dim) vectors around `count` points."""
    generator = torch.Generator().manual_seed(1)
    centres = torch.randn(count, dim, generator=generator)
    picks = torch.randint(count, (n,), generator=generator)
    return centres[picks] + noise * torch.randn(n, dim, generator=generator)


@pytest.mark.parametrize("kind", KINDS)
def test_codes_decode_to_what_forward_returns(kind: str) -> None:
    rvq = quantizer(32, 3, kind).eval()
    x = clusters(100)
    rvq.fit(x)
    latents = x.view(4, 128, 8)
    latent, codes, _, first = rvq(latents)
    assert codes.shape == (4, 3, 128) and codes.dtype == torch.int64
    assert torch.equal(codes, rvq.encode(latents))
    torch.testing.assert_close(rvq.decode(codes), latent, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(rvq.decode(codes[:, :1]), first, atol=1e-5, rtol=1e-5)


def test_every_book_brings_the_latent_nearer() -> None:
    rvq = ResidualVQ(8, 64, 4).eval()
    x = torch.randn(1, 2000, 8)
    rvq.fit(x[0])
    codes = rvq.encode(x)
    errors = [float((rvq.decode(codes[:, :k]) - x).square().mean()) for k in (1, 2, 3, 4)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.5 * errors[0]


def test_before_it_is_fitted_latents_pass() -> None:
    rvq = ResidualVQ(8, 16, 2)
    x = torch.randn(2, 5, 8)
    assert torch.equal(rvq(x).latent, x)


def test_kmeans_finds_the_clusters() -> None:
    book = EMACodebook(16, 8)
    x = clusters(16, noise=0.0)
    book.fit(x, rounds=30)
    assert float((book.lookup(book.nearest(x)) - x).square().mean()) < 0.2
    assert book.usage > 0.6


@pytest.mark.parametrize("kind", KINDS)
def test_learns_from_batches_and_revives_dead_codes(kind: str) -> None:
    """The data moves away from where the books were fitted: they follow, and most codes stay in use."""
    torch.manual_seed(0)
    rvq = quantizer(32, 2, kind, decay=0.9)
    rvq.fit(clusters(32))
    moved = clusters(32) + (0.5 if kind == "fsq" else 5)  # what leaves the levels of FSQ is lost to it
    optimizer = torch.optim.Adam(rvq.parameters(), 1e-2) if kind != "ema" else None
    first = None
    for _ in range(150):
        latent, _, loss, _ = rvq(moved[None])
        error = (latent - moved).square().mean()
        first = first if first is not None else float(error.detach())
        if optimizer:
            optimizer.zero_grad()
            (loss + error).backward()
            optimizer.step()
    assert float(error.detach()) < (0.75 if kind == "fsq" else 0.1) * first
    statistics = rvq.statistics()
    assert statistics["usage_0"] > 0.5 and 8 < statistics["perplexity_0"] <= 32


def test_collapsed_book_comes_back() -> None:
    book = EMACodebook(32, 8, decay=0.8)
    book.vectors[1:] = 100.0  # nothing is ever nearest to these
    for _ in range(60):
        book(torch.randn(256, 8))
    assert book.usage > 0.9


def test_evaluation_changes_nothing() -> None:
    rvq = ResidualVQ(8, 16, 2)
    rvq.fit(clusters(16))
    rvq.eval()
    before = {name: tensor.clone() for name, tensor in rvq.state_dict().items()}
    rvq(torch.randn(2, 50, 8))
    assert all(torch.equal(tensor, before[name]) for name, tensor in rvq.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_passes_straight_through(kind: str) -> None:
    rvq = quantizer(16, 2, kind)
    rvq.fit(clusters(16))
    x = torch.randn(1, 20, 8, requires_grad=True)
    rvq(x).latent.sum().backward()
    assert x.grad is not None and float(x.grad.abs().mean()) > 0
    if kind == "ema":  # once, however many books there are
        torch.testing.assert_close(x.grad, torch.ones_like(x))


@settings(max_examples=20, deadline=None)
@given(levels=st.lists(st.integers(2, 9), min_size=1, max_size=5), seed=st.integers(0, 100))
def test_fsq_codes_are_a_bijection(levels: list[int], seed: int) -> None:
    fsq = FSQ(levels)
    every = torch.arange(fsq.size)[None, None]
    values = fsq.decode(every)
    assert values.abs().max() <= 1 and len(values[0].unique(dim=0)) == fsq.size
    x = torch.randn(2, 30, len(levels), generator=torch.Generator().manual_seed(seed))
    latent, codes, *_ = fsq(x)
    assert int(codes.min()) >= 0 and int(codes.max()) < fsq.size
    torch.testing.assert_close(fsq.decode(codes), latent)


def test_fsq_has_a_gradient() -> None:
    x = torch.zeros(1, 3, 2, requires_grad=True)
    FSQ([5, 5])(x).latent.sum().backward()
    assert x.grad is not None and torch.all(x.grad > 0)
