"""Duologue: native speech-to-speech language models, from codec to conversation."""

__version__ = "0.1.0"
