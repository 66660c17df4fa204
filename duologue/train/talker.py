"""Training the talker in its one voice: the score to codes, and with it the speller and the pacer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from duologue.codec.base import Codec
from duologue.data.spoken import Spoken
from duologue.lm.backbone import Backbone, next_token_loss
from duologue.lm.pacer import SLOT, Pacer
from duologue.lm.reader import LEAD
from duologue.lm.score import SLOTS, on_grid, score_of
from duologue.lm.speller import END, PAUSE, Speller
from duologue.lm.streams import ABSENT
from duologue.lm.text import TextTokenizer
from duologue.provenance import digest
from duologue.train.optim import optimizer_for
from duologue.train.task import Task

RATE = 16_000
FRAME = 1_280
AFTERMATH = 2  # frames of silence learned behind the last phone


@dataclass(frozen=True)
class Example:
    """One utterance of the voice, ready to learn from."""

    phones: tuple[int, ...]  # without the silence at its ends
    durations: tuple[int, ...]  # slots; the first phone is the lead
    arrivals: tuple[int, ...]  # frame in which each phone's word is whole, at a piece a frame
    codes: np.ndarray  # (F, books of a frame) int16

    @property
    def frames(self) -> int:
        return len(self.codes)


def example_of(spoken: Spoken, codec: Codec, tokenizer: TextTokenizer, inventory: Sequence[str]) -> Example:
    """Align an utterance with the score that the reader would write for it, and encode it.

    The sound is cut so that its first phone begins after the reader's lead of silence.
    """
    phones = list(spoken.phones)
    while phones and phones[-1][0] == PAUSE:
        phones.pop()
    while phones and phones[0][0] == PAUSE:
        phones.pop(0)
    start = phones[0][1] - LEAD * SLOT
    ends = [LEAD * SLOT, *(end - start for _, _, end in phones)]
    frames = int(np.ceil(ends[-1] / SLOT / SLOTS)) + AFTERMATH
    pcm = np.zeros(frames * FRAME, dtype=np.float32)
    sound = spoken.pcm[max(0, round(start * RATE)) :][: len(pcm)]
    offset = max(0, -round(start * RATE))
    pcm[offset : offset + len(sound)] = sound[: len(pcm) - offset]
    codes = codec.encode(torch.from_numpy(pcm)[None])[0]  # (books, codec frames)
    codes = codes.T.reshape(frames, -1)
    arrived, arrivals, word = 0, [0], 0
    pieces = [len(tokenizer.encode(text)) for text, _, _ in spoken.words]
    for _, begin, _ in phones:
        while word + 1 < len(spoken.words) and begin >= spoken.words[word + 1][1] - SLOT / 2:
            word += 1
            arrived += pieces[word]
        arrivals.append(arrived)
    indices = [inventory.index(PAUSE), *(inventory.index(phone) for phone, _, _ in phones)]
    return Example(tuple(indices), tuple(on_grid(ends)), tuple(arrivals), codes.numpy().astype(np.int16))


class TalkerTraining(BaseModel):
    """Rates, batch and regularisation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int = 24
    frames: int = 32
    lr: float = Field(default=2e-3, gt=0)
    muon_lr: float | None = 2e-3
    history_noise: float = Field(default=0.6, ge=0, le=1)
    """Largest share of the codes fed back that are hidden: the score, not the past, should decide the sound."""
    late_words: float = Field(default=0.2, ge=0, le=1)
    """Share of the utterances whose words arrive late, as when the thinker hesitates."""
    words: int = Field(default=128, gt=0)
    """Words of the lexicon that the speller practises in a step."""
    compile: bool = False
    """Let PyTorch compile the model, on a GPU only: on processors, what its release 2.13 makes of a backward pass in
    bfloat16 gives wrong gradients."""


class TalkerTask(Task):
    """Three small models that together say a text: talker, pacer and speller, each with its own optimiser.

    Args:
        lexicon: words and their phones, for the speller.
        evaluate: figures of the voice as it speaks freely, for validation.
        listen: what it says then, name -> (T,) at 16 kHz.
    """

    name = "speak"

    def __init__(
        self,
        talker: Backbone,
        pacer: Pacer,
        speller: Speller,
        examples: Sequence[Example],
        lexicon: Sequence[tuple[str, tuple[str, ...]]],
        config: TalkerTraining,
        evaluate: Callable[[], dict[str, float]],
        listen: Callable[[], dict[str, np.ndarray]] = dict,
    ) -> None:
        self.talker, self.pacer, self.speller = talker, pacer, speller
        self.modules = nn.ModuleDict({"talker": talker, "pacer": pacer, "speller": speller})
        self.examples, self.lexicon, self.config, self.evaluate = examples, lexicon, config, evaluate
        self.listen = listen
        self.end = speller.config.phones.index(END)
        self.pause = speller.config.phones.index(PAUSE)
        self.metrics: dict[str, float] = {}
        self._compiled = torch.compile(talker) if config.compile else talker

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        config = self.config
        outer = ("tables", "heads", "place", "symbols", "phones")
        return {
            name: optimizer_for(module, config.lr, muon_lr=config.muon_lr, outer=outer)
            for name, module in self.modules.named_children()
        }

    def losses(self, step: int, rng: np.random.Generator) -> Iterator[tuple[str, Tensor]]:
        chosen = [self.examples[index] for index in rng.integers(len(self.examples), size=self.config.rows)]
        batch = {name: value.to(self.device) for name, value in self.batch(chosen, rng).items()}
        hidden = torch.from_numpy(rng.random(batch["codes"].shape[:2]) < self._shares(rng)).to(self.device)
        history = {"codes": torch.where(hidden[..., None], ABSENT, batch["codes"])}
        run = self._compiled if self.device.type == "cuda" else self.talker
        _, logits = run(batch, history)
        loss = next_token_loss(self.talker.layout, logits, batch)["codes"]
        self.metrics["codes"] = loss.item()
        self.metrics["seconds_of_audio"] = self.config.rows * self.config.frames * FRAME / RATE
        yield "talker", loss
        loss = self._pacer_loss(chosen, rng)
        self.metrics["durations"] = loss.item()
        yield "pacer", loss
        loss = self._speller_loss(rng)
        self.metrics["spelling"] = loss.item()
        yield "speller", loss

    def _shares(self, rng: np.random.Generator) -> np.ndarray:
        return rng.uniform(0, self.config.history_noise, size=(self.config.rows, 1))

    def batch(self, chosen: Sequence[Example], rng: np.random.Generator) -> dict[str, Tensor]:
        """The streams of these utterances, cut or filled up to the training's frames."""
        rows, frames = len(chosen), self.config.frames
        sounds = np.full((rows, frames, SLOTS), ABSENT, dtype=np.int64)
        ahead: np.ndarray | None = None
        codes = np.full((rows, frames, chosen[0].codes.shape[1]), ABSENT, dtype=np.int64)
        for row, example in enumerate(chosen):
            arrivals = np.array(example.arrivals)
            if rng.random() < self.config.late_words:
                arrivals = arrivals + np.maximum.accumulate(rng.integers(0, 4, size=len(arrivals)) * (arrivals > 0))
            score, coming = score_of(
                example.phones, example.durations, arrivals.tolist(), example.frames, self.end, self.pause
            )
            if ahead is None:
                ahead = np.full((rows, frames, coming.shape[1]), ABSENT, dtype=np.int64)
            length = min(frames, example.frames)  # a reply starts from nothing, so rows are cut at their end only
            sounds[row, :length], ahead[row, :length] = score[:length], coming[:length]
            codes[row, :length] = example.codes[:length]
        assert ahead is not None
        return {"sounds": torch.from_numpy(sounds), "ahead": torch.from_numpy(ahead), "codes": torch.from_numpy(codes)}

    def _pacer_loss(self, chosen: Sequence[Example], rng: np.random.Generator) -> Tensor:
        windows: list[list[int]] = []
        targets: list[int] = []
        for example in chosen:
            known = [*example.phones, self.end]
            for index in range(1, len(example.phones)):
                if example.durations[index] < 1:
                    continue
                # What is seen coming depends on how far the words are ahead: anything from this phone on.
                seen = index + 1 + int(rng.integers(2 * self.pacer.config.after))
                windows.append(self.pacer.window(known[:seen], index))
                targets.append(min(example.durations[index], self.pacer.config.longest) - 1)
        logits = self.pacer(torch.tensor(windows, device=self.device))
        return F.cross_entropy(logits.float(), torch.tensor(targets, device=self.device))

    def _speller_loss(self, rng: np.random.Generator) -> Tensor:
        pairs = [
            self.speller.example(*self.lexicon[i]) for i in rng.integers(len(self.lexicon), size=self.config.words)
        ]
        longest = max(len(symbols) for symbols, _ in pairs)
        symbols = torch.tensor([s + [self.speller.go] * (longest - len(s)) for s, _ in pairs], device=self.device)
        targets = torch.tensor([t + [-1] * (longest - len(t)) for _, t in pairs], device=self.device)
        return F.cross_entropy(self.speller(symbols).flatten(0, 1).float(), targets.flatten(), ignore_index=-1)

    def validate(self, step: int) -> dict[str, float]:
        return self.evaluate()

    def samples(self, step: int) -> dict[str, np.ndarray]:
        return self.listen()

    def fingerprints(self) -> dict[str, str]:
        utterances = ([one.phones, one.durations, one.arrivals, one.codes.tolist()] for one in self.examples)
        return {
            "utterances": digest(json.dumps(one).encode() for one in utterances),
            "lexicon": digest([json.dumps(self.lexicon).encode()]),
        }
