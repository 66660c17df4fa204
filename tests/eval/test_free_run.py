"""Turns are cut out of a free run so that an answer counts for the question it belongs to."""

from __future__ import annotations

import torch

from duologue.eval.free_run import summarise, turns_of
from duologue.lm.text import END, EOT, PAD, TextTokenizer

TOKENIZER = TextTokenizer.train(["stop that", "okay", "seven and eight", "what is it"] * 4, ["stop", "okay", "seven"])


def labels(frames: int, **places: tuple[int, str]) -> tuple[torch.Tensor, torch.Tensor]:
    """`heard` and `text` (1, frames, 1): each question ends at its frame, where its answer begins."""
    heard, text = torch.full((1, frames, 1), PAD), torch.full((1, frames, 1), PAD)
    for at, answer in places.values():
        heard[0, at, 0] = EOT
        pieces = [*TOKENIZER.encode(answer), END]
        text[0, at : at + len(pieces), 0] = torch.tensor(pieces)
    return heard, text


def test_the_end_of_an_answer_is_not_the_beginning_of_the_next() -> None:
    pieces = len(TOKENIZER.encode("seven and eight"))
    heard, text = labels(40, first=(10, "seven and eight"), second=(10 + pieces + 3, "okay"))
    turns = turns_of({"heard": heard, "text": text}, {"heard": heard[..., 0], "text": text[..., 0]}, TOKENIZER)
    assert [turn.reply for turn in turns] == ["seven and eight", "okay"]
    assert summarise(turns)["replies_right"] == 1


def test_an_early_answer_counts_and_tells_how_early_it_was() -> None:
    heard, text = labels(40, only=(20, "okay"))
    turns = turns_of({"heard": heard, "text": text}, {"heard": heard[..., 0], "text": text[..., 0].roll(-2)}, TOKENIZER)
    assert [(turn.reply, turn.delay) for turn in turns] == [("okay", -2)]
    late = turns_of({"heard": heard, "text": text}, {"heard": heard[..., 0], "text": text[..., 0].roll(-9)}, TOKENIZER)
    assert [(turn.reply, turn.delay) for turn in late] == [("", None)]
