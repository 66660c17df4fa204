"""Lists of phrases, written as running text so that many fit on a page."""

from __future__ import annotations


def phrases(text: str) -> tuple[str, ...]:
    """The phrases of a text, which are set apart by commas or line ends."""
    return tuple(phrase.strip() for phrase in text.replace("\n", ",").split(",") if phrase.strip())


def pairs(text: str) -> dict[str, str]:
    """The phrases "thing: answer" as a dictionary."""
    return {thing: answer for thing, answer in (phrase.split(": ") for phrase in phrases(text))}
