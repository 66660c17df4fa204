"""Logs for machines: a JSON object a line, with what happened to sessions and never what was said in them."""

from __future__ import annotations

import json
import logging
import re
import sys
from typing import Any

_LOGGER = logging.getLogger("duologue.serve")
_BLAMELESS = re.compile("completing handshake|Invalid UTF-8")
"""What uvicorn logs as an error and is none of the server's: a handshake that was refused, bytes that are no text."""


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {"time": round(record.created, 3), "level": record.levelname.lower(), "event": record.getMessage()}
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps({**line, **getattr(record, "fields", {})})


def write_logs() -> None:
    """Let the server's log go to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    for name in ("duologue.serve", "uvicorn.error", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
    logging.getLogger("uvicorn.error").addFilter(lambda record: not _BLAMELESS.search(record.getMessage()))
    _LOGGER.setLevel(logging.INFO)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


def log(event: str, error: BaseException | None = None, **fields: Any) -> None:
    """One line; an error brings its trace."""
    level = logging.INFO if error is None else logging.ERROR
    _LOGGER.log(level, event, exc_info=error, extra={"fields": fields})
