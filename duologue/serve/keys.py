"""Who may come in: API keys, short-lived client secrets, and the web pages that may connect."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from duologue.errors import ConfigError
from duologue.serve.limits import Limits

VARIABLE = "DUOLOGUE_API_KEYS"
PROTOCOL = "realtime"
KEY_PROTOCOL = "openai-insecure-api-key."
MOST_SECRETS = 10_000


def given_keys(options: Sequence[str] = ()) -> list[str]:
    """The keys of the command line and of `VARIABLE`, where commas part them.

    Raises:
        ConfigError: one of the command line's is empty, as an unset "$KEY" is; anybody could show that.
    """
    if not all(key.strip() for key in options):
        raise ConfigError("--api-key is empty; give a key, or leave the option out")
    return [*options, *(key.strip() for key in os.environ.get(VARIABLE, "").split(",") if key.strip())]


@dataclass(frozen=True)
class Guest:
    """Who has come in.

    Attributes:
        key: tells keys apart without being one; a secret counts as the key that made it.
        session: the settings that a client secret was made with.
    """

    key: str
    session: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class _Secret:
    guest: Guest
    expires: float  # by the wall clock


class Keys:
    """The keys of a server; without any, everybody may come in."""

    def __init__(self, keys: Sequence[str], limits: Limits, origins: Sequence[str] = ()) -> None:
        self._digests = [_digest(key) for key in keys]
        self._secrets: dict[bytes, _Secret] = {}
        self._limits = limits
        self._origins = frozenset(origins)
        self.private = False  # the server binds to loopback: no page of another name is its own

    @property
    def open(self) -> bool:
        return not self._digests

    def admit(self, headers: Mapping[str, str], protocols: Sequence[str] = ()) -> Guest | None:
        """The guest that shows a valid key or secret, in the header or as browsers do, among the subprotocols."""
        for key in _shown(headers, protocols):
            if (guest := self._guest(key)) is not None:
                return guest
        return Guest("") if self.open else None

    def _guest(self, key: str) -> Guest | None:
        digest = _digest(key)
        known = [hmac.compare_digest(digest, each) for each in self._digests]  # all of them, whichever it is
        if any(known):
            return Guest(digest.hex()[:12])
        secret = self._secrets.get(digest)
        return secret.guest if secret and secret.expires > time.time() else None

    def issue(self, guest: Guest, seconds: float | None, session: Mapping[str, Any]) -> tuple[str, int] | None:
        """A client secret and when it expires (Unix time); None where there are too many already."""
        now = time.time()
        self._secrets = {key: secret for key, secret in self._secrets.items() if secret.expires > now}
        own = sum(secret.guest.key == guest.key for secret in self._secrets.values())
        if own >= self._limits.secrets_per_key or len(self._secrets) >= MOST_SECRETS:
            return None
        value = f"ek_{secrets.token_hex(16)}"
        expires = int(now + (seconds or self._limits.secret))
        self._secrets[_digest(value)] = _Secret(Guest(guest.key, dict(session)), expires)
        return value, expires

    def welcomes(self, headers: Mapping[str, str]) -> bool:
        """Whether a page of this origin may connect: one on the list, our own, or on loopback any of loopback.

        Where there are no keys and only this machine is to reach the server, a page is not our own because the names
        are equal: whoever owns a name can let it point to loopback once a browser has the page (DNS rebinding).
        """
        origin = headers.get("origin")
        if origin is None or origin in self._origins or "*" in self._origins:
            return True  # only browsers say where they come from, and only they can be made to come by others
        try:
            host, page = urlsplit(f"//{headers.get('host', '')}"), urlsplit(origin)
        except ValueError:  # brackets around no address
            return False
        if is_loopback(page.hostname) and is_loopback(host.hostname):
            return True
        return page.netloc == host.netloc and not (self.open and self.private)


def is_loopback(host: str | None) -> bool:
    """Whether only this machine can be meant."""
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False


def why_unknown(headers: Mapping[str, str], protocols: Sequence[str] = ()) -> str:
    """What to tell a client that was not admitted."""
    if _shown(headers, protocols):
        return "Incorrect API key provided."
    return "You didn't provide an API key. Send it in the header 'Authorization: Bearer YOUR_KEY'."


def _shown(headers: Mapping[str, str], protocols: Sequence[str]) -> list[str]:
    """The keys that a client shows."""
    shown = [header[7:].strip()] if (header := headers.get("authorization", ""))[:7].lower() == "bearer " else []
    return shown + [name[len(KEY_PROTOCOL) :] for name in protocols if name.startswith(KEY_PROTOCOL)]


def _digest(key: str) -> bytes:
    """Keys are compared and kept by their digests: of equal length, and useless to whoever reads them."""
    return hashlib.sha256(key.encode()).digest()
