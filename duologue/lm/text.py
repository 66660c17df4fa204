"""The text tokeniser: byte-pair pieces of lower-case words, and the control tokens of a conversation."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.trainers import BpeTrainer

from duologue.atomic import atomic
from duologue.errors import ModelError

PAD, EOT, END, CUT, UNK = range(5)
"""Nothing in this frame · the user's turn is over · the reply is out · the reply stops, spoken over · unknown."""
SPECIALS = ("<pad>", "<eot>", "<end>", "<cut>", "<unk>")
WORD_END = "</w>"  # marks the piece that closes a word


class TextTokenizer:
    """Words to pieces and back. The last piece of a word says so, so a word can be spoken the moment it is whole."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.pieces = [tokenizer.id_to_token(index) or "" for index in range(tokenizer.get_vocab_size())]

    def __len__(self) -> int:
        return len(self.pieces)

    @classmethod
    def train(cls, sentences: Iterable[str], vocabulary: Sequence[str] = (), size: int = 4096) -> TextTokenizer:
        """Train `size` pieces on `sentences`; words of `vocabulary` are weighted so that they become one piece each."""
        tokenizer = Tokenizer(BPE(unk_token=SPECIALS[UNK], end_of_word_suffix=WORD_END))
        tokenizer.pre_tokenizer = WhitespaceSplit()
        trainer = BpeTrainer(
            vocab_size=size,
            special_tokens=list(SPECIALS),
            initial_alphabet=["'", *"abcdefghijklmnopqrstuvwxyz"],
            end_of_word_suffix=WORD_END,
            show_progress=False,
        )
        # Every letter also as a whole word: it may close a word of which no longer piece is known.
        emphasis = [word for word in (*vocabulary, "'", *"abcdefghijklmnopqrstuvwxyz") for _ in range(50)]
        tokenizer.train_from_iterator([*sentences, *emphasis], trainer)
        return cls(tokenizer)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TextTokenizer:
        """Read a `tokenizer.json`.

        Raises:
            ModelError: the file is missing, is no tokeniser or lacks the control tokens.
        """
        if not Path(path).is_file():
            raise ModelError(f"no tokeniser at {path}; a model folder holds tokenizer.json")
        try:
            loaded = cls(Tokenizer.from_file(str(path)))
        except Exception as error:  # tokenizers raises bare Exception for a malformed file
            raise ModelError(f"{path} is not a tokeniser file: {error}") from error
        if tuple(loaded.pieces[: len(SPECIALS)]) != SPECIALS:
            raise ModelError(f"{path} lacks the control tokens {' '.join(SPECIALS)} in its first places")
        return loaded

    def save(self, path: str | os.PathLike[str]) -> None:
        with atomic(path) as temporary:
            self.tokenizer.save(str(temporary))

    def encode(self, words: str) -> list[int]:
        """Piece ids of one or more words."""
        return list(self.tokenizer.encode(words).ids)

    def decode(self, ids: Iterable[int]) -> str:
        """The words that the ids spell; control tokens are left out."""
        pieces = "".join(self.pieces[index] for index in ids if index >= len(SPECIALS))
        return pieces.replace(WORD_END, " ").strip()

    def closes_word(self, index: int) -> bool:
        """Whether this piece is the last of a word."""
        return self.pieces[index].endswith(WORD_END)
