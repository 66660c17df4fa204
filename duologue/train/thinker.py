"""Training the thinker: text first, then listening and conversing, by the mixture of its sources."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from duologue.lm.backbone import Backbone, next_token_loss
from duologue.lm.streams import ABSENT
from duologue.train.mixtures import Batch, Source
from duologue.train.optim import optimizer_for
from duologue.train.task import Task


class ThinkerTraining(BaseModel):
    """Rates and regularisation of a thinker's stage."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lr: float = Field(default=2e-3, gt=0)
    muon_lr: float | None = 2e-3
    weight_decay: float = 0.02
    history_noise: float = Field(default=0.1, ge=0, le=1)
    """Largest share of the fed-back tokens that are hidden or replaced in a row; each row draws its own share."""
    ears_factor: float = Field(default=1.0, gt=0)
    """What the rates are multiplied by in the encoders of heard features; more where they have new blocks."""
    compile: bool = False
    """Let PyTorch compile the model, on a GPU only: on processors, what its release 2.13 makes of a backward pass in
    bfloat16 gives wrong gradients."""


class ThinkerTask(Task):
    """Next-token training of one layout over a mixture of sources.

    Args:
        model: the backbone to train.
        sources: name -> (source, share of the steps).
        evaluate: free-running figures of the model, for validation.
    """

    def __init__(
        self,
        model: Backbone,
        sources: Mapping[str, tuple[Source, float]],
        config: ThinkerTraining,
        evaluate: Callable[[Backbone], dict[str, float]],
    ) -> None:
        self.name = model.layout.name
        self.modules = self.model = model
        self.config = config
        self.sources = dict(sources)
        self.evaluate = evaluate
        self.metrics: dict[str, float] = {}
        self._compiled = torch.compile(model) if config.compile else model

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        config = self.config
        optimizer = optimizer_for(
            self.model,
            config.lr,
            muon_lr=config.muon_lr,
            weight_decay=config.weight_decay,
            outer=("tables", "heads", "place"),
            factors={"encoders": config.ears_factor},
        )
        return {"model": optimizer}

    def losses(self, step: int, rng: np.random.Generator) -> Iterator[tuple[str, Tensor]]:
        names = list(self.sources)
        shares = np.array([share for _, share in self.sources.values()])
        name = names[rng.choice(len(names), p=shares / shares.sum())]
        source = self.sources[name][0]
        batch = {key: value.to(self.device) for key, value in source.batch(rng).items()}
        for stream in self.model.layout.learned:  # what a source does not tell is absent, and not learned from it
            if stream.name not in batch:
                batch[stream.name] = torch.full((*batch["text"].shape[:2], stream.books), ABSENT, device=self.device)
        history = self._noised(batch, rng)
        run = self._compiled if self.device.type == "cuda" else self.model
        _, logits = run(batch, history)
        parts = next_token_loss(self.model.layout, logits, self.model.targets(batch))
        if not source.listens:
            parts.pop("heard", None)
        frames = next(iter(parts.values())).new_tensor(batch["text"].numel()).item()
        self.metrics |= {f"{name}/{stream}": loss.item() for stream, loss in parts.items()} | {"frames": frames}
        yield "model", torch.stack(list(parts.values())).sum()

    def _noised(self, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
        """The model's own past as it may look in conversation: some of it missing or wrong."""
        history: dict[str, Tensor] = {}
        for stream in self.model.layout.predicted:
            tokens = batch[stream.name]
            share = rng.uniform(0, self.config.history_noise, size=(len(tokens), 1, 1))
            share *= rng.random((len(tokens), 1, 1)) < 0.5
            hit = torch.from_numpy(rng.random(tokens.shape) < share).to(tokens.device)
            other = torch.from_numpy(rng.integers(stream.cardinality, size=tuple(tokens.shape))).to(tokens.device)
            hidden = torch.from_numpy(rng.random(tokens.shape) < 0.5).to(tokens.device)
            # Only words are noised: an empty frame that claims a word would teach the model to distrust silence.
            hit &= (tokens != stream.pad) & (tokens != ABSENT)
            history[stream.name] = torch.where(hit, torch.where(hidden, stream.pad or 0, other), tokens)
        return history

    def validate(self, step: int) -> dict[str, float]:
        return self.evaluate(self.model)

    def fingerprints(self) -> dict[str, str]:
        return {name: source.fingerprint() for name, (source, _) in self.sources.items()}
