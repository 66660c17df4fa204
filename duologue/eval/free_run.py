"""How a thinker fares when it hears only the user and its own words: words heard, answers right, by turn.

Teacher-forced accuracy hides what goes wrong in conversation, so every stage is judged this way from its first hour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jiwer
import torch
from torch import Tensor

from duologue.lm.backbone import Backbone
from duologue.lm.streams import ABSENT
from duologue.lm.text import EOT, PAD, TextTokenizer

EARLY = 4  # frames before the true decision in which an answer still counts as this turn's


@torch.no_grad()
def free_run(
    model: Backbone, batch: Mapping[str, Tensor], predicted: Sequence[str] = ("heard", "text")
) -> dict[str, Tensor]:
    """Run the model on a batch frame by frame, feeding back what it predicts itself.

    In a batch without sound the user's words are given, and only the rest is the model's own.

    Returns:
        name -> (B, F) tokens of each predicted stream, on the CPU wherever the model is.
    """
    rows, frames = batch["text"].shape[:2]
    device = next(model.parameters()).device
    batch = {name: value.to(device) for name, value in batch.items()}
    state = model.init_state(rows, device)
    has_sound = "user" in batch or "user_codes" in batch
    out: dict[str, list[Tensor]] = {name: [] for name in predicted}
    heard_streams = [stream for stream in model.layout.heard if stream.name in batch]

    def given(frame: int) -> dict[str, Tensor]:
        told = [stream for stream in model.layout.predicted if stream.name != "text"]
        return {
            stream.name: batch[stream.name][:, frame]
            if stream.name in batch
            else torch.full((rows, stream.books), ABSENT, device=device)
            for stream in told
        }

    for frame in range(frames):
        heard = {
            stream.name: batch[stream.name][:, frame * stream.hops : (frame + 1) * stream.hops]
            if stream.kind == "features"
            else batch[stream.name][:, frame]
            for stream in heard_streams
        }
        step = model.step(heard, state, {}, forced={} if has_sound else given(frame))
        for name in predicted:
            out[name].append(step[name][:, 0])
    return {name: torch.stack(tokens, dim=1).cpu() for name, tokens in out.items()}


@dataclass(frozen=True)
class Turn:
    """One turn of a batch as it should be and as it came out."""

    question: str  # the user's words by the labels
    heard: str
    expected: str
    reply: str
    delay: int | None  # frames from the labelled decision to the first piece of the reply; negative: too early


def _start(text: Sequence[int], decision: int) -> int:
    """The frame from which answers count as the turn's: not before the labelled end of the answer to the one before."""
    running = [frame + 1 for frame in range(max(0, decision - EARLY), decision) if text[frame] != PAD]
    return running[-1] if running else max(0, decision - EARLY)


def turns_of(batch: Mapping[str, Tensor], out: Mapping[str, Tensor], tokenizer: TextTokenizer) -> list[Turn]:
    """Cut what `free_run` gave into turns at the labelled decisions, and put it beside the labels."""
    turns: list[Turn] = []
    for row in range(len(batch["text"])):
        heard, text = batch["heard"][row, :, 0].tolist(), batch["text"][row, :, 0].tolist()
        got_heard, got_text = out["heard"][row].tolist(), out["text"][row].tolist()
        decisions = [frame for frame, token in enumerate(heard) if token == EOT]
        # A barge-in's cut belongs to the turn before it; what follows the last answer belongs to it as well.
        starts = [_start(text, frame) for frame in decisions] + [len(text)]
        begin = 0
        for index, decision in enumerate(decisions):
            span = slice(starts[index], starts[index + 1])
            pieces = [frame for frame in range(span.start, span.stop) if got_text[frame] > PAD]
            turns.append(
                Turn(
                    tokenizer.decode(max(0, token) for token in heard[begin : decision + 1]),
                    tokenizer.decode(max(0, token) for token in got_heard[begin : decision + 1]),
                    tokenizer.decode(max(0, token) for token in text[decision : starts[index + 1]]),
                    tokenizer.decode(max(0, token) for token in got_text[span]),
                    pieces[0] - decision if pieces else None,
                )
            )
            begin = decision + 1
    return turns


def summarise(turns: Sequence[Turn]) -> dict[str, float]:
    """Share of replies that are word for word right, word error rate of what was heard, and the typical delay."""
    if not turns:
        return {}
    spoken = [turn for turn in turns if turn.question]
    delays = sorted(turn.delay for turn in turns if turn.delay is not None)
    figures = {
        "turns": float(len(turns)),
        "replies_right": sum(turn.reply == turn.expected for turn in turns) / len(turns),
        "answered": len(delays) / len(turns),
    }
    if spoken:
        figures["user_wer"] = jiwer.wer([turn.question for turn in spoken], [turn.heard for turn in spoken])
    if delays:
        figures["delay_frames_p50"] = float(delays[len(delays) // 2])
    return figures
