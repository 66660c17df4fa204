"""Calls of functions in what a text model writes, in the ways that chat templates teach them.

    <tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>      Hermes, Qwen, SmolLM
    {"name": "weather", "parameters": {"city": "Oslo"}}                            Llama
    [{"name": "weather", "arguments": {"city": "Oslo"}}]                           Mistral

Whatever comes before the first mark is said; the rest, and what begins like the JSON of a call, never is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

MARK = "<tool_call>"
_MARKED = re.compile(rf"{MARK}(.*?)(?:</tool_call>|(?={MARK})|$)", re.DOTALL)
_JSON = re.compile(r"\s*(\{|\[\s*(\{|$))")


def spoken(written: str) -> str:
    """What of a reply that is being written is surely to be said; it only ever grows as more is written."""
    if _JSON.match(written) or not written.strip():
        return ""
    if MARK in written:
        return written[: written.index(MARK)]
    begun = next(size for size in range(len(MARK) - 1, -1, -1) if written.endswith(MARK[:size]))
    return written[: len(written) - begun]


def is_plain(written: str) -> bool:
    """Whether there is nothing of a call in a whole reply."""
    return MARK not in written and not _JSON.match(written)


def called(written: str, names: Collection[str]) -> list[tuple[str, str]]:
    """The calls in a whole reply, name and JSON object of arguments; those of functions not on offer are none."""
    parts = [written] if _JSON.match(written) else _MARKED.findall(written)
    found: list[tuple[str, str]] = []
    for part in parts:
        told = _read(part)
        for call in told if isinstance(told, list) else [told]:
            if not isinstance(call, dict) or not isinstance(call.get("name"), str) or call["name"] not in names:
                continue
            arguments = call.get("arguments", call.get("parameters", {}))
            if isinstance(arguments, str):  # JSON in JSON, as OpenAI's own models write it
                arguments = _read(arguments or "{}")
            if isinstance(arguments, dict):
                found.append((call["name"], json.dumps(arguments)))
    return found


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
