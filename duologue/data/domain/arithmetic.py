"""Two-number arithmetic: sums and differences of 0 to 99, products of 0 to 12."""

from __future__ import annotations

from duologue.data.domain.intents import Exchange, Intent, Say, Values, number
from duologue.data.domain.phrases import phrases
from duologue.lm.numbers import LARGEST, spell, value

SYMBOLS = ("plus", "minus", "times")

_PLUS = phrases(
    """what is {a} plus {b}, how much is {a} plus {b}, {a} plus {b}, what is {a} and {b}, add {a} and {b}
    add {b} to {a}, the sum of {a} and {b}, what is the sum of {a} and {b}, {a} plus {b} equals
    {a} plus {b} is what, {a} plus {b} is how much, what do you get when you add {a} and {b}
    what does {a} plus {b} make, what do {a} and {b} make, how much do {a} and {b} make together
    if you add {a} and {b} what do you get, i have {a} apples and get {b} more how many do i have
    what is {b} more than {a}, {b} more than {a}, calculate {a} plus {b}, work out {a} plus {b}
    compute {a} plus {b}, sum up {a} and {b}, what is {a} added to {b}, how many are {a} and {b} together
    put {a} and {b} together, start with {a} and add {b}, take {a} and add {b}, what is the total of {a} and {b}
    give me the sum of {a} and {b}, find the sum of {a} and {b}, what would {a} plus {b} be
    how much would {a} plus {b} be, the answer to {a} plus {b}, what is the answer to {a} plus {b}"""
)
_MINUS = phrases(
    """what is {a} minus {b}, how much is {a} minus {b}, {a} minus {b}, {a} take away {b}, what is {a} take away {b}
    how much is {a} take away {b}, subtract {b} from {a}, take {b} from {a}, take {b} away from {a}
    {a} minus {b} equals, {a} minus {b} is what, {a} minus {b} is how much
    what do you get when you take {b} from {a}, what do you get when you subtract {b} from {a}
    if you take {b} from {a} what do you get, if you subtract {b} from {a} what do you get
    what does {a} minus {b} make, what is {b} less than {a}, {b} less than {a}, calculate {a} minus {b}
    work out {a} minus {b}, compute {a} minus {b}, find {a} minus {b}, start with {a} and take away {b}
    take {a} and subtract {b}, start at {a} and go down {b}, how much is left if you take {b} from {a}
    i have {a} apples and give away {b} how many are left, what would {a} minus {b} be
    how much would {a} minus {b} be, the answer to {a} minus {b}, what is the answer to {a} minus {b}
    what is {a} less {b}"""
)
_TIMES = phrases(
    """what is {a} times {b}, how much is {a} times {b}, {a} times {b}, multiply {a} by {b}, multiply {a} and {b}
    what is {a} multiplied by {b}, how much is {a} multiplied by {b}, {a} multiplied by {b}
    the product of {a} and {b}, what is the product of {a} and {b}, give me the product of {a} and {b}
    find the product of {a} and {b}, {a} times {b} equals, {a} times {b} is what, {a} times {b} is how much
    what do you get when you multiply {a} by {b}, what do you get when you multiply {a} and {b}
    if you multiply {a} by {b} what do you get, what does {a} times {b} make, calculate {a} times {b}
    work out {a} times {b}, compute {a} times {b}, what is {a} groups of {b}, how many are {a} groups of {b}
    how many are {a} times {b}, i have {a} boxes of {b} apples how many apples do i have
    there are {a} rows of {b} chairs how many chairs are there, what would {a} times {b} be
    how much would {a} times {b} be, the answer to {a} times {b}, what is the answer to {a} times {b}
    take {a} and multiply by {b}, start with {a} and multiply by {b}"""
)


def result(symbol: str, a: int, b: int) -> int:
    """a plus, minus or times b."""
    return a + b if symbol == "plus" else a - b if symbol == "minus" else a * b


def say(symbol: str, a: int, b: int) -> Say | None:
    """The reply to `a symbol b`; None where the result is beyond what can be spelled (999)."""
    number = result(symbol, a, b)
    if abs(number) > LARGEST:
        return None
    return Say(f"{symbol}:{a}:{b}", f"the answer is {spell(number)}", spell(number))


def _intent(symbol: str, wordings: tuple[str, ...], largest: int) -> Intent:
    def respond(values: Values, _before: Exchange | None) -> Say | None:
        return say(symbol, value(values["a"]), value(values["b"]))

    slot = number(0, largest)
    return Intent(symbol, symbol, wordings, respond, slots={"a": slot, "b": slot}, judged="numbers")


INTENTS = (_intent("plus", _PLUS, 99), _intent("minus", _MINUS, 99), _intent("times", _TIMES, 12))
