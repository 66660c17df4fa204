"""Calls of functions in what a text model writes, in the ways that chat templates teach them.

    <tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>      Hermes, Qwen, SmolLM
    {"name": "weather", "parameters": {"city": "Oslo"}}                            Llama
    [{"name": "weather", "arguments": {"city": "Oslo"}}]                           Mistral

Whatever comes before the first mark is said. What begins like the JSON of a call is held back until it is known.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

MARK = "<tool_call>"
_MARKED = re.compile(rf"{MARK}(.*?)(?:</tool_call>|(?={MARK})|$)", re.DOTALL)
_JSON = ("{", "[")


def spoken(written: str) -> str:
    """What of a reply that is being written is surely to be said; it only ever grows as more is written."""
    if written.lstrip().startswith(_JSON):
        return ""
    if MARK in written:
        return written[: written.index(MARK)]
    begun = next(size for size in range(len(MARK) - 1, -1, -1) if written.endswith(MARK[:size]))
    return written[: len(written) - begun]


def called(written: str, names: Collection[str]) -> list[tuple[str, str]]:
    """The calls in a whole reply, name and JSON of the arguments; those of functions that are not on offer are none."""
    parts = [written] if written.lstrip().startswith(_JSON) else _MARKED.findall(written)
    found: list[tuple[str, str]] = []
    for part in parts:
        try:
            told: Any = json.loads(part)
        except ValueError:
            continue
        for call in told if isinstance(told, list) else [told]:
            if not isinstance(call, dict) or call.get("name") not in names:
                continue
            arguments = call.get("arguments", call.get("parameters", {}))
            found.append((call["name"], arguments if isinstance(arguments, str) else json.dumps(arguments)))
    return found
