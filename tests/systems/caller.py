"""A cascade whose text answerer is a script that calls a function; all of its other stages are real."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from duologue.eval.stages import DomainRecognizer, EspeakSynthesizer
from duologue.systems.base import Tool
from duologue.systems.cascade.silero import SileroDetector
from duologue.systems.cascade.stages import Call
from duologue.systems.cascade.system import CascadeSystem

WEATHER = {
    "name": "weather",
    "description": "The weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


class Script:
    """Calls "weather" whatever it hears, if that is on offer, and then says what came back."""

    def __init__(self) -> None:
        self.tools: Sequence[Tool] = ()
        self.count = 0
        self.results: dict[str, str] = {}

    def offer(self, tools: Sequence[Tool]) -> None:
        self.tools = tools

    def answer(self, text: str) -> Iterator[str | Call]:
        if self.results:
            yield from self.go_on()
            return
        if not self.tools:
            yield "I cannot look that up."
            return
        self.count += 1
        yield "One moment."
        yield Call(f"call_{self.count}", str(self.tools[0]["name"]), '{"city": "Oslo"}')

    def give(self, results: Mapping[str, str]) -> None:
        self.results |= results

    def go_on(self) -> Iterator[str | Call]:
        yield f"It is {self.results[f'call_{self.count}']} in Oslo."


class Silent(Script):
    """The same without a word before the call."""

    def answer(self, text: str) -> Iterator[str | Call]:
        yield from (part for part in super().answer(text) if isinstance(part, Call) or not self.tools)


class Answerer:
    calls = True

    def __init__(self, script: type[Script]) -> None:
        self.script = script

    def open(self, seed: int) -> Script:
        return self.script()


def caller(script: type[Script] = Script) -> CascadeSystem:
    return CascadeSystem(
        SileroDetector(), DomainRecognizer(), Answerer(script), EspeakSynthesizer("en-us", 175), name="caller"
    )
