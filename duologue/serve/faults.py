"""What a client did wrong, in the words and with the codes that the OpenAI API has for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from duologue.serve.limits import LimitError

T = TypeVar("T")

SHOWN = 64  # characters of a wrong value that are shown
MANY = 100  # wrong values of one message, from which on none of them is named: to word them all takes long
_KINDS: dict[type, str] = {
    type(None): "null",
    bool: "a boolean",
    int: "an integer",
    float: "a decimal",
    str: "a string",
    list: "an array",
    dict: "an object",
}
_EXPECTED = {
    "string": "a string",
    "int": "an integer",
    "float": "a decimal",
    "bool": "a boolean",
    "list": "an array",
    "dict": "an object",
    "model": "an object",
}
_BOUNDS = {"greater_than": ">", "greater_than_equal": ">=", "less_than": "<", "less_than_equal": "<="}


class RealtimeError(Exception):
    """Something that a client did wrong; it is told so in an `error` event and goes on.

    Attributes:
        blamed: whether whoever does so over and over is to be slowed down. Not where it may be the server that is
            behind: a client that is read more slowly than it speaks by the clock has its pings unheard, too, and takes
            the connection for dead.
    """

    def __init__(
        self,
        message: str,
        code: str,
        param: str | None = None,
        type: str = "invalid_request_error",
        blamed: bool = True,
    ) -> None:
        super().__init__(message)
        self.blamed = blamed
        self.body: dict[str, Any] = {"type": type, "code": code, "message": message, "param": param, "event_id": None}


def over_limit(limit: LimitError) -> RealtimeError:
    """A limit of the server's that a client ran into, as it is told in a session."""
    return RealtimeError(str(limit), "rate_limit_exceeded", type="rate_limit_error")


def checked(validate: Callable[[Any], T], value: Any, where: str = "") -> T:
    """What pydantic makes of a client's `value`, which is the field `where` of its message, or all of it.

    Raises:
        RealtimeError: it is wrong; the first thing that is, by the name of its field.
    """
    try:
        return validate(value)
    except ValidationError as error:
        if (count := error.error_count()) > MANY:
            raise RealtimeError(f"{count} values are wrong.", "invalid_value", where or None) from None
        raise _worded(error.errors(include_url=False)[0], value, where) from None


def refuse_earlier(patch: Mapping[str, Any], names: Mapping[str, str], where: str) -> None:
    """Refuse fields that had other names in the beta (`names`, each with its present one) and would be passed over.

    Raises:
        RealtimeError: one of them is there.
    """
    for name in names.keys() & patch.keys():
        message = (
            f"Unknown parameter: '{where}.{name}'. It is '{where}.{names[name]}' now; "
            "the earlier names are understood from clients that send 'OpenAI-Beta: realtime=v1'."
        )
        raise RealtimeError(message, "unknown_parameter", f"{where}.{name}")


def _worded(fault: ErrorDetails, value: Any, where: str) -> RealtimeError:
    kind, given, context = fault["type"], fault["input"], fault.get("ctx", {})
    param = _param(fault["loc"], value, where)
    if kind.startswith("union_tag"):
        name = str(context["discriminator"]).strip("'")
        param = f"{param}.{name}" if param else name
        if name not in given:
            kind = "missing"
        given, context = given.get(name), {"expected": context.get("expected_tags")}
    if kind == "missing":
        return RealtimeError(f"Missing required parameter: '{param}'.", "missing_required_parameter", param)
    if kind in ("literal_error", "union_tag_invalid"):
        supported = str(context["expected"]).replace(" or ", " and ")
        message = f"Invalid value: {_shown(given)}. Supported values are: {supported}."
        return RealtimeError(message, "invalid_value", param)
    if kind in _BOUNDS:
        return _out_of_bounds(kind, given, next(iter(context.values())), param)
    expected = _EXPECTED.get(kind.partition("_")[0])
    if expected and kind.endswith(("_type", "_parsing", "_from_float")):
        got = _KINDS.get(type(given), "something else")
        message = f"Invalid type for '{param}': expected {expected}, but got {got} instead."
        return RealtimeError(message, "invalid_type", param)
    if kind == "too_short" and not given:
        return RealtimeError(f"Invalid '{param}': empty array.", "empty_array", param)
    if kind == "too_long" and isinstance(given, list):
        most = context["max_length"]
        message = (
            f"Invalid '{param}': array too long. "
            f"Expected an array with maximum length {most}, but got an array with length {len(given)} instead."
        )
        return RealtimeError(message, "array_above_max_length", param)
    if kind == "string_too_long":
        return too_long(len(given), context["max_length"], param)
    return RealtimeError(f"Invalid value for '{param}': {fault['msg']}.", "invalid_value", param)


def too_long(length: int, most: int, param: str) -> RealtimeError:
    """What to tell of a text of so many characters."""
    message = f"Invalid '{param}': string too long. Expected at most {most} characters, but got {length}."
    return RealtimeError(message, "string_above_max_length", param)


def _out_of_bounds(kind: str, given: Any, bound: Any, param: str) -> RealtimeError:
    number = "decimal" if isinstance(bound, float) else "integer"
    above = kind.startswith("less")
    message = (
        f"Invalid '{param}': {number} {'above maximum' if above else 'below minimum'} value. "
        f"Expected a value {_BOUNDS[kind]} {bound:g}, but got {_shown(given)} instead."
    )
    return RealtimeError(message, f"{number}_{'above_max' if above else 'below_min'}_value", param)


def _param(path: Sequence[int | str], value: Any, where: str) -> str:
    """A field's name as clients write it; what pydantic adds to tell the members of a union apart is left out."""
    param = where
    for place, part in enumerate(path):
        if isinstance(part, int):
            param, value = f"{param}[{part}]", value[part]
        elif isinstance(value, Mapping) and (part in value or place == len(path) - 1):
            param, value = f"{param}.{part}" if param else part, value.get(part)
    return param


def _shown(value: Any) -> str:
    return repr(value[:SHOWN]) if isinstance(value, str) else json.dumps(value)[:SHOWN]
