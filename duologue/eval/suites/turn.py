"""A question and the right reply to it, as the facts of a case hold them; also in a user's own cases."""

from __future__ import annotations

from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from duologue.data import domain
from duologue.data.domain import Exchange
from duologue.errors import DataError
from duologue.eval.metrics import Pcm
from duologue.eval.recognize import normalize
from duologue.eval.suites.base import Case
from duologue.systems.oracle import Cue

T = TypeVar("T")


class Turn(BaseModel):
    """A question and the right reply to it; `ends` are seconds to the last sound of the dry voice in the question.

    The fields but the last two are those of an `Exchange`; without a `key` the reply is judged by its `content` alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    reply: str
    user: str = ""
    content: str = ""
    category: str = "own"
    key: str = ""
    wording: str = ""
    leans: bool = False
    ends: float | None = None

    @classmethod
    def of(cls, exchange: Exchange, ends: float | None = None) -> Self:
        """The turn of an exchange of the domain."""
        names = ("user", "reply", "category", "key", "wording", "content")
        known = {name: getattr(exchange, name) for name in names}
        return cls(**known, leans=bool(exchange.history), ends=ends)

    def fact(self) -> dict[str, Any]:
        """As facts hold it."""
        return self.model_dump(exclude_none=True)

    def right(self, said: str) -> bool:
        """Whether a text answers the question, however it is written; where nothing is to be said, whether nothing was.

        A content without a word that can be heard takes no reply for right, least of all silence.
        """
        if not self.reply:
            return not said.strip()
        words = normalize(said)
        if not self.key:
            content = normalize(self.content or self.reply)
            return bool(content) and f" {content} " in f" {words} "
        return domain.judge(words, Exchange(self.user, self.reply, self.category, self.key, self.wording, self.content))

    def cue(self, sound: Pcm, yields: bool = False) -> Cue:
        """What an oracle is told of the question when it sounds like this."""
        return Cue(sound, self.reply, yields, self.user)


_ONE, _MANY = TypeAdapter(Turn), TypeAdapter(list[Turn])


def turn_of(case: Case, name: str = "turn") -> Turn:
    """The turn in a case's facts; where there is none, one to which nothing is the right reply.

    Raises:
        DataError: it is malformed.
    """
    return _read(_ONE, case, name, {"reply": ""})


def turns_of(case: Case, name: str = "turns") -> list[Turn]:
    """The turns in a case's facts; raises DataError where there are none or one is malformed."""
    return _read(_MANY, case, name, None)


def roles(count: int) -> list[str]:
    """The names of so many questions' audio in a case."""
    return ["question", *(f"question {number}" for number in range(2, count + 1))][:count]


def _read(adapter: TypeAdapter[T], case: Case, name: str, default: object) -> T:
    try:
        return adapter.validate_python(case.facts.get(name, default))
    except ValidationError as error:
        where = ".".join(map(str, (name, *error.errors()[0]["loc"])))
        raise DataError(f"case {case.name}: facts.{where}: {error.errors()[0]['msg']}") from error
