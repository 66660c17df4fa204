"""Where a server on this machine is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Loopback:
    """A server's port on loopback, and its addresses."""

    port: int

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}"
