"""The transformer of every layout: a temporal one over frames, and a depth one over the books of a frame.

    heard streams of frame t  ─┐
                               ├─ sum of embeddings ─ temporal transformer ─ hidden ─ depth transformer ─ book 1, 2, …
    predicted streams of t-1  ─┘                                         (each book conditioned on those before)

The split follows RQ-Transformer (Lee et al., 2022) and Moshi (Défossez et al., 2024).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from duologue.lm.listen import FeatureEncoder, FeatureEncoderState
from duologue.lm.sampling import Sampling, draw
from duologue.lm.streams import ABSENT, FREE, Layout, Stream, delay
from duologue.lm.tables import StepTables
from duologue.nn.embedding import TiedEmbedding
from duologue.nn.int8 import exactly
from duologue.nn.streaming import State, hold
from duologue.nn.transformer import Past, RMSNorm, Transformer, TransformerConfig, TransformerState

if TYPE_CHECKING:
    from duologue.lm.writer import FusedWriter


class BackboneConfig(BaseModel):
    """Sizes of the two transformers; the layout says what runs through them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temporal: TransformerConfig
    depth: TransformerConfig
    dropout: float = 0.0  # on the embedded frames, in training only
    ears: tuple[int, ...] | None = None  # ConvNeXt blocks after each halving of heard features; one each where not told


@dataclass
class BackboneState(State):
    """All that a layout remembers between frames."""

    temporal: TransformerState
    encoders: list[FeatureEncoderState]
    waiting: Tensor  # (B, books, longest delay) heard tokens that are not due yet, plus 1
    written: Tensor  # (B, books, 1 + longest delay) what was predicted last, newest first, plus 1: zero is nothing
    seed: Tensor  # (B,) int64


class Backbone(nn.Module):
    """A speech language model over one layout."""

    def __init__(self, layout: Layout, config: BackboneConfig) -> None:
        super().__init__()
        if config.depth.window < len(layout.written):
            raise ValueError(
                f"a depth window of {config.depth.window} is less than {len(layout.written)} books a frame"
            )
        self.layout = layout
        self.config = config
        self._tables: StepTables | None = None
        self._writer: FusedWriter | None = None
        self._numbers = {stream.name: index for index, stream in enumerate(layout.streams)}
        # Where each predicted stream stands among what is written in a frame.
        columns = [stream.name for stream, _ in layout.written]
        self._columns = {
            s.name: slice(columns.index(s.name), columns.index(s.name) + s.books) for s in layout.predicted
        }
        width, depth_width = config.temporal.dim, config.depth.dim
        self.temporal = Transformer(config.temporal)
        self.depth = Transformer(config.depth)
        self.dropout = nn.Dropout(config.dropout)
        self.encoders = nn.ModuleDict(
            {s.name: FeatureEncoder(s.size, s.hops, width, config.ears) for s in layout.streams if s.kind == "features"}
        )
        # Row 0 of every table is the absent token; token k is row k + 1.
        self.tables = nn.ModuleDict()
        self.heads = nn.ModuleDict()
        self.widen = nn.ModuleDict()  # of tied tables, which are as wide as the depth transformer
        for stream in layout.streams:
            if stream.kind == "tokens" and stream.shares is None and stream.role != "taught":
                tables = stream.tables or stream.books
                kind = TiedEmbedding if stream.tied else nn.Embedding
                self.tables[stream.name] = nn.ModuleList(
                    kind(stream.cardinality + 1, depth_width if stream.tied else width) for _ in range(tables)
                )
                if stream.tied:
                    self.widen[stream.name] = nn.Linear(depth_width, width, bias=False)
        for stream in layout.learned:
            if stream.shares is None and not stream.tied:
                tables = stream.tables or stream.books
                self.heads[stream.name] = nn.ModuleList(
                    nn.Linear(depth_width, stream.cardinality, bias=False) for _ in range(tables)
                )
        self.place = nn.Parameter(torch.zeros(len(layout.streams), max(s.books for s in layout.streams), width))
        self.to_depth = nn.Linear(width, depth_width, bias=False)
        self.token_to_depth = nn.Linear(width, depth_width, bias=False)
        self.depth_place = nn.Parameter(0.02 * torch.randn(len(layout.written), depth_width))
        self.depth_norm = RMSNorm(width)
        for name, tables_ in self.tables.items():
            for table in cast(nn.ModuleList, tables_):
                # As a head, a tied table wants rows of length 1; as an embedding it is made larger again below.
                nn.init.normal_(cast(nn.Embedding, table).weight, std=depth_width**-0.5 if name in self.widen else 0.5)
        for widen in self.widen.values():
            nn.init.normal_(cast(nn.Linear, widen).weight, std=0.5 * depth_width**-0.5)

    def _of_book(self, modules: nn.ModuleDict, stream: Stream, book: int) -> nn.Module:
        """The embedding table or head that serves one book."""
        owned = cast(nn.ModuleList, modules[stream.shares or stream.name])
        return owned[book % len(owned)]

    def _embed(self, stream: Stream, book: int, tokens: Tensor) -> Tensor:
        """Embed one book's tokens (...) -> (..., width); which stream and book it is, is added to it."""
        embedded: Tensor = self._of_book(self.tables, stream, book)(tokens + 1)
        name = stream.shares or stream.name
        if name in self.widen:
            embedded = self.widen[name](embedded * self.config.depth.dim**0.5)
        return embedded + self._place(stream, book)

    def _place(self, stream: Stream, book: int) -> Tensor:
        """What is added to an embedding (width,) for belonging to that stream and book."""
        return self.place[self._numbers[stream.name], book]

    def _logits(self, stream: Stream, book: int, x: Tensor) -> Tensor:
        """What the depth transformer's output (..., depth width) says of one book -> (..., cardinality)."""
        head = self.head(stream, book)
        if (stream.shares or stream.name) in self.widen:
            return cast(TiedEmbedding, head).logits(x)
        logits: Tensor = head(x)
        return logits

    def head(self, stream: Stream, book: int) -> nn.Module:
        """What turns the depth transformer's output into logits of one book: a head, or a table that serves as one."""
        tied = (stream.shares or stream.name) in self.widen
        return self._of_book(self.tables if tied else self.heads, stream, book)

    def embed(self, streams: Mapping[str, Tensor]) -> Tensor:
        """Sum of the embedded streams -> (B, F, width).

        Tokens (B, F, books), already delayed, and the predicted ones already one frame late; features (B, F * hops,
        size). A stream that is not given is absent in every frame.
        """
        total: Tensor | None = None
        for stream in self.layout.streams:
            value = streams.get(stream.name)
            if value is None:
                continue
            if stream.kind == "features":
                parts = [self.encoders[stream.name](value)]
            else:
                parts = [self._embed(stream, book, value[..., book]) for book in range(stream.books)]
            for part in parts:
                total = part if total is None else total + part
        if total is None:
            raise ValueError(f"none of the streams of layout {self.layout.name} was given")
        return total

    def forward(
        self, streams: Mapping[str, Tensor], history: Mapping[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Teacher-forced pass over whole sequences.

        Args:
            streams: tokens (B, F, books) int64 in their own time (the delays are put in here), and features
                (B, F * hops, size).
            history: what the model is told it predicted before, where that differs from the truth (masked, noised).

        Returns:
            hidden states (B, F', width) and logits of each predicted or taught stream (B, F', books, cardinality),
            where F' is F plus the layout's longest delay; compare with `targets`.
        """
        delayed = self.targets(streams)
        extra = max((s.max_delay for s in self.layout.streams), default=0)
        inputs: dict[str, Tensor] = {}
        for stream in self.layout.streams:
            if stream.name not in streams or stream.role == "taught":
                continue
            if stream.kind == "features":
                value = streams[stream.name]
                inputs[stream.name] = F.pad(value, (0, 0, 0, extra * stream.hops)) if extra else value
            elif stream.role == "heard":
                inputs[stream.name] = _pad_frames(delay(streams[stream.name], stream), extra - stream.max_delay)
            else:
                past = history[stream.name] if history and stream.name in history else streams[stream.name]
                past = _pad_frames(delay(past, stream), extra - stream.max_delay)
                inputs[stream.name] = F.pad(past[:, :-1], (0, 0, 1, 0), value=ABSENT)
        hidden = self.temporal(self.dropout(self.embed(inputs)))
        return hidden, self._depth_logits(hidden, delayed)

    def targets(self, streams: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The learned streams with their delays put in, (B, F', books) each; `ABSENT` where there is no target."""
        extra = max((s.max_delay for s in self.layout.streams), default=0)
        return {
            s.name: _pad_frames(delay(streams[s.name], s), extra - s.max_delay)
            for s in self.layout.learned
            if s.name in streams
        }

    def _depth_logits(self, hidden: Tensor, delayed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        batch, frames, _ = hidden.shape
        context = self.to_depth(self.depth_norm(hidden))
        inputs = [context]
        written = self.layout.written
        for stream, book in written[:-1]:
            embedded = self._embed(stream, book, delayed[stream.name][..., book])
            inputs.append(context + self.token_to_depth(embedded))
        x = torch.stack(inputs, dim=2).flatten(0, 1) + self.depth_place
        outputs = self.depth(x).view(batch, frames, len(written), -1)
        logits: dict[str, list[Tensor]] = {}
        for index, (stream, book) in enumerate(written):
            logits.setdefault(stream.name, []).append(self._logits(stream, book, outputs[:, :, index]))
        for stream in self.layout.taught:
            logits[stream.name] = [self._logits(stream, book, context) for book in range(stream.books)]
        return {name: torch.stack(books, dim=2) for name, books in logits.items()}

    def init_state(
        self, batch: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> BackboneState:
        heard = [s for s in self.layout.heard if s.kind == "tokens"]
        waiting = (batch, max(1, sum(s.books for s in heard)), max((s.max_delay for s in heard), default=0))
        lag = max((s.max_delay for s in self.layout.predicted), default=0)
        return BackboneState(
            self.temporal.init_state(batch, device, dtype),
            [self._encoder(s).init_state(batch, device, dtype) for s in self.layout.streams if s.kind == "features"],
            torch.zeros(waiting, dtype=torch.int64, device=device),
            torch.zeros((batch, len(self.layout.written), lag + 1), dtype=torch.int64, device=device),
            torch.zeros(batch, dtype=torch.int64, device=device),
        )

    def grow_ears(self, ears: tuple[int, ...]) -> None:
        """Put blocks behind those that heard features go through, up to `ears`; what it does stays until it learns.

        Raises:
            ValueError: see `FeatureEncoder.grow`.
        """
        for encoder in self.encoders.values():
            cast(FeatureEncoder, encoder).grow(ears)
        self.config = self.config.model_copy(update={"ears": ears})

    def _encoder(self, stream: Stream) -> FeatureEncoder:
        encoder = self.encoders[stream.name]
        assert isinstance(encoder, FeatureEncoder)
        return encoder

    @torch.no_grad()
    def step(
        self,
        heard: Mapping[str, Tensor],
        state: BackboneState,
        sampling: Mapping[str, Sampling],
        active: Tensor | None = None,
        forced: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """One frame of every row.

        Args:
            heard: the heard streams of this frame, tokens (B, books) or features (B, hops, size).
            sampling: how each predicted stream is sampled; greedy where not named.
            forced: predicted streams whose tokens (B, books) are given instead of sampled; rows of `FREE` choose.

        Returns:
            the predicted streams, tokens (B, books), of the frame that lies the layout's longest delay back
            (`ABSENT` while there is none).
        """
        x = self._embed_frame(heard, state, active)
        hidden = self.temporal.step(x, state.temporal, active)
        newest = self._write(hidden[:, 0], state, sampling, forced or {})
        state.written = hold(torch.cat((newest[..., None] + 1, state.written[..., :-1]), dim=-1), state.written, active)
        lag = state.written.shape[-1] - 1
        out: dict[str, list[Tensor]] = {}
        for index, (stream, book) in enumerate(self.layout.written):
            out.setdefault(stream.name, []).append(state.written[:, index, lag - stream.delay(book)] - 1)
        return {name: torch.stack(books, dim=1) for name, books in out.items()}

    def _embed_frame(self, heard: Mapping[str, Tensor], state: BackboneState, active: Tensor | None) -> Tensor:
        """Embed this frame's heard streams and the frame before of the predicted ones -> (B, 1, width)."""
        parts: list[Tensor] = []
        tokens: dict[str, Tensor] = {}
        encoders = iter(state.encoders)
        row = 0
        for stream in self.layout.streams:
            if stream.kind == "features":
                encoder_state = next(encoders)
                if stream.name in heard:
                    parts.append(self._encoder(stream).step(heard[stream.name], encoder_state, active)[:, 0])
            elif stream.role == "heard":
                if stream.name in heard:
                    tokens[stream.name] = self._due(heard[stream.name], stream, row, state, active)
                row += stream.books
        for name, columns in self._columns.items():
            tokens[name] = state.written[:, columns, 0] - 1
        if self._tables is not None:
            parts.append(self._tables.total(tokens))
        else:
            for name, value in tokens.items():
                stream = self.layout[name]
                parts += [self._embed(stream, book, value[:, book]) for book in range(stream.books)]
        return torch.stack(parts).sum(0)[:, None]

    @staticmethod
    def _due(tokens: Tensor, stream: Stream, row: int, state: BackboneState, active: Tensor | None) -> Tensor:
        """The tokens (B, books) of a stream that are due; those heard now join its queues, from `row` on."""
        if not stream.max_delay:
            return tokens
        due = []
        for book, new in enumerate(tokens.unbind(1)):
            queue, frames = state.waiting[:, row + book], stream.delay(book)
            due.append(queue[:, frames - 1] - 1 if frames else new)
            state.waiting[:, row + book] = hold(torch.cat((new[:, None] + 1, queue[:, :-1]), dim=1), queue, active)
        return torch.stack(due, dim=1)

    def _write(
        self, hidden: Tensor, state: BackboneState, sampling: Mapping[str, Sampling], forced: Mapping[str, Tensor]
    ) -> Tensor:
        """Run the depth transformer over one frame: hidden (B, width) -> tokens (B, books of all predicted streams)."""
        if self._writer is not None and not any(s.name in sampling for s in self.layout.predicted):
            return self._writer.write(hidden, [(self._columns[name], tokens) for name, tokens in forced.items()])
        context = self.to_depth(self.depth_norm(hidden))
        places = self.depth_place if self._tables is None else self._tables.deep_places
        past: list[Past] = []
        tokens: list[Tensor] = []
        for index, (stream, book) in enumerate(self.layout.written):
            x = context + places[index]
            if index:
                x = x + self._deepened(index - 1, tokens[-1])
            y = self.depth.extend(x[:, None], past)[:, 0]
            given = forced[stream.name][:, book] if stream.name in forced else None
            if given is not None and not (given == FREE).any():
                token = given
            else:
                logits = self._logits(stream, book, y)
                how = sampling.get(stream.name)
                if how is None:
                    token = logits.argmax(-1)
                else:
                    seeds = state.seed * 1_000_003 + state.temporal.position * len(self.layout.written) + index
                    token = draw(logits, how, seeds)
                if given is not None:
                    token = torch.where(given == FREE, token, given)
            if stream.delay(book):  # nothing belongs to the time before the first frame (`position` counts this one)
                token = torch.where(state.temporal.position <= stream.delay(book), ABSENT, token)
            tokens.append(token)
        return torch.stack(tokens, dim=1)

    def rewrite(self, name: str, tokens: Tensor, state: BackboneState) -> None:
        """Let a stream without delays have written other tokens (B, books) in the last step."""
        state.written[:, self._columns[name], 0] = tokens + 1

    def _deepened(self, index: int, token: Tensor) -> Tensor:
        """The tokens (B,) of the written book `index` as the book after it is told of them, (B, depth width)."""
        if self._tables is not None:
            return self._tables.deepened(index, token)
        return cast(Tensor, self.token_to_depth(self._embed(*self.layout.written[index], token)))

    @torch.no_grad()
    def settle(self) -> None:
        """Get ready for steps with these weights, which must stay as they are.

        What would be worked out of them again and again is worked out once, and where they are int8 and Numba is
        installed, the transformers' steps become compiled functions.
        """
        self._tables = self._tabulate()
        if importlib.util.find_spec("numba"):
            from duologue.lm.writer import FusedWriter

            self.temporal.fuse()
            self._writer = FusedWriter.of(self, self._tables)

    def _tabulate(self) -> StepTables:
        streams = [stream for stream in self.layout.streams if stream.kind == "tokens" and stream.role != "taught"]
        tables: list[Tensor] = []
        begins: dict[nn.Module, int] = {}
        for stream in streams:
            for book in range(stream.books):
                table = self._of_book(self.tables, stream, book)
                if table not in begins:
                    begins[table] = sum(map(len, tables))
                    rows: Tensor = table(torch.arange(stream.cardinality + 1, device=self.place.device))
                    name = stream.shares or stream.name
                    if name in self.widen:
                        rows = exactly(self.widen[name], rows * self.config.depth.dim**0.5)
                    tables.append(rows)
        first = {s.name: [begins[self._of_book(self.tables, s, book)] for book in range(s.books)] for s in streams}
        rows = torch.cat(tables)
        written = self.layout.written
        deep_places = self.depth_place.clone()
        for index, (stream, book) in enumerate(written[:-1]):
            deep_places[index + 1] += exactly(self.token_to_depth, self._place(stream, book))
        return StepTables(
            rows,
            {name: torch.tensor(begin, device=rows.device) for name, begin in first.items()},
            {s.name: self.place[self._numbers[s.name], : s.books].sum(0) for s in streams},
            exactly(self.token_to_depth, rows),
            [first[stream.name][book] for stream, book in written],
            deep_places,
        )


def _pad_frames(tokens: Tensor, frames: int) -> Tensor:
    """Append absent frames to tokens (B, F, books)."""
    return F.pad(tokens, (0, 0, 0, frames), value=ABSENT) if frames else tokens


def next_token_loss(layout: Layout, logits: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weighted cross-entropy of each learned stream, a scalar each; targets that are `ABSENT` do not count."""
    losses: dict[str, Tensor] = {}
    for stream in layout.learned:
        if stream.name not in targets:
            continue
        target = targets[stream.name].flatten()
        loss = F.cross_entropy(
            logits[stream.name].flatten(0, -2).float(), target, ignore_index=ABSENT, reduction="none"
        )
        weights = (target != ABSENT).float()
        if stream.pad is not None:
            weights = torch.where(target == stream.pad, stream.pad_weight, weights)
        losses[stream.name] = stream.weight * (loss * weights).sum() / weights.sum().clamp(min=1e-6)
    return losses
