"""Errors that a user can cause: each says in one line what is wrong, where, and what would be right."""

from __future__ import annotations


class DuologueError(Exception):
    """Base of every error shown to the user as one line; the command line exits with 1."""


class AudioError(DuologueError):
    """An audio file or signal cannot be used."""


class ModelError(DuologueError):
    """A model folder is missing, incomplete or does not fit its configuration."""


class DataError(DuologueError):
    """A manifest, shard or corpus is missing or malformed."""


class ConfigError(DuologueError):
    """A recipe or setting has a value that cannot work."""


class TextError(DuologueError):
    """A text cannot be read as it is."""


class DeviceError(DuologueError):
    """A sound card or accelerator that was asked for is not there."""
