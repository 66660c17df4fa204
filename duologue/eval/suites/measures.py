"""The kinds of measures that most suites have."""

from __future__ import annotations

from typing import Any, Literal

from duologue.eval.suites.base import Measure


def percent(name: str, title: str, **more: Any) -> Measure:
    """A share of the rows, or of their trials."""
    return Measure(name=name, title=title, kind="share", unit="%", scale=100, **more)


def mean(name: str, title: str, digits: int = 2, better: Any = "higher", **more: Any) -> Measure:
    """A mean over the rows."""
    return Measure(name=name, title=title, kind="mean", digits=digits, better=better, **more)


def seconds(name: str, title: str, kind: Literal["mean", "median", "p90"], of: str = "", **more: Any) -> Measure:
    """A time, better if it is shorter; one that may be negative is given `better="zero"`."""
    how = {"unit": "s", "digits": 2, "better": "lower", **more}
    return Measure(name=name, title=title, kind=kind, of=of, **how)
