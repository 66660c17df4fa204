"""Quantisers: residual quantisation with three kinds of codebook, one of them finite scalar quantisation.

Latents are (B, T, dim), codes (B, books, T) int64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

CodebookKind = Literal["ema", "normalized", "fsq"]


class Quantized(NamedTuple):
    """What a quantiser makes of latents (B, T, dim)."""

    latent: Tensor
    """(B, T, dim): the nearest codes, with the gradient of the input (straight through)."""
    codes: Tensor
    """(B, books, T) int64."""
    loss: Tensor
    """Scalar: what pulls encoder and codes together; zero in evaluation."""
    first: Tensor
    """(B, T, dim): what the first book alone says of the latent, straight through as well."""


def _sum_over_ranks(x: Tensor) -> Tensor:
    if dist.is_initialized():
        dist.all_reduce(x)
    return x


def _of_first_rank(x: Tensor) -> Tensor:
    if dist.is_initialized():
        dist.broadcast(x, 0)
    return x


class Codebook(nn.Module):
    """`size` codes of `dim` numbers. Knows how often each is used; revives those that nothing chooses any more."""

    share: Tensor
    REVIVE_BELOW = 0.1
    """A code is dead when it is chosen this many times less often than the average code."""

    def __init__(self, size: int, dim: int, decay: float) -> None:
        super().__init__()
        self.size, self.dim, self.decay = size, dim, decay
        self.register_buffer("share", torch.full((size,), 1 / size))

    @property
    def usage(self) -> float:
        """Part of the codes that is alive (0 to 1)."""
        return float((self.share > self.REVIVE_BELOW / self.size).float().mean())

    @property
    def perplexity(self) -> float:
        """exp(entropy) of the codes' use: `size` when all are used alike."""
        p = self.share / self.share.sum()
        return float(torch.exp(-(p * torch.log(p.clamp_min(1e-12))).sum()))

    def nearest(self, x: Tensor) -> Tensor:
        """The codes (N,) int64 nearest to `x` (N, dim)."""
        raise NotImplementedError

    def encode(self, latents: Tensor) -> Tensor:
        """The codes (...) of latents (..., any dim); for books that quantise in a space of their own, through that."""
        return self.nearest(latents)

    def lookup(self, codes: Tensor) -> Tensor:
        """The vectors (..., dim) of codes (...)."""
        raise NotImplementedError

    def assign(self, codes: Tensor, vectors: Tensor) -> None:
        """Replace `codes` (M,) by `vectors` (M, dim)."""
        raise NotImplementedError

    @torch.no_grad()
    def fit(self, x: Tensor, rounds: int = 12) -> None:
        """Start from data: k-means on `x` (N, dim), N at least `size`."""
        centres = x[torch.linspace(0, len(x) - 1, self.size, device=x.device).long()].clone()
        every = torch.arange(self.size, device=x.device)
        for _ in range(rounds):
            self.assign(every, centres)
            one_hot = F.one_hot(self.nearest(x), self.size).to(x.dtype)
            counts = one_hot.sum(0)
            centres = torch.where(counts[:, None] > 0, one_hot.T @ x / counts.clamp_min(1)[:, None], centres)
        self.share.copy_(counts / counts.sum())
        self.assign(every, _of_first_rank(centres))

    @torch.no_grad()
    def track(self, x: Tensor, codes: Tensor) -> None:
        """Count how `x` (N, dim) chose `codes` (N,), and give dead codes a vector of this batch.

        The batch is random already, so evenly spaced vectors of it will do: no generator's state to keep.
        """
        counts = _sum_over_ranks(torch.bincount(codes, minlength=self.size).to(self.share.dtype))
        self.share.lerp_(counts / counts.sum(), 1 - self.decay)
        self._learn(x, codes, counts)
        dead = (self.share < self.REVIVE_BELOW / self.size).nonzero()[:, 0][: len(x)]
        if len(dead):
            vectors = _of_first_rank(x[torch.linspace(0, len(x) - 1, len(dead), device=x.device).long()].clone())
            self.share[dead] = 1 / self.size
            self.assign(dead, vectors)

    def _learn(self, x: Tensor, codes: Tensor, counts: Tensor) -> None:
        """Move the codes towards what chose them, where that is not the gradient's work."""


class EMACodebook(Codebook):
    """Codes that are the moving average of what chose them (van den Oord et al., 2017, appendix A)."""

    total: Tensor

    def __init__(self, size: int, dim: int, decay: float = 0.99) -> None:
        super().__init__(size, dim, decay)
        self.register_buffer("vectors", torch.randn(size, dim))
        self.register_buffer("total", cast(Tensor, self.vectors) / size)

    def nearest(self, x: Tensor) -> Tensor:
        vectors = cast(Tensor, self.vectors)
        return torch.argmax(x @ vectors.T - 0.5 * vectors.square().sum(-1), -1)

    def lookup(self, codes: Tensor) -> Tensor:
        return F.embedding(codes, cast(Tensor, self.vectors))

    def assign(self, codes: Tensor, vectors: Tensor) -> None:
        cast(Tensor, self.vectors)[codes] = vectors
        self.total[codes] = vectors * self.share[codes, None]

    def _learn(self, x: Tensor, codes: Tensor, counts: Tensor) -> None:
        sums = _sum_over_ranks(torch.zeros_like(self.total).index_add_(0, codes, x))
        self.total.lerp_(sums / counts.sum(), 1 - self.decay)
        cast(Tensor, self.vectors).copy_(self.total / self.share.clamp_min(1e-9)[:, None])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`x` (N, dim) -> its codes' vectors with straight-through gradient, codes (N,), commitment loss."""
        codes = self.nearest(x.detach())
        chosen = self.lookup(codes)
        loss = F.mse_loss(x, chosen)
        if self.training:
            self.track(x.detach(), codes)
        return x + (chosen - x).detach(), codes, loss


class NormalizedCodebook(Codebook):
    """Codes on the unit sphere of a small space, learned by gradient (factorised, l2-normalised).

    Yu et al., "Vector-quantized image modeling with improved VQGAN" (2022); Kumar et al., DAC (2023).
    """

    def __init__(self, size: int, dim: int, inner: int, decay: float = 0.99) -> None:
        super().__init__(size, inner, decay)
        self.shrink = nn.Linear(dim, inner)
        self.grow = nn.Linear(inner, dim)
        self.vectors = nn.Parameter(torch.randn(size, inner))

    def nearest(self, x: Tensor) -> Tensor:
        return torch.argmax(F.normalize(x, dim=-1) @ F.normalize(self.vectors, dim=-1).T, -1)

    def encode(self, latents: Tensor) -> Tensor:
        return self.nearest(self.shrink(latents))

    def lookup(self, codes: Tensor) -> Tensor:
        y: Tensor = self.grow(F.normalize(F.embedding(codes, self.vectors), dim=-1))
        return y

    @torch.no_grad()
    def assign(self, codes: Tensor, vectors: Tensor) -> None:
        self.vectors[codes] = F.normalize(vectors, dim=-1)

    def fit(self, x: Tensor, rounds: int = 12) -> None:
        with torch.no_grad():
            super().fit(F.normalize(self.shrink(x), dim=-1), rounds)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`x` (N, dim) -> its codes' vectors with straight-through gradient, codes (N,), codebook + commitment loss."""
        small = F.normalize(self.shrink(x), dim=-1)
        codes = self.nearest(small.detach())
        chosen = F.normalize(F.embedding(codes, self.vectors), dim=-1)
        loss = F.mse_loss(small, chosen.detach()) + 4 * F.mse_loss(chosen, small.detach())
        y: Tensor = self.grow(small + (chosen - small).detach())
        if self.training:
            self.track(small.detach(), codes)
        return y, codes, loss


class FSQ(nn.Module):
    """Finite scalar quantisation: each of `len(levels)` numbers is rounded to one of `levels[i]` values in [-1, 1].

    Mentzer et al., 2023. One book of prod(levels) codes; no codebook to learn, none to collapse.
    """

    levels: Tensor
    basis: Tensor

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        self.dim = len(levels)
        self.size = math.prod(levels)
        basis = [math.prod(levels[:i]) for i in range(len(levels))]
        self.register_buffer("levels", torch.tensor(levels), persistent=False)
        self.register_buffer("basis", torch.tensor(basis), persistent=False)

    def forward(self, latent: Tensor) -> Quantized:
        """Quantise latents (B, T, len(levels)), of any range: they are squashed by tanh."""
        half = (self.levels - 1) / 2
        position = (torch.tanh(latent) + 1) * half
        rounded = position + (position.round() - position).detach()
        codes = (rounded.detach().round().long() * self.basis).sum(-1)
        quantized = rounded / half - 1
        return Quantized(quantized, codes[:, None], latent.new_zeros(()), quantized)

    def encode(self, latent: Tensor) -> Tensor:
        """Latents (B, T, len(levels)) -> codes (B, 1, T)."""
        return self.forward(latent).codes

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (B, 1, T) -> latents (B, T, len(levels)) in [-1, 1]."""
        index = codes[:, 0, :, None] // self.basis % self.levels
        return index / ((self.levels - 1) / 2) - 1


class FSQCodebook(Codebook):
    """`FSQ` of a small space that latents are projected to and from by linear layers."""

    def __init__(self, levels: Sequence[int], dim: int, decay: float = 0.99) -> None:
        fsq = FSQ(levels)
        super().__init__(fsq.size, fsq.dim, decay)
        self.fsq = fsq
        self.shrink = nn.Linear(dim, fsq.dim)
        self.grow = nn.Linear(fsq.dim, dim)

    def encode(self, latents: Tensor) -> Tensor:
        return self.fsq.encode(self.shrink(latents).reshape(1, -1, self.dim)).view(latents.shape[:-1])

    def lookup(self, codes: Tensor) -> Tensor:
        y: Tensor = self.grow(self.fsq.decode(codes.reshape(1, 1, -1))[0])
        return y.view(*codes.shape, -1)

    @torch.no_grad()
    def fit(self, x: Tensor, rounds: int = 12) -> None:
        """Start from data: a projection to where it varies most, which fills the levels, and back by least squares."""
        mean = x.mean(0)
        _, spread, axes = torch.linalg.svd(x - mean, full_matrices=False)
        scale = spread[: self.dim].clamp_min(1e-9) / len(x) ** 0.5
        self.shrink.weight.copy_(axes[: self.dim] / scale[:, None])
        self.shrink.bias.copy_(-self.shrink.weight @ mean)
        codes = self.encode(x)
        said = F.pad(self.fsq.decode(codes[None, None])[0], (0, 1), value=1.0)
        solution = torch.linalg.lstsq(said, x).solution
        self.grow.weight.copy_(solution[:-1].T)
        self.grow.bias.copy_(solution[-1])
        for tensor in (*self.shrink.parameters(), *self.grow.parameters()):
            _of_first_rank(tensor)
        self.share.copy_(torch.bincount(codes, minlength=self.size) / len(codes))

    @torch.no_grad()
    def track(self, x: Tensor, codes: Tensor) -> None:
        """Count how `x` (N, dim) chose `codes` (N,); none has a vector of its own that could be revived."""
        counts = _sum_over_ranks(torch.bincount(codes, minlength=self.size).to(self.share.dtype))
        self.share.lerp_(counts / counts.sum(), 1 - self.decay)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`x` (N, dim) -> its codes' vectors with straight-through gradient, codes (N,), no loss of its own."""
        small = self.shrink(x)
        quantized = self.fsq(small[None])
        codes = quantized.codes[0, 0]
        if self.training:
            self.track(small.detach(), codes)
        return self.grow(quantized.latent[0]), codes, quantized.loss


class ResidualVQ(nn.Module):
    """Residual vector quantisation: each book codes what the books before it left (Zeghidour et al., 2021).

    Until `fit` has seen data the quantiser lets latents through as they are (with codes of an untrained book), so that
    an autoencoder can find its feet first. `inner` is the size of the space that "normalized" books quantise in;
    `levels`, whose product is `size`, are those of "fsq" books.
    """

    fitted: Tensor

    def __init__(
        self,
        dim: int,
        size: int = 1024,
        books: int = 4,
        kind: CodebookKind = "ema",
        inner: int = 8,
        decay: float = 0.99,
        levels: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.size = size
        make: dict[CodebookKind, Callable[[], Codebook]] = {
            "ema": lambda: EMACodebook(size, dim, decay),
            "normalized": lambda: NormalizedCodebook(size, dim, inner, decay),
            "fsq": lambda: FSQCodebook(levels, dim, decay),
        }
        self.books = nn.ModuleList(make[kind]() for _ in range(books))
        self.register_buffer("fitted", torch.tensor(False))

    def __iter__(self) -> Iterator[Codebook]:
        return iter(cast("list[Codebook]", list(self.books)))

    def forward(self, latent: Tensor) -> Quantized:
        """Quantise latents (B, T, dim)."""
        flat = residual = latent.reshape(-1, latent.shape[-1])
        if not self.fitted:
            return Quantized(latent, self.encode(latent), latent.new_zeros(()), latent)
        output = first = torch.zeros_like(flat)
        loss = flat.new_zeros(())
        codes: list[Tensor] = []
        for book in self.books:
            chosen, index, part = book(residual)
            residual = residual - chosen.detach()
            output = output + chosen
            if not codes:
                first = output
            loss = loss + part
            codes.append(index.view(latent.shape[:-1]))
        if isinstance(self.books[0], EMACodebook):
            # Each of these books passes the gradient on; the latent is to have it once, however many books there are.
            output = flat + (output - flat).detach()
        return Quantized(output.view_as(latent), torch.stack(codes, 1), loss, first.view_as(latent))

    @torch.no_grad()
    def fit(self, latents: Tensor) -> None:
        """Start every book from latents (N, dim) by k-means on what the books before it leave."""
        residual = latents
        for book in self:
            book.fit(residual)
            residual = residual - book.lookup(book.encode(residual))
        self.fitted.fill_(True)

    @torch.no_grad()
    def encode(self, latent: Tensor) -> Tensor:
        """Latents (B, T, dim) -> codes (B, books, T)."""
        residual = latent
        codes = []
        for book in self:
            index = book.encode(residual)
            residual = residual - book.lookup(index)
            codes.append(index)
        return torch.stack(codes, 1)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (B, K, T) of the first K <= books books -> latents (B, T, dim)."""
        parts = [book.lookup(index) for book, index in zip(self, codes.unbind(1), strict=False)]
        return torch.stack(parts).sum(0)

    def statistics(self) -> dict[str, float]:
        """Usage (0 to 1) and perplexity of each book, over the last 1 / (1 - decay) batches or so."""
        return {f"{name}_{k}": getattr(book, name) for k, book in enumerate(self) for name in ("usage", "perplexity")}
