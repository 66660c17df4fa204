"""What suites share whose users come from `scenes`: the scenes, who hears the replies, and one long conversation."""

from __future__ import annotations

import re
from functools import cached_property
from typing import ClassVar

from duologue.eval.recognize import Recognizer, domain_recognizer
from duologue.eval.suites.base import Suite
from duologue.eval.suites.scenes import Scenes

LONG_MINUTES = 2.0


class SceneSuite(Suite):
    """Cases of held-out voices that ask what training asked.

    The one conversation of the family that is called `long` lasts two minutes, so that it fits into every report; how
    long another one is to last is said in its name: "soak-60" takes an hour.
    """

    long: ClassVar[str] = ""

    @cached_property
    def scenes(self) -> Scenes:
        """What draws voices and questions."""
        return Scenes(self.split, self.speech)

    @cached_property
    def recognizer(self) -> Recognizer:
        """What hears the words of a reply to a question of the domain."""
        return domain_recognizer()

    def variant(self, family: str) -> str | None:
        minutes = self.minutes(family)
        return None if minutes is None else f"{self.families()[self.long]}, for {minutes:g} minutes"

    def cases_at_most(self, family: str) -> int | None:
        return None if self.minutes(family) is None else 1

    def minutes(self, family: str) -> float | None:
        """How long the conversation of a family lasts that is held once; None where a family is of short ones."""
        found = re.fullmatch(r"(.+?)(?:-(\d+(?:\.\d+)?))?", family)
        if not self.long or found is None or found[1] != self.long:
            return None
        return LONG_MINUTES if found[2] is None else float(found[2]) or None
