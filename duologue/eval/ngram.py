"""A small n-gram language model in ARPA text, so that a general recogniser knows a domain's sentences.

Smoothing is interpolated Witten-Bell (Witten and Bell 1991; Chen and Goodman 1998, section 2.6): it needs no counts of
counts, which a domain written by rules does not have in natural proportion.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable

from duologue.errors import DataError

START, END = "<s>", "</s>"
Gram = tuple[str, ...]


class NGram:
    """P(word | the words before) of order `order`, estimated from sentences of words parted by spaces.

    Every word of `vocabulary` has a probability too, seen or not: a share of what each context leaves to the unseen.

    Raises:
        DataError: there are no sentences.
    """

    def __init__(self, sentences: Iterable[str], vocabulary: Iterable[str] = (), order: int = 3) -> None:
        self.order = order
        self.followers: dict[Gram, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        seen: set[str] = set()
        for sentence in sentences:
            words = sentence.split()
            seen.update(words)
            padded = [START, *words, END]
            for end in range(1, len(padded)):
                for length in range(min(order, end + 1)):
                    self.followers[tuple(padded[end - length : end])][padded[end]] += 1
        if not seen:
            raise DataError("a language model needs at least one sentence of one word; the list holds none")
        self.words = sorted(seen | set(vocabulary))
        self._totals = {context: sum(counts.values()) for context, counts in self.followers.items()}

    def probability(self, context: Gram, word: str) -> float:
        """P(word | context), the context cut to the last `order` - 1 words; sums to one over the words and "</s>"."""
        context = context[len(context) - min(len(context), self.order - 1) :]
        shorter = self.probability(context[1:], word) if context else 1.0 / (len(self.words) + 1)
        if context not in self._totals:
            return shorter
        counts = self.followers[context]
        return (counts.get(word, 0) + len(counts) * shorter) / (self._totals[context] + len(counts))

    def backoff(self, context: Gram) -> float:
        """The share of `context` left to words never seen after it."""
        kinds = len(self.followers[context])
        return kinds / (self._totals[context] + kinds)

    def arpa(self) -> str:
        """The model in the ARPA format (base-10 logarithms), every n-gram sorted."""
        orders: list[list[Gram]] = [[(word,) for word in [START, END, *self.words]]]
        for length in range(1, self.order):
            contexts = sorted(context for context in self._totals if len(context) == length)
            orders.append([(*context, word) for context in contexts for word in sorted(self.followers[context])])
        lines = ["\\data\\", *(f"ngram {n}={len(grams)}" for n, grams in enumerate(orders, 1))]
        for n, grams in enumerate(orders, 1):
            lines += ["", f"\\{n}-grams:"]
            for gram in grams:
                # "<s>" only ever opens a sentence, so its own probability is the format's conventional zero
                score = -99.0 if gram == (START,) else math.log10(self.probability(gram[:-1], gram[-1]))
                line = f"{score:.5f}\t{' '.join(gram)}"
                if n < self.order and gram in self._totals:
                    line += f"\t{math.log10(self.backoff(gram)):.5f}"
                lines.append(line)
        return "\n".join([*lines, "", "\\end\\", ""])
